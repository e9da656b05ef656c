"""Serves what operators want of transactions: to see those that are open, to resume those given up."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from rocketmq_tx.broker.transaction_messages import half_copy
from rocketmq_tx.broker.transaction_replay import born_at, committed_before
from rocketmq_tx.broker.transaction_rules import CheckRule, real_queue, transaction_key
from rocketmq_tx.errors import IndexNotReady, MessageError, RequestRefused, StoreError
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.bodies import OpenTransactionInfo, OpenTransactionList
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    GetOpenTransactionsRequestHeader,
    ResumeCheckHalfMessageRequestHeader,
)
from rocketmq_tx.protocol.message import MessageRecord, decode_record
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.open_transactions import OpenTransaction
    from rocketmq_tx.broker.transaction_checks import TransactionChecks
    from rocketmq_tx.broker.transaction_log import TransactionLog
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.stored_messages import StoredMessages

LIST_MAX = 10_000
"""So many transactions are listed at most in one answer."""


class TransactionRequests:
    """Reads the table; puts transactions that were given up back into it."""

    def __init__(
        self,
        store: StoredMessages,
        appending: Appending,
        log: TransactionLog,
        checks: TransactionChecks,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._appending = appending
        self._log = log
        self._checks = checks
        self._now_ms = now_ms

    # -- resuming ------------------------------------------------------------------------------------------

    @serves(RequestCode.RESUME_CHECK_HALF_MESSAGE)
    def resume(self, peer: Peer, frame: Frame, header: ResumeCheckHalfMessageRequestHeader) -> Reply:
        """Appends a copy that has not been checked yet; the message is named by its offset id."""
        try:
            offset = decode_offset_message_id(header.msg_id or "").commit_log_offset
            half = decode_record(self._store.record_at(offset))
            real_queue(half.property_map)
        except (MessageError, StoreError) as error:
            remark = (
                "Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC."
                f" {header.msg_id}: {error}"
            )
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, remark) from error
        problem = self._problem(half)
        if problem is not None:
            remark = f"Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed. {problem}"
            return Reply(ResponseCode.SYSTEM_ERROR, remark)
        self._appending.append([half_copy(half, {prop.TRANSACTION_CHECK_TIMES: "0"})], self._now_ms())
        return Reply()

    def _problem(self, half: MessageRecord) -> str | None:
        """Why it cannot be resumed; None when it can. The index may have to be made ready before."""
        try:
            self._store.check_index_ready()
        except IndexNotReady as error:
            return f"Ask again later: {error}."
        if half.topic not in (names.TRANSACTION_HALF_TOPIC, names.TRANSACTION_GIVEN_UP_TOPIC):
            return "The message is not one of a transaction."
        properties = half.property_map
        key = transaction_key(properties, half.queue_offset)
        real_topic = properties.get(prop.REAL_TOPIC, "")
        if committed_before(self._store, real_topic, key, born_at(half.born_timestamp)) is not None:
            return "The transaction was committed."
        return None

    # -- seeing --------------------------------------------------------------------------------------------

    @serves(RequestCode.GET_OPEN_TRANSACTIONS)
    def list_open(self, peer: Peer, frame: Frame, header: GetOpenTransactionsRequestHeader) -> Reply:
        """The open transactions of a producer group, a topic, or all; oldest copies first."""
        rule = self._checks.rule()
        wanted = (
            each
            for each in self._log.table
            if header.producer_group in (None, each.newest.producer_group)
            and header.topic in (None, each.newest.topic)
        )
        count = min(max(0, header.max_num), LIST_MAX)
        shown = [_info(each, rule) for each in islice(wanted, count)]
        return Reply(body=OpenTransactionList(transactions=shown, figures=self.figures()).to_bytes())

    def figures(self) -> dict[str, int]:
        """Counters since the start, how many are open, and the age of the oldest in ms, by Java's names."""
        rule, now_ms = self._checks.rule(), self._now_ms()
        table = self._log.table
        begun = (each.newest.begun_ms(rule.retention_ms) for each in table)
        return {
            **{_camel(name): number for name, number in attrs.asdict(self._log.figures).items()},
            "open": len(table),
            "checksWaiting": self._checks.waiting,
            "oldestAgeMs": max(0, now_ms - min(begun, default=now_ms)),
        }


def _info(transaction: OpenTransaction, rule: CheckRule) -> OpenTransactionInfo:
    half = transaction.newest
    return OpenTransactionInfo(
        msg_id=transaction.unique_key,
        producer_group=half.producer_group,
        topic=half.topic,
        begin_timestamp=half.begun_ms(rule.retention_ms),
        store_timestamp=half.store_timestamp,
        check_times=half.checks_done,
        half_queue_offset=half.queue_offset,
        commit_log_offset=half.commit_log_offset,
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
