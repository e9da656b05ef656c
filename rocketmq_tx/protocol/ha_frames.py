"""The replication stream as bytes: reports of a slave, pieces of the master's log. Pure.

Layouts: `ha_layouts.py`. Neither side greets the other, so whatever is wrong shows as an impossible number;
a stream in which one was found cannot go on.

With `autoFailover` a slave greets its master by a negative report, before its first one, and gets to know
from it, by pieces of -1 bytes, up to where the log is acknowledged. Neither goes to anybody who did not ask.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from rocketmq_tx.errors import FrameError

REPORT_BYTES = 8
PIECE_HEAD_BYTES = 12
PIECE_MAX_BYTES = 16 << 20
"""A longer body is no piece of a log: masters send 32 KiB at a time unless told otherwise."""

_REPORT = struct.Struct(">q")
WATERMARK_BYTES = -1
MEMBER_MAX = (1 << 32) - 1
"""A greeting has room for brokerIds up to this one, and for epochs of 31 bits."""

_PIECE_HEAD = struct.Struct(">qi")


class Piece(NamedTuple):
    """Bytes of the master's log from `offset` on; without any it is a heartbeat."""

    offset: int
    body: bytes


class Greeting(NamedTuple):
    """Who a slave is, and the epoch whose master it means to follow."""

    member: int
    epoch: int


def encode_greeting(greeting: Greeting) -> bytes:
    """Stands before the first report."""
    return _REPORT.pack(-1 - (greeting.epoch << 32 | greeting.member))


def encode_watermark(offset: int) -> bytes:
    """Says up to where the log is acknowledged; a piece by itself."""
    return _PIECE_HEAD.pack(offset, WATERMARK_BYTES)


def encode_report(log_end: int) -> bytes:
    """What a slave says: its log is there up to `log_end`."""
    return _REPORT.pack(log_end)


def encode_piece_head(offset: int, body_bytes: int) -> bytes:
    """What stands before a piece of the log; with 0 bytes it is a heartbeat and complete."""
    return _PIECE_HEAD.pack(offset, body_bytes)


class ReportDecoder:
    """Reads what a slave says. `greeted` hears of a greeting; without it there is none."""

    def __init__(self, greeted: Callable[[Greeting], object] | None = None) -> None:
        self._rest = b""
        self._greeted = greeted

    def feed(self, data: bytes) -> list[int]:
        """The log ends that have come in whole. FrameError for a negative one, which no log has."""
        data = self._rest + data
        count = len(data) // REPORT_BYTES
        self._rest = data[count * REPORT_BYTES :]
        ends = list(struct.unpack_from(f">{count}q", data))
        if ends and self._greeted is not None:
            greeted, self._greeted = self._greeted, None
            if ends[0] < 0:
                number = -1 - ends.pop(0)
                greeted(Greeting(number & MEMBER_MAX, number >> 32))
        for end in ends:
            if end < 0:
                raise FrameError(f"a log that ends at {end}: this is no slave")
        return ends


class PieceDecoder:
    """Reads what a master sends; holds at most one unfinished piece.

    `watermark` is the last one that came; only a slave that has `greeted` is told of it.
    """

    def __init__(self, max_bytes: int = PIECE_MAX_BYTES, greeted: bool = False) -> None:
        self.watermark: int | None = None
        self._max_bytes = max_bytes
        self._greeted = greeted
        self._rest = bytearray()
        self._wanted = PIECE_HEAD_BYTES

    @property
    def pending_bytes(self) -> int:
        """Bytes of a piece that has not come in whole."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that have come in whole. FrameError for numbers that no master sends."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            data = bytes(self._rest)
        pieces: list[Piece] = []
        self._wanted = PIECE_HEAD_BYTES
        at, end = 0, len(data)
        while end - at >= PIECE_HEAD_BYTES:
            offset, size = _PIECE_HEAD.unpack_from(data, at)
            if size == WATERMARK_BYTES and self._greeted and offset >= 0:
                self.watermark = offset
                at += PIECE_HEAD_BYTES
                continue
            if offset < 0 or not 0 <= size <= self._max_bytes:
                raise FrameError(
                    f"a piece of {size} bytes at {offset}: this is no master, or bytes were lost on the way"
                )
            if end - at - PIECE_HEAD_BYTES < size:
                self._wanted = PIECE_HEAD_BYTES + size
                break
            at += PIECE_HEAD_BYTES
            pieces.append(Piece(offset, data[at : at + size]))
            at += size
        self._rest = bytearray(data[at:])
        return pieces
