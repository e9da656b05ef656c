"""What a master knows of one slave: how far it has come, what it gets next. Pure.

The slave's first report decides where the stream begins, and is an acknowledgement like all later ones.
Facts: `spec/ha.yaml` (master_side); where ours differs, `docs/differences.md`, Replication.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.ha_frames import Greeting, ReportDecoder, encode_piece_head


class LogExtent(Protocol):
    """What is needed to know of `store.message_store.MessageStore`."""

    @property
    def min_offset(self) -> int: ...

    @property
    def written_to(self) -> int: ...

    @property
    def segment_size(self) -> int: ...


class Stretch(NamedTuple):
    """Bytes of the log that are to be sent next."""

    offset: int
    length: int


class MasterEnd:
    """One slave. `acknowledged` is up to where it has the log; None before it has said anything.

    `from_last_file` says whether an empty slave gets only the last file, as Apache's do, or everything.
    `admit` is asked about a slave that greets, and raises FrameError for one that must not follow here.
    `can_have` is up to where anybody can have got this log, None when that need not be asked.
    """

    def __init__(
        self,
        log: LogExtent,
        from_last_file: Callable[[], bool] = lambda: False,
        admit: Callable[[Greeting], object] | None = None,
        can_have: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._log = log
        self._can_have = can_have
        self._from_last_file = from_last_file
        self._admit = admit
        self._reports = ReportDecoder(None if admit is None else self._greeted)
        self.greeting: Greeting | None = None
        self.acknowledged: int | None = None
        self.sent_to: int | None = None

    def _greeted(self, greeting: Greeting) -> None:
        assert self._admit is not None
        self._admit(greeting)
        self.greeting = greeting

    def received(self, data: bytes) -> None:
        """Bytes of the slave. FrameError, with a sentence, for what no slave of this log says."""
        for log_end in self._reports.feed(data):
            if self.sent_to is None:
                self.sent_to = self._begin(log_end)
                self.acknowledged = log_end
                continue
            if log_end > self.sent_to:
                raise FrameError(
                    f"it acknowledges the log up to {log_end}, but was sent it up to {self.sent_to}"
                )
            self.acknowledged = max(self.acknowledged or 0, log_end)

    def _begin(self, log_end: int) -> int:
        log = self._log
        if log_end == 0:
            last_file = log.written_to - log.written_to % log.segment_size
            return max(last_file, log.min_offset) if self._from_last_file() else log.min_offset
        if log_end > log.written_to:
            raise FrameError(
                f"its log ends at {log_end}, {log_end - log.written_to} bytes beyond the end of this one: "
                "it has messages that this master has lost or never had, and gets nothing"
            )
        can_have = self._can_have()
        if can_have is not None and log_end > can_have and self.greeting is None:
            raise FrameError(
                f"its log ends at {log_end}, and nobody was sent this one beyond {can_have}: there it has"
                " messages that this master has lost or never had; it needs an empty store"
            )
        if log_end < log.min_offset:
            raise FrameError(
                f"its log ends at {log_end}, and this one begins at {log.min_offset}: what comes next was "
                "deleted as too old; it needs an empty store"
            )
        return log_end

    def next_stretch(self, most_bytes: int) -> Stretch | None:
        """What to send next, within one file of the log; None when the slave was sent everything."""
        log, offset = self._log, self.sent_to
        if offset is None or offset >= log.written_to:
            return None
        file_end = offset - offset % log.segment_size + log.segment_size
        return Stretch(offset, min(most_bytes, file_end - offset, log.written_to - offset))

    def piece_head(self, body_bytes: int) -> bytes:
        """The head of the piece that is sent now, whose body has so many bytes; 0 makes a heartbeat."""
        offset = self.sent_to or 0
        self.sent_to = offset + body_bytes
        return encode_piece_head(offset, body_bytes)
