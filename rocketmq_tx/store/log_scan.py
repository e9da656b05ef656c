"""Reading a commit log from end to end whatever its state: missing, short and damaged files included.

Recovery walks what it must and stops where a log ends (`log_walk`); this looks at everything there is.
"""

from __future__ import annotations

from collections.abc import Iterator

from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.disk import DiskFile
from rocketmq_tx.store.log_walk import Step
from rocketmq_tx.store.records import Verdict, examine, facts
from rocketmq_tx.store.store_files import Segment, StoreFiles

_CHUNK_BYTES = 1 << 20
_SEARCH_BYTES = 8 << 20
_MAGIC = MESSAGE_MAGIC.to_bytes(4, "big")


class LogScan:
    """Iterate once: steps as `log_walk.walk` gives them, oldest first; then ask `end` and `torn_bytes`.

    A NOTHING step without data is a missing file; one with data is a stretch that is no record although a
    whole one follows that is not older. What follows the last record is no step.
    """

    def __init__(self, files: StoreFiles, check_crc: bool = True, start: int = 0) -> None:
        self._files = files
        self._check_crc = check_crc
        self._start = start
        self._newest_ms = 0
        self.end = max(start, files.log[0].start if files.log else 0)
        """Where the last record, or the blank behind it, ends."""
        self.torn_bytes = 0
        """How far behind `end` its file holds something other than zeros; looked at for some megabytes."""

    def __iter__(self) -> Iterator[Step]:
        """StoreError when a file cannot be read."""
        unsettled = self.end
        for segment in self._files.log:
            if segment.start + segment.size <= self._start:
                continue
            open_file = self._files.files.open(segment.path)
            position = max(segment.start, self._start)
            if position > unsettled:
                found = self._find(open_file, segment, position, only_here=True)
                if found is None:
                    continue  # an empty file that was made ahead of time, or nothing that can be used
                data = self._gap(unsettled, position)
                yield Step(Verdict.NOTHING, unsettled, position - unsettled, data, 0)
            for step in self._steps(open_file, segment, position):
                yield step
                self.end = unsettled = step.offset + step.size
        self._look_behind_end()

    def _gap(self, start: int, end: int) -> bytes:
        """A few bytes of what lies between when there is a file; none when it is missing."""
        for segment in self._files.log:
            if segment.start <= start < segment.start + segment.size:
                return self._files.files.open(segment.path).pread(min(64, end - start), start - segment.start)
        return b""

    def _steps(self, file: DiskFile, segment: Segment, position: int) -> Iterator[Step]:
        segment_end = segment.start + segment.size
        base, data = position, b""
        while position < segment_end:
            verdict, size = examine(data, position - base, position, self._check_crc)
            room = segment_end - position
            if verdict is Verdict.MORE and size <= room:
                base, data = (
                    position,
                    file.pread(max(size, min(_CHUNK_BYTES, room)), position - segment.start),
                )
                if len(data) < size:
                    return  # it has become shorter meanwhile
                continue
            if verdict is not Verdict.WHOLE and position > base:
                base, data = position, b""  # a broker may have written here since
                continue
            at = position - base
            if verdict is Verdict.BLANK:
                yield Step(verdict, position, room, data, at)
                return
            if verdict in (Verdict.WHOLE, Verdict.DAMAGED):
                yield Step(verdict, position, size, data, at)
                if verdict is Verdict.WHOLE:
                    self._newest_ms = facts(data, at).store_timestamp
                position += size
                continue
            following = self._find(file, segment, position, only_here=False)
            if following is None:
                return
            yield Step(Verdict.NOTHING, position, following - position, data[at : at + 64] or b"\0", 0)
            position = following

    def _find(self, file: DiskFile, segment: Segment, position: int, only_here: bool) -> int | None:
        """Where a whole record begins that is not older: at `position`, or some megabytes behind it."""
        data = file.pread(_SEARCH_BYTES, position - segment.start)
        if only_here:
            return position if self._is_whole(data, 0, position) else None
        found = data.find(_MAGIC, 5)
        while found >= 0:
            if self._is_whole(data, found - 4, position + found - 4):
                return position + found - 4
            found = data.find(_MAGIC, found + 1)
        return None

    def _is_whole(self, data: bytes, at: int, offset: int) -> bool:
        if examine(data, at, offset)[0] is not Verdict.WHOLE:
            return False
        return facts(data, at).store_timestamp >= self._newest_ms

    def _look_behind_end(self) -> None:
        for segment in self._files.log:
            if segment.start <= self.end < segment.start + segment.size:
                data = self._files.files.open(segment.path).pread(_SEARCH_BYTES, self.end - segment.start)
                self.torn_bytes = len(data.rstrip(b"\0"))
