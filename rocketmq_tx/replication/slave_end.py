"""What a slave makes of its master's stream: bytes to append, reports to send. Pure.

Facts: `spec/ha.yaml` (slave_side).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.ha_frames import Piece, PieceDecoder, encode_report

JOINED_BYTES = 16 << 10
"""Enough for a write to be worth it. More would keep a double write's master waiting for an acknowledgement
(measured: with 64 KiB half of what is in flight comes back at once, and master and slave idle in turn)."""


class Chunk(NamedTuple):
    """Bytes for the commit log, all of one file, and where they belong."""

    offset: int
    data: bytes


class SlaveEnd:
    """One connection to the master. `expected` is the offset of the next piece.

    It is None while the log is empty, which may begin wherever a file of the master's does.
    """

    def __init__(self, expected: int | None, file_bytes: int, greeted: bool = False) -> None:
        self.expected = expected
        self.reported = -1
        self._file_bytes = file_bytes
        self._pieces = PieceDecoder(greeted=greeted)

    @property
    def watermark(self) -> int | None:
        """Up to where the master has last said that the log is acknowledged."""
        return self._pieces.watermark

    def received(self, data: bytes, append: Callable[[Chunk], object]) -> None:
        """Hands the bytes on, in order. FrameError when a piece is not the one that comes next.

        What came before it was handed on by then, and is right.
        """
        for chunk in self._joined(self._pieces.feed(data)):
            append(chunk)

    def _joined(self, pieces: list[Piece]) -> Iterator[Chunk]:
        """Pieces that follow each other within a file become one chunk: one write for many."""
        start = 0
        bodies: list[bytes] = []
        for piece in pieces:
            if self.expected is not None and piece.offset != self.expected:
                if bodies:
                    yield Chunk(start, b"".join(bodies))
                raise FrameError(f"a piece at {piece.offset} came where {self.expected} comes next")
            if not piece.body:
                continue
            if bodies and (piece.offset % self._file_bytes == 0 or piece.offset - start >= JOINED_BYTES):
                yield Chunk(start, b"".join(bodies))
                bodies = []
            if not bodies:
                start = piece.offset
            bodies.append(piece.body)
            self.expected = piece.offset + len(piece.body)
        if bodies:
            yield Chunk(start, b"".join(bodies))

    def report(self, log_end: int) -> bytes:
        """Says that the log is there up to `log_end`."""
        self.reported = log_end
        return encode_report(log_end)
