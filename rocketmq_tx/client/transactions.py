"""A producer of transactions: a message that consumers see only if the local work it belongs to succeeded.

    class Payments:
        async def execute(self, message): ...   # the local transaction: commit, roll back, or not known yet
        async def check(self, message): ...     # what became of it, when the broker asks later

    producer = TransactionProducer("payments", "127.0.0.1:9876", Payments(), reactor)
    producer.startService()
    result = await producer.send_in_transaction(Message("orders", b"paid"))

Rules: `spec/client_algorithms.yaml` (transaction); how the broker sees it: `docs/transactions.md`.
"""

from __future__ import annotations

import enum
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.client.message import Message, ReceivedMessage, decode_messages
from rocketmq_tx.client.outgoing import Outgoing
from rocketmq_tx.client.producer import Producer, ProducerSettings
from rocketmq_tx.client.send_result import SendResult, SendStatus
from rocketmq_tx.client.session import Environment
from rocketmq_tx.errors import MessageError, RemotingError
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.flags import SysFlag
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import CheckTransactionStateRequestHeader, EndTransactionRequestHeader
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from rocketmq_tx.protocol.properties import decode_properties, encode_properties
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import serves


class LocalState(enum.Enum):
    """What became of a local transaction."""

    COMMIT = SysFlag.TRANSACTION_COMMIT
    ROLLBACK = SysFlag.TRANSACTION_ROLLBACK
    UNKNOWN = 0
    """Not decided yet, or the answer got lost: the broker asks again later."""


class TransactionListener(Protocol):
    """The application's side. An exception counts as UNKNOWN, and is told to the broker and the log."""

    async def execute(self, message: Message, message_id: str) -> LocalState:
        """Does the local work; called once, after the broker has stored the half message."""

    async def check(self, message: ReceivedMessage) -> LocalState:
        """Looks up what became of the work of `message.message_id`, perhaps that of another process."""


@attrs.frozen
class TransactionResult:
    """Where the half message is, and what the local work said."""

    sent: SendResult
    state: LocalState


class TransactionProducer(Producer):
    """Sends ordinary messages, too. The group's members answer for each other: give them one listener."""

    _log = Logger()

    def __init__(
        self,
        group: str,
        namesrv_addresses: str,
        listener: TransactionListener,
        reactor: Any,
        settings: ProducerSettings | None = None,
        environment: Environment | None = None,
    ) -> None:
        super().__init__(group, namesrv_addresses, reactor, settings, environment, handlers=(_Checks(self),))
        self._listener = listener

    def send_in_transaction(self, message: Message) -> Deferred[TransactionResult]:
        """Stores a half message, runs the local work, and says how it ended.

        Fails as `send` does when the half message could not be stored; then nothing was executed. A
        half message that is less safe than the broker is to make it is rolled back without that. Delays are
        not for transactions: MessageError.
        """
        return Deferred.fromCoroutine(self._send_in_transaction(message))

    def join(self, topic: str) -> Deferred[None]:
        """Makes this producer known to the brokers of a topic: from now on it may be asked for its group.

        Sending does that, too; this is for one that starts in place of another.
        """
        return Deferred.fromCoroutine(self._join(topic))

    async def _join(self, topic: str) -> None:
        await self._queues(topic)
        await self._session.membership.tell_new()

    async def _send_in_transaction(self, message: Message) -> TransactionResult:
        if message.delay_level:
            raise MessageError("a message of a transaction cannot be delayed")
        half = self._as_half(self._pack(message))
        await self._join(message.topic)
        sent = await self._deliver(half, None)
        state, problem = LocalState.ROLLBACK, None
        if sent.status is SendStatus.SEND_OK:
            state, problem = await self._asked(self._listener.execute(message, sent.message_id))
        await self._end(sent, state, problem)
        return TransactionResult(sent, state)

    def _as_half(self, outgoing: Outgoing) -> Outgoing:
        properties = decode_properties(outgoing.properties) | {
            prop.TRANSACTION_PREPARED: "true",
            prop.PRODUCER_GROUP: self.group,
        }
        return attrs.evolve(
            outgoing,
            properties=encode_properties(properties),
            sys_flag=outgoing.sys_flag | SysFlag.TRANSACTION_PREPARED,
        )

    async def _asked(self, answer: Any) -> tuple[LocalState, str | None]:
        """The application's answer; what it raises is no reason to lose track of the transaction."""
        try:
            return LocalState(await answer), None
        except Exception as error:  # noqa: BLE001  whatever it is, the broker asks again later
            self._log.failure("a transaction's listener failed: {error!r}", error=error)
            return LocalState.UNKNOWN, f"{type(error).__name__}: {error}"

    async def _end(self, sent: SendResult, state: LocalState, problem: str | None) -> None:
        """One-way, as in Apache's client: if it gets lost, the broker asks."""
        header = EndTransactionRequestHeader(
            producer_group=self.group,
            tran_state_table_offset=sent.queue_offset,
            commit_log_offset=decode_offset_message_id(sent.offset_message_id).commit_log_offset,
            commit_or_rollback=int(state.value),
            msg_id=sent.message_id,
        )
        frame = Frame.request(RequestCode.END_TRANSACTION, header, oneway=True)
        frame.remark = problem
        try:
            await self._session.remoting.oneway(self._address(sent.queue), frame)
        except RemotingError as error:
            self._log.warn("the end of {id} was not told: {error}", id=sent.message_id, error=error)

    async def answer_check(
        self, peer: Peer, frame: Frame, header: CheckTransactionStateRequestHeader
    ) -> None:
        """The broker wants to know; it is told on the connection on which it asked."""
        (message,) = decode_messages(frame.body, "", 0, 0)
        if message.properties.get(prop.PRODUCER_GROUP) != self.group:
            return
        state, problem = await self._asked(self._listener.check(message))
        end = EndTransactionRequestHeader(
            producer_group=self.group,
            tran_state_table_offset=header.tran_state_table_offset or 0,
            commit_log_offset=header.commit_log_offset or 0,
            commit_or_rollback=int(state.value),
            from_transaction_check=True,
            msg_id=message.message_id,
            transaction_id=header.transaction_id,
        )
        answer = Frame.request(RequestCode.END_TRANSACTION, end, oneway=True)
        answer.remark = problem
        peer.push(answer)


class _Checks:
    """Serves the broker's question, for the producer that is its client."""

    def __init__(self, producer: TransactionProducer) -> None:
        self._producer = producer

    @serves(RequestCode.CHECK_TRANSACTION_STATE)
    async def check(self, peer: Peer, frame: Frame, header: CheckTransactionStateRequestHeader) -> None:
        await self._producer.answer_check(peer, frame, header)
