"""What may be deleted, and when messages are refused: decisions over hours, ages and how full the disks are.

Facts: `spec/store.yaml`, disk_clean. Unlike Apache's, the age of a file is that of its last message, not of
its modification time, and a disk whose use is unknown is no reason to delete anything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from rocketmq_tx.store.disk_use import DiskUse

FILES_A_RUN = 10
CLEAN_FORCIBLY_RATIO = 0.85
"""Above it files go whatever their age; a log directory this full gets no new file while others have room."""
DISK_FULL_RATIO = 0.90
"""Above it no message is taken; below it messages are taken again."""


class RetentionRules(NamedTuple):
    """deleteWhen, fileReservedTime, diskMaxUsedSpaceRatio and cleanFileForciblyEnable."""

    delete_hours: Collection[int]
    reserved_ms: int
    max_used_percent: int
    may_force: bool


class Cleaning(NamedTuple):
    """Why files are to go now; with `at_once` whatever their age."""

    reason: str
    at_once: bool


def log_ratio(uses: Sequence[DiskUse]) -> float:
    """How full the emptiest disk of the commit log is; -1 = unknown. The last of `uses` is the queues'."""
    return min([use.ratio for use in uses[:-1] or uses])


def cleaning_due(
    rules: RetentionRules, hour: int, uses: Sequence[DiskUse], asked_for: bool = False
) -> Cleaning | None:
    """Whether old files are to go at this hour of the day, with the disks this full."""
    ratio = max(log_ratio(uses), uses[-1].ratio)
    at_once = rules.may_force and ratio > CLEAN_FORCIBLY_RATIO
    if ratio * 100 > rules.max_used_percent:
        return Cleaning(f"the disk is {ratio:.0%} full", at_once)
    if hour in rules.delete_hours:
        return Cleaning(f"it is {hour:02d} o'clock", at_once)
    return Cleaning("an administrator asked for it", at_once) if asked_for else None


def is_expired(rules: RetentionRules, cleaning: Cleaning, last_message_ms: int, now_ms: int) -> bool:
    """Whether a file whose newest message has this store time may go."""
    return cleaning.at_once or now_ms >= last_message_ms + rules.reserved_ms


def full_log_directories(uses: Sequence[DiskUse]) -> frozenset[str]:
    """Directories of the commit log that should get no new file while others have room."""
    return frozenset([use.path for use in uses[:-1] if use.ratio > CLEAN_FORCIBLY_RATIO])


def disk_full_sentence(uses: Sequence[DiskUse]) -> str | None:
    """What producers are told when a disk is too full; None while there is room.

    Of several commit log directories all must be full, since the next file goes to one that is not.
    """
    full = [use for use in uses[-1:] if use.ratio > DISK_FULL_RATIO]
    if log_ratio(uses) > DISK_FULL_RATIO:
        full = [*uses[:-1], *full]
    if not full:
        return None
    disks = ", ".join(f"the disk of {use.path} is {use.ratio:.0%} full" for use in full)
    return f"{disks}, above {DISK_FULL_RATIO:.0%} no message is taken"
