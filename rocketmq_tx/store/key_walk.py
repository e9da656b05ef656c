"""What the index has for one key, newest first: a walk along its chains that can stop anywhere and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rocketmq_tx.store.index_file import IndexFile
    from rocketmq_tx.store.message_index import MessageIndex

_SECOND_MS = 1000


class KeyWalk:
    """Entries with a hash, of messages stored from `begin_ms` to `end_ms` (epoch ms; entries have seconds).

    Whatever stands in the files, chains lead to older entries only, so it ends. `looked_at` counts entries.
    """

    def __init__(self, index: MessageIndex, key_hash: int, begin_ms: int, end_ms: int) -> None:
        self._index = index
        self._key_hash = key_hash
        self._begin_ms = begin_ms
        self._end_ms = end_ms
        self._files: list[IndexFile] = []
        for file in reversed(index.files):
            if file.index_count > 1 and file.begin_timestamp <= end_ms:
                self._files.append(file)
                if file.begin_timestamp < begin_ms:
                    break
        self._files.reverse()
        self._number: int | None = None
        """Of the entry that comes next; None where a file begins."""
        self.looked_at = 0

    @property
    def is_over(self) -> bool:
        return not self._files

    def step(self, may_block: bool) -> int | None:
        """Looks at one entry; its commit log offset if it is one of those. WouldBlock: nothing was done."""
        file, key_hash = self._files[-1], self._key_hash
        if file not in self._index.files:  # too old by now
            self._next_file()
            return None
        number = self._number
        if number is None:
            number = file.newest(key_hash, may_block)
        if not 0 < number < file.index_count:
            self._next_file()
            return None
        found_hash, offset, seconds, previous = file.entry(number, may_block)
        self.looked_at += 1
        self._number = previous
        if not 0 < previous < number:
            self._next_file()  # the last one, or damage
        if found_hash != key_hash or seconds < 0:
            return None
        timestamp = file.begin_timestamp + seconds * _SECOND_MS
        if timestamp + _SECOND_MS <= self._begin_ms:
            if self._files and self._files[-1] is file:
                self._next_file()  # the others are older
            return None
        return offset if timestamp <= self._end_ms else None

    def _next_file(self) -> None:
        self._files.pop()
        self._number = None
