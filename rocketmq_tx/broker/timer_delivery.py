"""Delivers pending messages that are due: batch by batch, each by one append."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from rocketmq_tx.broker import timer_messages
from rocketmq_tx.broker.delay_rules import Undeliverable
from rocketmq_tx.broker.timer_rules import Cancellations, entry_of
from rocketmq_tx.errors import MessageError, StoreError, WouldBlock
from rocketmq_tx.protocol.message import MessageRecord, decode_record
from rocketmq_tx.protocol.names import TIMER_TOPIC
from rocketmq_tx.store.timer_entries import Entry, unpack_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.warm_reads import WarmReads
    from rocketmq_tx.runtime.rarely import Rarely
    from rocketmq_tx.store.append import NewMessage
    from rocketmq_tx.store.stored_messages import StoredMessages
    from rocketmq_tx.store.timer_index import TimerIndex

BATCH = 128
"""Some 4 ms with small messages: nobody else waits longer for that."""
READ_PATIENCE_MS = 3000
"""A record that cannot be read for so long is passed over, or it would hold up all those behind it."""


class TimerDelivery:
    """Takes what is due out of the index and puts it where it belongs."""

    _log = Logger()

    def __init__(
        self,
        store: StoredMessages,
        appending: Appending,
        index: TimerIndex,
        reads: WarmReads,
        rarely: Rarely,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._appending = appending
        self._index = index
        self._reads = reads
        self._rarely = rarely
        self._now_ms = now_ms
        self._failing_since_ms: int | None = None
        self.forget()
        self.delivered = 0
        """Messages put into their topics so far."""
        self.cancelled = 0
        self.lost = 0
        """Pending messages whose record was deleted before they were due."""

    def forget(self) -> None:
        """Begins anew: cancellations that were in force come again from the index."""
        self.cancellations = Cancellations()
        self._index.in_force = self.cancellations.entries
        self.wrong_entry: Entry | None = None
        """An entry that did not fit its record: the index is to be built anew."""

    async def deliver_some(self) -> bool:
        """Delivers a batch; whether more may be due. RequestRefused while the store takes nothing."""
        index = self._index
        batch = index.take(self._now_ms(), BATCH)
        if not batch:
            index.done()
            return False
        try:
            records = await self.records(batch)
            self._put(self._messages(batch, records))
        except BaseException:
            index.give_back(batch)
            raise
        index.done()
        return True

    async def records(self, entries: Sequence[Entry]) -> list[MessageRecord | None]:
        """The pending record of each entry; None where there is none any more.

        StoreError while some cannot be read and were not tried for long enough.
        """
        offsets = [unpack_entry(entry).commit_log_offset for entry in entries]
        found: list[bytes | None] = []
        cold = []
        for offset in offsets:
            try:
                found.append(self._store.record_at(offset, may_block=False))
                continue
            except WouldBlock as error:
                cold.append(error)
            except StoreError:
                pass  # is asked for once more below, and said then
            found.append(None)
        if cold:
            await self._warm(cold)
        return [
            self._record(entry, offset, data)
            for entry, offset, data in zip(entries, offsets, found, strict=True)
        ]

    async def _warm(self, cold: Sequence[WouldBlock]) -> None:
        try:
            await self._reads.warm(cold)
        except StoreError:
            now_ms = self._now_ms()
            if self._failing_since_ms is None:
                self._failing_since_ms = now_ms
            if 0 <= now_ms - self._failing_since_ms < READ_PATIENCE_MS:
                raise
        self._failing_since_ms = None  # each is asked for once more now, and said if it cannot be read

    def _record(self, entry: Entry, offset: int, data: bytes | None) -> MessageRecord | None:
        if offset < self._store.min_offset:
            self.lost += 1
            self._say("lost", "its record was deleted before it was due", offset)
            return None
        try:
            data = data or self._store.record_at(offset)
            record = decode_record(data)
        except (StoreError, MessageError) as error:
            self._say("damaged", str(error), offset)
            return None
        if record.topic != TIMER_TOPIC or entry_of(record.properties, offset, len(data)) != entry:
            self.wrong_entry = min(self.wrong_entry or entry, entry)
            self._say("wrong", "another record stands there; the timer index is built anew", offset)
            return None
        return record

    def _messages(self, batch: Sequence[Entry], records: Sequence[MessageRecord | None]) -> list[NewMessage]:
        messages = []
        for entry, record in zip(batch, records, strict=True):
            if record is None:
                continue
            properties = record.property_map
            if unpack_entry(entry).is_cancellation:
                self.cancellations.add(entry, properties)
                continue
            if self.cancellations.find(properties):
                self.cancelled += 1
                continue
            try:
                messages.append(timer_messages.delivered(record, properties))
            except Undeliverable as problem:
                self._say("undeliverable", str(problem), record.commit_log_offset)
        return messages

    def _put(self, messages: list[NewMessage]) -> None:
        if not messages:
            return
        try:
            self._appending.append(messages, self._now_ms())
        except MessageError as error:
            if len(messages) > 1:
                for message in messages:
                    self._put([message])
            else:
                self._say("undeliverable", str(error), -1)
            return
        self.delivered += len(messages)

    def expire_cancellations(self, is_caught_up: bool) -> None:
        """Lets go of those that can find nothing any more."""
        if len(self.cancellations) and is_caught_up:
            next_due_ms = self._index.next_due_ms()
            now_ms = self._now_ms()
            self.cancellations.expire(now_ms if next_due_ms is None else min(now_ms, next_due_ms - 1))

    def append_again(self, records: Sequence[MessageRecord | None]) -> None:
        """Puts pending records behind all others; RequestRefused while the store takes nothing."""
        messages = [timer_messages.rolled(record) for record in records if record is not None]
        if messages:
            self._appending.append(messages, self._now_ms())

    def _say(self, kind: str, problem: str, offset: int) -> None:
        held_back = self._rarely.due(kind)
        if held_back is not None:
            self._log.warn(
                "a pending message is passed over: offset={offset} because={problem} more={more}",
                offset=offset,
                problem=problem,
                more=held_back,
            )
