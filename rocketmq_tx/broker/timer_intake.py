"""Enters pending messages into the timer index: from the queue of the timer topic, as far as it reaches.

The same way for a message that has just come, for those that came while nobody looked, and for all of them
when the index is lost: what is in the queue is read in order, in bites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.broker.timer_messages import MARKS_QUEUE, read_mark
from rocketmq_tx.broker.timer_rules import PENDING_QUEUE, entry_of
from rocketmq_tx.errors import MessageError, StoreError
from rocketmq_tx.protocol.message import decode_record, record_spans
from rocketmq_tx.protocol.names import TIMER_TOPIC
from rocketmq_tx.store.records import facts
from rocketmq_tx.store.timer_entries import AFTER_ALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from rocketmq_tx.broker.warm_reads import WarmReads
    from rocketmq_tx.store.pull import GetResult
    from rocketmq_tx.store.stored_messages import StoredMessages
    from rocketmq_tx.store.timer_entries import Entry
    from rocketmq_tx.store.timer_index import TimerIndex
    from rocketmq_tx.store.timer_manifest import Claim

BITE_S = 0.008
MESSAGES_AT_ONCE = 32


class TimerIntake:
    """Reads the queue; `notice` is told of records that do not belong there."""

    def __init__(
        self,
        store: StoredMessages,
        index: TimerIndex,
        reads: WarmReads,
        reactor: IReactorTime,
        notice: Callable[[str], object],
    ) -> None:
        self._store = store
        self._index = index
        self._reads = reads
        self._reactor = reactor
        self._notice = notice

    def open(self) -> None:
        """Loads the index, and the newest mark of whoever was master before."""
        store, index = self._store, self._index
        index.load(store.written_to, store.queue_offsets(TIMER_TOPIC, PENDING_QUEUE)[1])
        mark = self._newest_mark()
        if mark is not None:
            index.claim(*mark)

    def waits_before(self, commit_log_offset: int) -> bool:
        """Whether messages may wait whose only record lies below that offset: what the log alone can tell.

        A master says by its marks how far it has appended them again, or that none waits.
        """
        least, end = self._store.queue_offsets(TIMER_TOPIC, PENDING_QUEUE)
        first = self._store.entry_at(TIMER_TOPIC, PENDING_QUEUE, least) if least < end else None
        if first is None or first[0] >= commit_log_offset:
            return False
        mark = self._newest_mark()
        if mark is None:
            return True
        claim, void_below = mark
        last = self._store.entry_at(TIMER_TOPIC, PENDING_QUEUE, end - 1)
        all_done = claim.before == AFTER_ALL and last is not None and last[0] < claim.log_offset
        return void_below < commit_log_offset and not all_done

    def _newest_mark(self) -> tuple[Claim, int] | None:
        least, end = self._store.queue_offsets(TIMER_TOPIC, MARKS_QUEUE)
        if end <= least:
            return None
        entry = self._store.entry_at(TIMER_TOPIC, MARKS_QUEUE, end - 1)
        try:
            return None if entry is None else read_mark(decode_record(self._store.record_at(entry[0])).body)
        except (StoreError, MessageError) as error:
            self._notice(f"the newest mark cannot be read: {error}")
            return None

    async def enter_some(self) -> bool:
        """Enters what has come, for some milliseconds; whether there is more to enter."""
        index = self._index
        deadline_s = self._reactor.seconds() + BITE_S
        while index.has_room:
            begin = index.intake_from
            found = await self._reads.read(self._read)
            if found.next_offset <= begin:
                return False
            index.enter(*self._entered(found))
            if self._reactor.seconds() >= deadline_s:
                break
        return self._has_more()

    def _read(self, may_block: bool) -> GetResult:
        return self._store.get_messages(
            TIMER_TOPIC, PENDING_QUEUE, self._index.intake_from, MESSAGES_AT_ONCE, may_block=may_block
        )

    def _entered(self, found: GetResult) -> tuple[list[Entry], int, int]:
        entries = []
        entered_to = self._index.entered_to
        for start, _ in record_spans(found.body):
            record = facts(found.body, start)
            entry = entry_of(record.properties, record.commit_log_offset, record.size)
            if entry is None:
                self._notice(f"the record at {record.commit_log_offset} tells no delivery time")
            else:
                entries.append(entry)
            entered_to = record.commit_log_offset + record.size
        return entries, found.next_offset, entered_to

    def _has_more(self) -> bool:
        return self._index.intake_from < self._store.queue_offsets(TIMER_TOPIC, PENDING_QUEUE)[1]
