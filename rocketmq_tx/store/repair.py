"""A way out for a commit log that no broker opens: what does not fit is set aside, gaps are filled.

Nothing is thrown away: files that do not fit go to a folder `set-aside` beside them. A gap is filled with
segments that hold nothing but an end mark, so every message outside it keeps its place, its number and its
queue; those of the gap are passed over. `plan_repair` only looks; `repair` does it.
"""

from __future__ import annotations

import enum
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rocketmq_tx.protocol.message import BLANK_MAGIC
from rocketmq_tx.store.checkpoint import Claim, read_checkpoint
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.layouts import BLANK
from rocketmq_tx.store.log_marks import Origin, origin_of, read_head
from rocketmq_tx.store.segments import segment_name, segment_starts
from rocketmq_tx.store.store_directory import CHECKPOINT, lock_store

ASIDE = "set-aside"
_COPY_BYTES = 1 << 20


class Step(enum.Enum):
    """What is done to a file."""

    SET_ASIDE = "set aside"
    SHORTEN = "shorten, the whole of it is set aside"
    FILL = "fill with an empty segment"


class Action(NamedTuple):
    """One step, in the words of `reason`."""

    step: Step
    path: str
    reason: str


class RepairPlan(NamedTuple):
    """`lost` are ranges of commit log offsets without messages. Without actions nothing is wrong."""

    root: str
    segment_size: int
    actions: list[Action]
    lost: list[tuple[int, int]]


class _Found(NamedTuple):
    start: int
    path: str
    size: int


def plan_repair(disk: Disk, root: str, log_directories: Sequence[str], configured_size: int) -> RepairPlan:
    """What has to be done so that the store opens. `configured_size` counts when the files do not tell."""
    found = [
        _Found(start, f"{directory}/{segment_name(start)}", disk.file_size(path) or 0)
        for directory in log_directories
        for start in segment_starts(disk.names(directory))
        for path in (f"{directory}/{segment_name(start)}",)
    ]
    size = _segment_size(found, configured_size)
    actions: list[Action] = []
    kept: dict[int, _Found] = {}
    for file in sorted(found, key=lambda file: (file.start, -file.size)):
        if file.start % size:
            reason = f"its name is no multiple of {size}, the size of a segment"
            actions.append(Action(Step.SET_ASIDE, file.path, reason))
        elif file.start in kept:
            actions.append(Action(Step.SET_ASIDE, file.path, f"{kept[file.start].path} is the same segment"))
        else:
            kept[file.start] = file
            if file.size > size:
                reason = f"it has {file.size} bytes, more than the {size} of a segment"
                actions.append(Action(Step.SHORTEN, file.path, reason))
    gaps = [start for start in range(min(kept, default=0), max(kept, default=0), size) if start not in kept]
    for start in gaps:
        before = max(other for other in kept if other < start)
        directory = kept[before].path.rpartition("/")[0]
        reason = "the segment is missing"
        actions.append(Action(Step.FILL, f"{directory}/{segment_name(start)}", reason))
    lost = [(start, start + size) for start in gaps]
    end = max(kept, default=-size) + size
    checkpoint = read_checkpoint(disk, f"{root}/{CHECKPOINT}")
    claim = checkpoint.claim
    if claim is not None and claim.dispatched_to > end and not _is_strange(disk, claim, kept):
        reason = f"it tells of messages up to {claim.dispatched_to}, and the commit log ends at {end}"
        actions.append(Action(Step.SET_ASIDE, f"{root}/{CHECKPOINT}", reason))
        lost.append((end, claim.dispatched_to))
    elif not kept and checkpoint.times.commit_log_ms > 0:
        actions.append(
            Action(Step.SET_ASIDE, f"{root}/{CHECKPOINT}", "it tells of messages, and there is no log")
        )
    return RepairPlan(root, size, actions, lost)


def _is_strange(disk: Disk, claim: Claim, kept: Mapping[int, _Found]) -> bool:
    """Whether the checkpoint is that of another store: a start leaves it out by itself."""
    files = (kept[mark.offset] for mark in claim.marks if mark.offset in kept)
    heads = ((file.start, read_head(disk.open, file.path)) for file in files)
    return origin_of(claim.marks, heads) is Origin.OTHER


def _segment_size(found: Sequence[_Found], configured_size: int) -> int:
    """The size that most files have, the configured one when in doubt."""
    counts = Counter(file.size for file in found if file.size)
    if not counts or counts[configured_size] == max(counts.values()):
        return configured_size
    return counts.most_common(1)[0][0]


def bytes_to_copy(disk: Disk, plan: RepairPlan) -> int:
    """How much `repair` copies; the rest of it takes no time."""
    return sum(disk.file_size(action.path) or 0 for action in plan.actions if action.step is Step.SHORTEN)


def repair(disk: Disk, plan: RepairPlan, copied: Callable[[int], None] = lambda count: None) -> list[str]:
    """Does what the plan says; returns the paths of what was set aside. Harmless to begin again.

    What is there under a name already is never replaced. `copied` is told of every so many bytes.

    StoreLocked while a broker has the store; StoreError when the disk fails.
    """
    lock = lock_store(disk, plan.root)
    try:
        aside = [_do(disk, action, plan.segment_size, copied) for action in plan.actions]
    finally:
        lock.release()
    return [path for path in aside if path is not None]


def _do(disk: Disk, action: Action, segment_size: int, copied: Callable[[int], None]) -> str | None:
    directory, _, name = action.path.rpartition("/")
    if action.step is Step.FILL:
        _write_aside_and_rename(disk, action.path, BLANK.pack(segment_size, BLANK_MAGIC), segment_size)
        return None
    aside = _free_name(disk, f"{directory}/{ASIDE}/{name}")
    disk.make_directory(f"{directory}/{ASIDE}")
    if action.step is Step.SHORTEN:
        whole = disk.open(action.path)
        copy = disk.create(f"{aside}.tmp", 0)
        for at in range(0, whole.size(), _COPY_BYTES):
            copy.pwrite(whole.pread(_COPY_BYTES, at), at)
            copied(min(_COPY_BYTES, whole.size() - at))
        copy.sync()
        disk.rename(f"{aside}.tmp", aside)
        disk.sync_directory(f"{directory}/{ASIDE}")
        whole.truncate(segment_size)
        whole.sync()
        return aside
    disk.rename(action.path, aside)
    disk.sync_directory(f"{directory}/{ASIDE}")
    disk.sync_directory(directory)
    return aside


def _free_name(disk: Disk, path: str) -> str:
    """The path, or one with a number behind it: what an earlier repair has set aside stays."""
    names = itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2)))
    return next(name for name in names if disk.file_size(name) is None)


def _write_aside_and_rename(disk: Disk, path: str, data: bytes, size: int) -> None:
    file = disk.create(f"{path}.tmp", size)
    file.pwrite(data, 0)
    file.sync()
    disk.rename(f"{path}.tmp", path)
    disk.sync_directory(path.rpartition("/")[0])
