"""Bytes of a connection in, frames out: all that a read completed, as runs of equal commands.

A run crosses each layer above as one batch, so that a layer costs per run and not per frame. Bytes of a
frame that is not complete wait here, at most one frame and one read of them, and are looked at again only
when the frame is complete: feeding byte by byte costs no more than its appends.
"""

from __future__ import annotations

from contextlib import suppress
from struct import Struct
from typing import Any, Final

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.alike_sends import ALIKE_LEAST, AlikeSends, scan_alike
from rocketmq_tx.protocol.batch_scan import scan_batch
from rocketmq_tx.protocol.end_scan import scan_end
from rocketmq_tx.protocol.frame_codec import MAX_FRAME_BYTES, decode_frame_at
from rocketmq_tx.protocol.known_headers import scan_alone
from rocketmq_tx.protocol.pull_scan import scan_pull
from rocketmq_tx.protocol.send_scan import LONGEST_SCANNED_HEADER, SendScanner

#: No frame can carry such codes: what a peer calls by a negative number is an unknown request like any other.
_BEYOND_FRAMES: Final = 1 << 32

#: Code of a run of answers; their own codes say how requests went, not what they are.
RESPONSE_RUN: Final = -_BEYOND_FRAMES - 1

#: Code of a run of `send_scan.ScannedSend` tuples: sends that were read without parsing. The run may be an
#: `alike_sends.AlikeSends`; two runs of this code may follow one another then.
SCANNED_SEND: Final = -_BEYOND_FRAMES - 2

#: Code of a run of `end_scan.ScannedEnd`: one-way ends of transactions that were read without parsing.
SCANNED_END: Final = -_BEYOND_FRAMES - 3

#: Code of a run of `pull_scan.ScannedPull`: pulls that were read without parsing.
SCANNED_PULL: Final = -_BEYOND_FRAMES - 4

#: Code of a run of `batch_scan.ScannedBatch`: batch sends that were read without parsing.
SCANNED_BATCH: Final = -_BEYOND_FRAMES - 5

#: (code, items): frames, or what scanners made where the code is one of theirs.
Run = tuple[int, list[Any]]

#: Runs of these are not torn apart by each other. A producer with many threads mixes both, and an end is
#: about a half message that was answered before, so that no order between them says anything - but where
#: both name one unique key: an application that sends a message object again begins another transaction.
_GATHERED = frozenset({SCANNED_SEND, SCANNED_END})
_NOTHING: frozenset[int] = frozenset()

_PREFIX = Struct(">II")
_LENGTH = Struct(">I")
_LENGTH_SIZE = 4
_JSON_BEGINS = b'{"code":'
_NOT_SCANNED = -_BEYOND_FRAMES
_CODE_FROM = len(_JSON_BEGINS)
_CODE_TO = _CODE_FROM + 4
_SCANNED_CODES = {b"310,": SCANNED_SEND, b'11,"': SCANNED_PULL, b"320,": SCANNED_BATCH, b'37,"': SCANNED_END}
"""What may be scanned, by the code of a JSON header and what follows it."""
_FEW_BYTES = 1024  # less are too few sends to look for alike ones
_SMALLEST_LENGTH = 4  # the word that tells how the header is written


