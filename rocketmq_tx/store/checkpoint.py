"""The checkpoint file: what is on the device for certain, so that a start after a crash goes no further back.

Its first 24 bytes are Apache's; behind them stands a claim of ours, which is exact where Apache's store times
are coarse (`spec/store.yaml`, checkpoint_file; `layouts.CheckpointFile`).
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from construct import ConstructError, Container

from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.layouts import (
    CHECKPOINT_BYTES,
    CheckpointClaim,
    CheckpointFile,
    CheckpointTimes,
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
    """Ours: see `layouts.CheckpointClaim`."""

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
    marks = [mark._asdict() for mark in (*claim.marks, LogMark(), LogMark())[:2]]
    packed_claim = CheckpointClaim.build({"times": times._asdict(), **claim._asdict(), "marks": marks})
    content = {"times": times._asdict(), "claim": packed_claim, "claim_crc": zlib.crc32(packed_claim)}
    return bytes(CheckpointFile.build(content)).ljust(CHECKPOINT_BYTES, b"\0")


def decode_checkpoint(content: bytes) -> Checkpoint:
    """What a file says, whatever it holds: what cannot be right counts as missing."""
    try:
        file = CheckpointFile.parse(content.ljust(CHECKPOINT_BYTES, b"\0"))
        times = _times(file.times)
        if zlib.crc32(file.claim) != file.claim_crc:
            return Checkpoint(times)
        claim = CheckpointClaim.parse(file.claim)
    except ConstructError:
        return Checkpoint(times)
    if _times(claim.times) != times:
        return Checkpoint(times)
    marks = tuple(LogMark(mark.offset, mark.crc) for mark in claim.marks if mark.offset != NO_MARK_AT)
    return Checkpoint(times, Claim(*(claim[name] for name in Claim._fields))._replace(marks=marks))


def _times(parsed: Container[int]) -> StoreTimes:
    return StoreTimes(*(parsed[name] for name in StoreTimes._fields))


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
    _write(disk, path, CheckpointTimes.build(times._asdict()).ljust(CHECKPOINT_BYTES, b"\0"))


def _write(disk: Disk, path: str, content: bytes) -> None:
    is_new = disk.file_size(path) is None
    file = disk.create(path, CHECKPOINT_BYTES)
    file.pwrite(content, 0)
    file.sync()
    if is_new:
        disk.sync_directory(path.rpartition("/")[0])
