"""The checkpoint file: what is on the device for certain, so that a start after a crash goes no further back.

Its first 24 bytes are Apache's; behind them stands a claim of ours, which is exact where Apache's store times
are coarse (`spec/store.yaml`, checkpoint_file; `file_layouts.CheckpointFile`).
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.layouts import (
    CHECKPOINT_BYTES,
    CHECKPOINT_CLAIM,
    CHECKPOINT_CLAIM_AT,
    CHECKPOINT_CLAIM_CRC,
    CHECKPOINT_TIMES,
    CLAIM_MAGIC,
)
from rocketmq_tx.store.log_marks import NO_MARK_AT, LogMark


class StoreTimes(NamedTuple):
    """Store times (epoch ms) up to which each part is on the device, as Apache keeps them."""

    commit_log_ms: int = 0
    queues_ms: int = 0
    index_ms: int = 0

    @property
    def safe_ms(self) -> int:
        """A store time below which Apache takes everything for written: three seconds less than both."""
        return max(0, min(self.commit_log_ms, self.queues_ms) - 3000)


class Claim(NamedTuple):
    """Ours: see `file_layouts.CheckpointClaim`."""

    log_min_offset: int
    dispatched_to: int
    last_record_at: int
    queue_count: int
    entry_count: int
    condemned_entries: int
    index_name: int
    index_entries: int
    marks: tuple[LogMark, ...] = ()


class Checkpoint(NamedTuple):
    """What the file says; without a claim when there is none, or when another server wrote after us."""

    times: StoreTimes = StoreTimes()
    claim: Claim | None = None


def encode_checkpoint(times: StoreTimes, claim: Claim) -> bytes:
    """The content of the file."""
    marks = (*claim.marks, LogMark(), LogMark())[:2]
    packed = CHECKPOINT_CLAIM.pack(CLAIM_MAGIC, *times, *claim[:-1], *marks[0], *marks[1])
    content = CHECKPOINT_TIMES.pack(*times).ljust(CHECKPOINT_CLAIM_AT, b"\0")
    content += packed + CHECKPOINT_CLAIM_CRC.pack(zlib.crc32(packed))
    return content.ljust(CHECKPOINT_BYTES, b"\0")


def decode_checkpoint(content: bytes) -> Checkpoint:
    """What a file says, whatever it holds: what cannot be right counts as missing."""
    content = content.ljust(CHECKPOINT_BYTES, b"\0")
    times = StoreTimes(*CHECKPOINT_TIMES.unpack_from(content))
    claim_end = CHECKPOINT_CLAIM_AT + CHECKPOINT_CLAIM.size
    packed = content[CHECKPOINT_CLAIM_AT:claim_end]
    if CHECKPOINT_CLAIM_CRC.unpack_from(content, claim_end) != (zlib.crc32(packed),):
        return Checkpoint(times)
    magic, *numbers = CHECKPOINT_CLAIM.unpack(packed)
    if magic != CLAIM_MAGIC or times != tuple(numbers[:3]):
        return Checkpoint(times)
    found = (LogMark(*numbers[11:13]), LogMark(*numbers[13:]))
    marks = tuple(mark for mark in found if mark.offset != NO_MARK_AT)
    return Checkpoint(times, Claim(*numbers[3:11])._replace(marks=marks))


def read_checkpoint(disk: Disk, path: str) -> Checkpoint:
    """What the file at `path` says; an empty checkpoint when it is missing."""
    if disk.file_size(path) is None:
        return Checkpoint()
    return decode_checkpoint(disk.open(path).pread(CHECKPOINT_BYTES, 0))


def write_checkpoint(disk: Disk, path: str, times: StoreTimes, claim: Claim) -> None:
    """Writes and syncs the file; everything claimed must be on the device already."""
    _write(disk, path, encode_checkpoint(times, claim))


def write_times(disk: Disk, path: str, times: StoreTimes) -> None:
    """The same, without a claim: only what Apache's file says."""
    _write(disk, path, CHECKPOINT_TIMES.pack(*times).ljust(CHECKPOINT_BYTES, b"\0"))


def _write(disk: Disk, path: str, content: bytes) -> None:
    is_new = disk.file_size(path) is None
    file = disk.create(path, CHECKPOINT_BYTES)
    file.pwrite(content, 0)
    file.sync()
    if is_new:
        disk.sync_directory(path.rpartition("/")[0])
