"""Queue entries as columns of numbers, and the blocks of queue files read last, kept for the next pulls.

A consumer goes on where it stopped, and an answer has 32 messages, so that a block serves a dozen pulls
without a read. Entries are taken apart by slices of 32-bit words instead of one by one: a column of 64
numbers costs a third of what unpacking costs.
"""

from __future__ import annotations

import sys
from array import array
from collections import OrderedDict
from typing import Final

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.layouts import QUEUE_ENTRY_BYTES

ENTRIES_AT_A_TIME: Final = 64
"""At most so many are asked for at once."""
BLOCK_ENTRIES: Final = 400
BLOCKS_MAX: Final = 512
"""4.7 MB of blocks at most."""
WORDS: Final = 5
"""32-bit words of an entry: log offset (2), size, tags code (2); the high word first."""
LOW_WORD: Final = 0xFFFFFFFF
CODE_HIGH: Final = 3
CODE_LOW: Final = 4
"""Places of the words of the tags code in an entry."""
_OFFSET, _SIZE = 0, 2
_SWAPPED = sys.byteorder == "little"
_LOW_AT, _HIGH_AT = (0, 1) if _SWAPPED else (1, 0)
_WORD, _NUMBER = "i", "q"


def as_words(data: bytes) -> array[int]:
    """The words of entries as they stand in a file, signed."""
    words = array(_WORD, data)
    if _SWAPPED:
        words.byteswap()
    return words


def starts_of(entries: array[int]) -> array[int]:
    """Where in the log the record of each begins."""
    return _numbers(entries, _OFFSET)


def sizes_of(entries: array[int]) -> array[int]:
    """How long the record of each is."""
    return entries[_SIZE::WORDS]


def codes_of(entries: array[int]) -> array[int]:
    """The tags code of each."""
    return _numbers(entries, CODE_HIGH)


def _numbers(entries: array[int], at: int) -> array[int]:
    """The 64-bit numbers whose high word stands at `at` of each entry."""
    high = entries[at::WORDS]
    both = entries[: 2 * len(high)]
    both[_HIGH_AT::2] = high
    both[_LOW_AT::2] = entries[at + 1 :: WORDS]
    return array(_NUMBER, both.tobytes())


class EntryBlocks:
    """Reads entries of queues by blocks, of which the last ones are kept: at most `blocks_max`.

    A block counts as long as the queue has the `files_state` with which it was read; only what is written in
    one file as a whole is kept, since entries that are written never change but together with that state.
    """

    def __init__(self, blocks_max: int = BLOCKS_MAX) -> None:
        self._blocks_max = blocks_max
        self._blocks: OrderedDict[tuple[object, int], array[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def read(self, queue: ConsumeQueue, offset: int, count: int, may_block: bool) -> array[int]:
        """Words of up to `count` (<= ENTRIES_AT_A_TIME) entries, as `ConsumeQueue.read`."""
        key = queue.files_state, offset // BLOCK_ENTRIES
        block = self._blocks.get(key)
        if block is None:
            block = self._new_block(queue, key, may_block)
            if block is None:
                data = queue.read(offset, count, may_block)
                return as_words(data[: len(data) // QUEUE_ENTRY_BYTES * QUEUE_ENTRY_BYTES])
        else:
            self._blocks.move_to_end(key)
        at = offset % BLOCK_ENTRIES * WORDS
        return block[at : at + count * WORDS]

    def _new_block(self, queue: ConsumeQueue, key: tuple[object, int], may_block: bool) -> array[int] | None:
        """Blocks overlap, so that whatever begins in one is in it to its end."""
        try:
            data = queue.read_written(key[1] * BLOCK_ENTRIES, BLOCK_ENTRIES + ENTRIES_AT_A_TIME, may_block)
        except WouldBlock:
            raise
        except StoreError:
            return None  # what is asked for may be sound
        if data is None:
            return None
        block = self._blocks[key] = as_words(data)
        if len(self._blocks) > self._blocks_max:
            self._blocks.popitem(last=False)
        return block