class FrameDecoder:
    """Cuts one direction of one connection into frames.

    `max_frame_bytes` counts a whole frame with its length field. With a `scanner`, sends that it can read
    come as runs of SCANNED_SEND, ends of transactions as SCANNED_END and pulls as SCANNED_PULL; without one,
    every frame comes as a `Frame`.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES, scanner: SendScanner | None = None) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._longest_length = max_frame_bytes - _LENGTH_SIZE
        self._scanner = scanner
        self._known_headers = {} if scanner is None else scanner.known_headers
        self._pending = bytearray()
        self._wanted = 0
        self.pending_bytes = 0
        """Bytes held of a frame that is not complete yet."""
        self.broken: FrameError | None = None
        """Why the rest of this connection cannot be read, once that is known."""

    def feed(self, data: bytes) -> list[Run]:
        """The frames that `data` completes, in order, as runs of consecutive frames of one code.

        Scanned sends and scanned ends do not part each other's runs, and sends come first: [end, send, end]
        are a run of a send and one of two ends, unless they are about the same unique key.
        FrameError when the bytes are no frames; the connection is then to be closed. Good frames in front of
        the bad bytes are not lost: they are returned, `broken` is set, and the next call raises.
        """
        if self.broken is not None:
            raise self.broken
        if self.pending_bytes:
            self.pending_bytes += len(data)
            if self.pending_bytes < self._wanted:
                self._pending += data
                return []
            data = b"".join((self._pending, data))
            self._pending.clear()
            self.pending_bytes = 0
        known = self._known_headers.get(data[_LENGTH_SIZE : _PREFIX.size])
        if known is not None and len(data) <= self._max_frame_bytes:
            send = known.scan(data)
            if send is not None:
                return [(SCANNED_SEND, [send])]
        runs: list[Run] = []
        try:
            alone = self._decode_alone(data) if data.startswith(_JSON_BEGINS, _PREFIX.size) else None
            if alone is not None:
                return [alone]
            position = self._decode_into(runs, data, _GATHERED)
            self._keep(data, position)
        except FrameError as error:
            self.broken = error
            if not runs:
                raise
        if len(runs) > 1 and _share_a_key(runs):
            runs = []
            with suppress(FrameError):  # it is known from above
                self._decode_into(runs, data, _NOTHING)
        return runs

    def _decode_alone(self, data: bytes) -> Run | None:
        """What these bytes are when they are one frame, as they come from who waits for each answer."""
        length, word = _PREFIX.unpack_from(data)
        end = _LENGTH_SIZE + length
        if end != len(data) or length > self._longest_length:
            return None
        item: Any = None
        code = _NOT_SCANNED
        start = _PREFIX.size
        header_end = start + word
        if self._scanner is not None and header_end <= end and word <= LONGEST_SCANNED_HEADER:
            code = _SCANNED_CODES.get(data[start + _CODE_FROM : start + _CODE_TO], _NOT_SCANNED)
            if code == SCANNED_SEND:
                item = scan_alone(self._scanner, data, header_end)
            elif code == SCANNED_PULL:
                item = scan_pull(data, start, header_end, end)
            elif code != _NOT_SCANNED:
                item = _scan_other(code, data, start, header_end, end)
        if item is None:
            item = decode_frame_at(data, _LENGTH_SIZE, end)
            code = RESPONSE_RUN if item.is_response else item.code
        return code, [item]

    def _decode_into(self, runs: list[Run], data: bytes, gathers: frozenset[int]) -> int:
        """Appends the runs of all complete frames; where the first incomplete one begins."""
        scanner = self._scanner
        alike_from = 0 if len(data) > _FEW_BYTES else len(data)
        longest = self._longest_length
        size = len(data)
        position = 0
        run_code: int | None = None
        items: list[Any] = []
        gathered: dict[int, list[Any]] = {}
        while size - position >= _PREFIX.size:
            length, word = _PREFIX.unpack_from(data, position)
            if not _SMALLEST_LENGTH <= length <= longest:
                break
            end = position + _LENGTH_SIZE + length
            if end > size:
                break
            header_start = position + _PREFIX.size
            item: Any = None
            code = _NOT_SCANNED
            # The type byte of JSON is 0, so this also says that the header is JSON.
            if scanner is not None and word <= LONGEST_SCANNED_HEADER and header_start + word <= end:
                code_text = data[header_start + _CODE_FROM : header_start + _CODE_TO]
                code = _SCANNED_CODES.get(code_text, _NOT_SCANNED)
            if code == SCANNED_PULL:
                item = scan_pull(data, header_start, header_start + word, end)
            elif code == SCANNED_SEND and scanner is not None:
                if alike_from <= position and _may_be_alike(data, position, end):
                    alike = scan_alike(scanner, data, position, header_start + word, end)
                    if alike is not None:
                        _put_alike(runs, gathered, alike)
                        run_code = None
                        position += len(alike) * (end - position)
                        continue
                    alike_from = position + ALIKE_LEAST * (end - position)  # attempts cost something, too
                item = scanner.scan(data, header_start, header_start + word, end)
            elif code != _NOT_SCANNED:
                item = _scan_other(code, data, header_start, header_start + word, end)
            if item is None:
                item = decode_frame_at(data, position + _LENGTH_SIZE, end)
                code = RESPONSE_RUN if item.is_response else item.code
            if code == run_code:
                items.append(item)
            else:
                items = gathered[code] if code in gathered else _begin_run(runs, gathered, code, gathers)
                items.append(item)
                run_code = code
            position = end
        return position

    def _keep(self, data: bytes, position: int) -> None:
        """Holds the beginning of a frame, unless its length already tells that it is none."""
        left = len(data) - position
        if left < _LENGTH_SIZE:
            self._wanted = _LENGTH_SIZE
        else:
            (length,) = _LENGTH.unpack_from(data, position)
            if not _SMALLEST_LENGTH <= length <= self._longest_length:
                raise FrameError(
                    f"a frame length of {length}, allowed are {_SMALLEST_LENGTH} to {self._longest_length}"
                )
            self._wanted = _LENGTH_SIZE + length
        if left:
            self._pending += data[position:]
            self.pending_bytes = left


def _may_be_alike(data: bytes, start: int, end: int) -> bool:
    """Whether enough frames may follow the one from `start` to `end`, and the next has its lengths."""
    return len(data) - start >= ALIKE_LEAST * (end - start) and data.startswith(
        data[start : start + _PREFIX.size], end
    )


def _put_alike(runs: list[Run], gathered: dict[int, list[Any]], alike: AlikeSends) -> None:
    """They are a run of their own, in front of ends that are there; what follows begins another one."""
    at = -1 if SCANNED_END in gathered else len(runs)
    runs.insert(at, (SCANNED_SEND, alike))  # type: ignore[arg-type]  # read like a list
    gathered.pop(SCANNED_SEND, None)


def _scan_other(code: int, data: bytes, header_start: int, header_end: int, end: int) -> Any:
    """A batch, or the end of a transaction; None when it is to be parsed."""
    scan = scan_batch if code == SCANNED_BATCH else scan_end
    return scan(data, header_start, header_end, end)


def _share_a_key(runs: list[Run]) -> bool:
    """True when sends and ends that are not kept apart by other commands have a unique key in common."""
    sent: set[bytes] = set()
    for code, items in runs if any(code == SCANNED_END for code, _ in runs) else ():
        if code == SCANNED_SEND:
            sent.update([unique_key for _, _, unique_key, _, _, _ in items])
        elif code == SCANNED_END:
            if not sent.isdisjoint([end.key.encode() for end in items]):
                return True
        else:
            sent.clear()
    return False


def _begin_run(
    runs: list[Run], gathered: dict[int, list[Any]], code: int, gathers: frozenset[int]
) -> list[Any]:
    """A new run of that code; `gathered` are the runs that go on whatever of their kind comes between."""
    items: list[Any] = []
    if code == SCANNED_SEND and SCANNED_END in gathered:
        runs.insert(-1, (code, items))  # in front of the ends, as somebody waits for its answers
    else:
        runs.append((code, items))
    if code in gathers:
        gathered[code] = items
    else:
        gathered.clear()
    return items
