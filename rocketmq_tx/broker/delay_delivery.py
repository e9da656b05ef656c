"""Stores delayed messages whose time has come: a batch of one level by one append, or what of it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger

from rocketmq_tx.broker import delay_rules
from rocketmq_tx.broker.delay_rules import Undeliverable
from rocketmq_tx.errors import MessageError, StoreError, WouldBlock
from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.store.layouts import FILLER_SIZE

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.delay_progress import DelayProgress
    from rocketmq_tx.store.append import NewMessage
    from rocketmq_tx.store.consume_queue import Entry
    from rocketmq_tx.store.stored_messages import StoredMessages

BATCH_BYTES = 1 << 20


class ColdRecords(Exception):
    """Records that are not in memory; `errors` are to be warmed."""

    def __init__(self, errors: Sequence[WouldBlock]) -> None:
        super().__init__(f"{len(errors)} records are not in memory")
        self.errors = errors


class DelayDelivery:
    """Moves messages from the queue of a level to their own, and the level's progress with them."""

    _log = Logger()

    def __init__(
        self,
        store: StoredMessages,
        appending: Appending,
        progress: DelayProgress,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._appending = appending
        self._progress = progress
        self._now_ms = now_ms

    def deliver(
        self,
        level: int,
        offset: int,
        entries: Sequence[Entry],
        may_block: bool,
        is_given_up: Callable[[int, StoreError], bool],
    ) -> int | None:
        """How many of the entries, which stand in the level's queue from `offset` on, are done with.

        None when the first one cannot be read and `is_given_up`, asked with its log offset, says no.
        ColdRecords when some have to be read first, RequestRefused when no message is taken.
        """
        messages: list[NewMessage | None] = []
        cold: list[WouldBlock] = []
        for at, size, _ in within_bytes(entries):
            try:
                messages.append(None if size == FILLER_SIZE else self._message(at, may_block))
            except WouldBlock as error:
                cold.append(error)
            except StoreError as error:
                if messages or cold:
                    break  # first those before it
                if not is_given_up(at, error):
                    return None
                messages.append(None)
        if cold:
            raise ColdRecords(cold)
        self._append(level, offset, messages)
        return len(messages)

    def _message(self, commit_log_offset: int, may_block: bool) -> NewMessage | None:
        """The message to store; None for a record that is passed over."""
        data = self._store.record_at(commit_log_offset, may_block)
        try:
            return delay_rules.delivered(decode_record(data))
        except (Undeliverable, MessageError) as problem:
            self._log.error(
                "a delayed message is not delivered: commit_log_offset={offset} {problem}",
                offset=commit_log_offset,
                problem=problem,
            )
            return None

    def _append(self, level: int, offset: int, messages: Sequence[NewMessage | None]) -> None:
        wanted = [message for message in messages if message is not None]
        try:
            if wanted:
                self._appending.append(wanted, self._now_ms())
        except MessageError as error:
            if len(messages) > 1:
                self._append_singly(level, offset, messages)
                return
            self._log.error("a delayed message is not delivered, no segment holds it: {error}", error=error)
        self._progress.delivered_to(level, offset + len(messages))

    def _append_singly(self, level: int, offset: int, messages: Iterable[NewMessage | None]) -> None:
        """One of them fits nowhere: each gets an append of its own."""
        for place, message in enumerate(messages):
            self._append(level, offset + place, [message])


def within_bytes(entries: Sequence[Entry]) -> Sequence[Entry]:
    """As many as fit into one batch, at least one."""
    total = 0
    for count, (_, size, _) in enumerate(entries):
        total += 0 if size == FILLER_SIZE else size
        if count and total > BATCH_BYTES:
            return entries[:count]
    return entries
