"""Builds the table of open transactions from the log: what a start, or a slave that becomes a master, does.

Both topics are read from the offsets of group CID_RMQ_SYS_TRANS on, which Apache keeps as well, in the order
in which the messages were stored. So it costs what happened since those offsets were kept, not history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rocketmq_tx.broker.open_transactions import OpenTransaction, OpenTransactions
from rocketmq_tx.broker.transaction_rules import (
    HALF_QUEUE_ID,
    HalfMessage,
    op_offsets,
    transaction_key,
    unique_key_of,
)
from rocketmq_tx.errors import MessageError, StoreError
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.flags import SysFlag, transaction_type
from rocketmq_tx.protocol.message import MessageRecord, decode_record, decode_records
from rocketmq_tx.store.layouts import FILLER_SIZE
from rocketmq_tx.store.stored_messages import StoredMessages

HALF = (names.TRANSACTION_HALF_TOPIC, HALF_QUEUE_ID)
OP = (names.TRANSACTION_OP_TOPIC, HALF_QUEUE_ID)
_EVER_MS = 1 << 62
_COPIES_MAX = 64

Place = tuple[int, int]
"""(commit log offset, queue offset)."""


class Replay:
    """Reads through a store. `unreadable` counts messages that the log has not got, or only damaged.

    `left_over` are copies (queue offsets) of transactions that had ended before, without an op message of
    their own: Apache, which does not know that copies belong together, goes on asking about them.
    """

    def __init__(self, store: StoredMessages) -> None:
        self._store = store
        self.read = 0
        self.unreadable = 0
        self.left_over: dict[int, None] = {}
        self._ended: set[str] = set()

    def run(self, half_offset: int, op_offset: int) -> OpenTransactions:
        """What is open, reading from these queue offsets on; negative: from each queue's beginning."""
        half_offset, op_offset = self._from(HALF, half_offset), self._from(OP, op_offset)
        table = OpenTransactions(half_offset, op_offset)
        halves, ops = self._places(HALF, half_offset), self._places(OP, op_offset)
        half, op = next(halves, None), next(ops, None)
        while half is not None or op is not None:
            if op is None or (half is not None and half < op):
                assert half is not None
                self._take_half(table, *half)
                half = next(halves, None)
            else:
                self._take_op(table, half_offset, *op)
                op = next(ops, None)
        return table

    def _from(self, queue: tuple[str, int], offset: int) -> int:
        """Within the queue: files may have been deleted, and the end lost, since the offset was kept."""
        begin, end = self._store.queue_offsets(*queue)
        return min(max(begin, offset), end)

    def _places(self, queue: tuple[str, int], queue_offset: int) -> Iterator[Place]:
        end = self._store.queue_offsets(*queue)[1]
        for number in range(queue_offset, end):
            place = self._place(queue, number)
            if place is not None:
                yield place, number

    def _place(self, queue: tuple[str, int], queue_offset: int) -> int | None:
        """Where the message's record begins; None for a lost one: its filler names a neighbour's record."""
        entry = self._store.entry_at(*queue, queue_offset)
        return None if entry is None or entry[1] == FILLER_SIZE else entry[0]

    def _take_half(self, table: OpenTransactions, commit_log_offset: int, queue_offset: int) -> None:
        record = self._record(commit_log_offset)
        if record is None:
            return
        half = half_message(record, queue_offset)
        was_resumed = record.property_map.get(prop.TRANSACTION_CHECK_TIMES) == "0"
        if half.is_copy and half.key in self._ended and not was_resumed:
            self.left_over[queue_offset] = None
            table.passed(queue_offset)
        else:
            self._ended.discard(half.key)
            table.half_stored(half)

    def _take_op(
        self, table: OpenTransactions, half_offset: int, commit_log_offset: int, queue_offset: int
    ) -> None:
        record = self._record(commit_log_offset)
        named = () if record is None else tuple(op_offsets(record.body))
        if len(table):
            for offset in named:
                if offset < half_offset:
                    self._take_op_of_older_copy(table, offset)
        for offset in named:
            self.left_over.pop(offset, None)
            ended = table.at(offset)
            if ended is not None:
                self._ended.add(ended.key)
        table.op_stored(queue_offset, named)

    def _take_op_of_older_copy(self, table: OpenTransactions, queue_offset: int) -> None:
        """Apache ends a transaction by any copy of it, also by one that was passed since."""
        place = self._place(HALF, queue_offset)
        record = None if place is None else self._record(place)
        if record is not None:
            key = transaction_key(record.property_map, queue_offset)
            transaction = table.find_copy(key, queue_offset)
            if transaction is not None:
                self._ended.add(key)
                table.forget(transaction)

    def _record(self, commit_log_offset: int) -> MessageRecord | None:
        self.read += 1
        try:
            return decode_record(self._store.record_at(commit_log_offset))
        except (StoreError, MessageError):
            self.unreadable += 1
            return None


def half_message(record: MessageRecord, queue_offset: int) -> HalfMessage:
    """What decisions need of a half message's record."""
    return HalfMessage.read(
        record.property_map,
        queue_offset,
        record.commit_log_offset,
        record.store_timestamp,
        record.born_timestamp,
    )


def committed_before(
    store: StoredMessages, real_topic: str, key: str, is_its: Callable[[MessageRecord], bool]
) -> MessageRecord | None:
    """What the commit of the transaction `key` (see `table_key`) to `real_topic` has left, by the index.

    `is_its` tells it from that of another transaction of the same key.
    """
    for topic in (real_topic, names.SCHEDULE_TOPIC, names.TIMER_TOPIC):
        for record in decode_records(
            store.query_by_key(topic, unique_key_of(key), _COPIES_MAX, 0, _EVER_MS).body
        ):
            is_committed = transaction_type(record.sys_flag) == SysFlag.TRANSACTION_COMMIT
            if is_committed and _is_of(record, key) and is_its(record):
                return record
    return None


def was_given_up(store: StoredMessages, key: str, born_timestamp: int) -> bool:
    """Whether operators have the transaction `key` that was begun then (epoch ms), by the index."""
    unique_key = unique_key_of(key)
    found = store.query_by_key(names.TRANSACTION_GIVEN_UP_TOPIC, unique_key, _COPIES_MAX, 0, _EVER_MS)
    is_its = born_at(born_timestamp)
    return any(_is_of(record, key) and is_its(record) for record in decode_records(found.body))


def _is_of(record: MessageRecord, key: str) -> bool:
    """Whether it comes from a transaction of that key: the index does not know the producer's group."""
    return transaction_key(record.property_map, record.queue_offset) == key


def born_at(born_timestamp: int) -> Callable[[MessageRecord], bool]:
    """Tells transactions of one key apart: whatever is made of a half message keeps its time of birth.

    An application that sends a message object again sends the same key, at another time.
    """
    return lambda record: record.born_timestamp == born_timestamp


def find_committed(store: StoredMessages, transaction: OpenTransaction) -> MessageRecord | None:
    """The committed message of a transaction that the table calls open: its op message got lost in a crash.

    The message names the half message, or the copy, that it was made of. Where that may be an older copy
    than those known, the time of birth tells.
    """
    newest = transaction.newest
    was_born_with_it = born_at(newest.born_timestamp)

    def is_its(record: MessageRecord) -> bool:
        if record.prepared_transaction_offset >= transaction.first_commit_log_offset:
            return True
        return transaction.begins_with_copy and was_born_with_it(record)

    return committed_before(store, newest.topic, transaction.key, is_its)
