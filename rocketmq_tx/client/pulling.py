"""The pull loop of one queue: one long-polling request after the other, paused while too much waits here."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.client.calls import Caller, refusal
from rocketmq_tx.client.membership import Membership
from rocketmq_tx.client.message import ReceivedMessage, decode_messages
from rocketmq_tx.client.offset_store import OffsetStore
from rocketmq_tx.client.process_queue import FlowLimits, ProcessQueue
from rocketmq_tx.client.routes import Routes
from rocketmq_tx.errors import ConnectFailed, PeerError, RemotingError
from rocketmq_tx.protocol.bodies import SubscriptionData
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.flags import PullSysFlag
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import PullMessageRequestHeader, PullMessageResponseHeader
from rocketmq_tx.protocol.names import MASTER_ID
from rocketmq_tx.runtime.rarely import Rarely

SUSPEND_MS = 15_000
TIMEOUT_S = 30.0
FLOW_CONTROL_S = 0.05
AFTER_ERROR_S = 1.0

_NOTHING_FOUND = frozenset({int(ResponseCode.PULL_NOT_FOUND), int(ResponseCode.PULL_RETRY_IMMEDIATELY)})
_UNKNOWN_HERE = frozenset(
    {int(ResponseCode.SUBSCRIPTION_NOT_EXIST), int(ResponseCode.SUBSCRIPTION_NOT_LATEST)}
)


@attrs.frozen
class PullServices:
    """What all pull loops of a consumer share."""

    group: str
    caller: Caller
    routes: Routes
    membership: Membership
    offsets: OffsetStore
    reactor: IReactorTime
    limits: FlowLimits
    batch_size: int
    rarely: Rarely


class QueuePuller:
    """Pulls one queue from `next_offset` on until it is stopped, handing messages to `deliver`."""

    _log = Logger()

    def __init__(
        self,
        process_queue: ProcessQueue,
        subscription: SubscriptionData,
        next_offset: int,
        services: PullServices,
        deliver: Callable[[ProcessQueue, list[ReceivedMessage]], None],
    ) -> None:
        self.process_queue = process_queue
        self.next_offset = next_offset
        self._subscription = subscription
        self._services = services
        self._deliver = deliver
        self._broker_id = MASTER_ID
        self._stopped = False
        self._loop: Deferred[None] | None = None

    def start(self) -> None:
        self._loop = Deferred.fromCoroutine(self._run())
        self._loop.addErrback(self._ended)

    def stop(self) -> None:
        """Asks for nothing more, and takes nothing more in."""
        self._stopped = True
        if self._loop is not None:
            self._loop.cancel()

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("pulling has ended: queue={queue}", failure, queue=self.process_queue.queue)

    async def _run(self) -> None:
        services = self._services
        while not self._stopped:
            if self.process_queue.is_full(services.limits):
                await self._pause(FLOW_CONTROL_S)
                continue
            try:
                await self._pull()
            except (RemotingError, PeerError) as error:
                if services.rarely.due(self.process_queue.queue) is not None:
                    self._log.warn("pull failed: {error}", error=error)
                await self._pause(AFTER_ERROR_S)

    async def _pull(self) -> None:
        queue = self.process_queue.queue
        address = self._services.routes.readable_address(queue.broker_name, self._broker_id)
        if address is None:
            raise ConnectFailed(f"broker {queue.broker_name} has no known address")
        request = Frame.request(RequestCode.PULL_MESSAGE, self._header())
        answer = await self._services.caller.call(address, request, TIMEOUT_S)
        if self._stopped:
            return
        if answer.code in _UNKNOWN_HERE:
            await self._services.membership.tell(address)
            raise refusal(address, request, answer)
        if answer.code not in (ResponseCode.SUCCESS, ResponseCode.PULL_OFFSET_MOVED, *_NOTHING_FOUND):
            raise refusal(address, request, answer)
        self._take(answer)

    def _header(self) -> PullMessageRequestHeader:
        queue, services = self.process_queue.queue, self._services
        committed = services.offsets.get(queue) or 0
        # A slave keeps no offsets: committing is for masters.
        commits = committed > 0 and self._broker_id == MASTER_ID
        return PullMessageRequestHeader(
            consumer_group=services.group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=self.next_offset,
            max_msg_nums=services.batch_size,
            sys_flag=int(PullSysFlag.SUSPEND | (PullSysFlag.COMMIT_OFFSET if commits else 0)),
            commit_offset=committed if commits else 0,
            suspend_timeout_millis=SUSPEND_MS,
            sub_version=self._subscription.sub_version,
            expression_type=self._subscription.expression_type,
        )

    def _take(self, answer: Frame) -> None:
        header = PullMessageResponseHeader.from_ext_fields(answer.ext_fields)
        queue, offsets = self.process_queue.queue, self._services.offsets
        self._broker_id = header.suggest_which_broker_id
        found: list[ReceivedMessage] = []
        if answer.code == ResponseCode.SUCCESS:
            found = decode_messages(answer.body, queue.broker_name, header.min_offset, header.max_offset)
        # Brokers compare hash codes of tags; equal hashes of other tags are sorted out here.
        wanted = [message for message in found if self._is_wanted(message)]
        self.next_offset = header.next_begin_offset
        if answer.code == ResponseCode.PULL_OFFSET_MOVED:
            self._log.warn(
                "offset out of range: queue={queue} goes on at {offset}", queue=queue, offset=self.next_offset
            )
            offsets.reset(queue, self.next_offset)
        elif wanted:
            self.process_queue.put(wanted)
            self._deliver(self.process_queue, wanted)
        elif not self.process_queue:
            offsets.advance(queue, self.next_offset)

    def _is_wanted(self, message: ReceivedMessage) -> bool:
        tags = self._subscription.tags_set
        return not tags or message.tags in tags

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._services.reactor, seconds)
