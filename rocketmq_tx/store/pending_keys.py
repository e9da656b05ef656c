"""Keys of stored messages that wait for the index, in the order of the log.

Most wait message by message. Batches of equal shape wait as columns, which costs a fifth of that: their keys
are never taken apart, not even to be hashed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby, repeat
from typing import NamedTuple

from rocketmq_tx.store.key_hashes import COMMON_CHARS, column_hashes, index_key_hashes

MessageKeys = tuple[str, tuple[str, ...] | bytes, int, int]
"""(topic, keys, commit log offset, store timestamp) of one message; as bytes, one key of ASCII characters."""


_MANY = 8
"""So many messages are worth a look whether all have one key."""


class KeyColumn(NamedTuple):
    """One key of each of some messages that were stored together, in the order of the log.

    `topics` is the topic of all, or a sequence of those of each; `keys` are Latin-1, all of `key_bytes`, back
    to back; `offsets` are where the messages' records begin.
    """

    topics: str | Sequence[str]
    keys: bytes
    key_bytes: int
    offsets: Sequence[int]
    store_timestamp: int


class PendingKeys(list[MessageKeys]):
    """A list of `MessageKeys`, with columns between them."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: list[tuple[int, KeyColumn]] = []
        self.in_columns = 0
        """So many keys wait in columns."""
        self.aside: deque[PendingKeys] = deque()
        """Older than all others: bites that a start has left for later."""

    def add_column(self, column: KeyColumn) -> None:
        """Puts a column behind whatever waits."""
        self._columns.append((len(self), column))
        self.in_columns += len(column.offsets)

    def put_aside(self) -> None:
        """What waits becomes the last bite of what is entered later."""
        bite = PendingKeys()
        bite.extend(self)
        bite._columns, bite.in_columns = self._columns, self.in_columns
        super().clear()
        self._columns, self.in_columns = [], 0
        self.aside.append(bite)

    @property
    def waiting(self) -> int:
        """About how many keys wait, but for those aside: of a message that is no part of a column, one."""
        return len(self) + self.in_columns

    def mark(self) -> tuple[int, int]:
        """What waits now, for `back_to`."""
        return len(self), len(self._columns)

    def back_to(self, mark: tuple[int, int]) -> None:
        """Forgets what has been put behind it since."""
        del self[mark[0] :]
        for _, column in self._columns[mark[1] :]:
            self.in_columns -= len(column.offsets)
        del self._columns[mark[1] :]

    def clear(self) -> None:
        super().clear()
        self._columns.clear()
        self.in_columns = 0
        self.aside.clear()

    def hashed(self) -> tuple[list[int], list[int], list[int]]:
        """Hash, commit log offset and store timestamp of every key that is not aside, in order."""
        hashes: list[int] = []
        offsets: list[int] = []
        timestamps: list[int] = []
        begin = 0
        for (end, *_), entries in groupby([*self._columns, (len(self), None)], _hashed_as):
            if begin < end:
                some, places, times = _hashed(self[begin:end])
                hashes += some
                offsets += places
                timestamps += times
                begin = end
            columns = [column for _, column in entries if column is not None]
            if columns:
                hashes += _hashes_together(columns)
            for _, _, _, places, timestamp in columns:
                offsets += places
                timestamps += repeat(timestamp, len(places))
        return hashes, offsets, timestamps

    def drop_first(self, count: int) -> None:
        """The first `count` keys need not wait any more; a message may have several."""
        self._dissolve_columns()
        entered = 0
        while entered < len(self) and count >= len(key_texts(self[entered][1])):
            count -= len(key_texts(self[entered][1]))
            entered += 1
        del self[:entered]
        if count:
            topic, keys, offset, timestamp = self[0]
            self[0] = (topic, keys[count:], offset, timestamp)

    def _dissolve_columns(self) -> None:
        """The same keys, message by message."""
        for at, (topics, joined, key_bytes, offsets, timestamp) in reversed(self._columns):
            text = joined.decode("latin-1")
            keys = [text[start : start + key_bytes] for start in range(0, len(text), key_bytes)]
            of_each = [topics] * len(keys) if isinstance(topics, str) else topics
            self[at:at] = [
                (topic, (key,), offset, timestamp)
                for topic, key, offset in zip(of_each, keys, offsets, strict=True)
            ]
        self._columns.clear()
        self.in_columns = 0


def _hashed_as(entry: tuple[int, KeyColumn | None]) -> tuple[int, str | None, int, bytes]:
    """What columns have in common that are hashed together: place, topic unless they have several, keys."""
    place, column = entry
    if column is None:
        return place, None, 0, b""
    topics, keys, key_bytes, _, _ = column
    return place, topics if isinstance(topics, str) else None, key_bytes, keys[:COMMON_CHARS]


def _hashes_together(columns: Sequence[KeyColumn]) -> list[int]:
    """Those of columns that are alike by `_hashed_as`: a few long ones are cheaper than many short ones."""
    topics, _, key_bytes, _, _ = columns[0]
    if not isinstance(topics, str):
        topics = [topic for column in columns for topic in column.topics]
    return column_hashes(topics, b"".join([column.keys for column in columns]), key_bytes)


def _hashed(waiting: Sequence[MessageKeys]) -> tuple[list[int], Sequence[int], Sequence[int]]:
    """Hash, commit log offset and store timestamp of each key of some messages."""
    topics, own_keys, offsets, timestamps = zip(*waiting, strict=True)
    try:
        joined = b"".join(own_keys)
    except TypeError:  # some have theirs as texts
        return _hashed_texts(waiting)
    if len(own_keys) == 1 or len({*map(len, own_keys)}) > 1:
        return _hashed_texts(waiting)
    of_each = topics[0] if topics.count(topics[0]) == len(topics) else topics
    return column_hashes(of_each, joined, len(own_keys[0])), offsets, timestamps


def _hashed_texts(waiting: Sequence[MessageKeys]) -> tuple[list[int], Sequence[int], Sequence[int]]:
    if len(waiting) >= _MANY:
        topics, own_keys, offsets, timestamps = zip(*waiting, strict=True)
        keys = [key for keys in own_keys for key in key_texts(keys)]
        if len(keys) == len(topics) and all(own_keys):  # one of each
            return index_key_hashes(topics, keys), offsets, timestamps
    each = [
        (topic, key, offset, timestamp)
        for topic, own_keys, offset, timestamp in waiting
        for key in key_texts(own_keys)
    ]
    if not each:
        return [], (), ()
    topics, single_keys, offsets, timestamps = zip(*each, strict=True)
    return index_key_hashes(topics, single_keys), offsets, timestamps


def key_texts(keys: tuple[str, ...] | bytes) -> tuple[str, ...]:
    """The keys of a message, however they are given."""
    return (keys.decode("ascii"),) if isinstance(keys, bytes) else keys
