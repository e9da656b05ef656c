r"""The hot way to read PULL_MESSAGE: one pattern over the header as Java clients write it.

From pull to pull of one consumer from one queue the header is the same text but for three numbers:

    {"code":11,"extFields":{"queueId":"0","maxMsgNums":"32","sysFlag":"7","suspendTimeoutMillis":"15000",
    "commitOffset":"4711","bname":"broker-a","topic":"Orders","queueOffset":"4800","expressionType":"TAG",
    "subVersion":"1700000000000","consumerGroup":"CG"},"flag":0,"language":"JAVA","opaque":9,
    "serializeTypeCurrentRPC":"JSON","version":407}

The pattern cuts these out, and what is left is looked up as bytes. It trusts quotes; what it found is proven
when it enters the cache, so once for each text: the parser reads the frame, and what it read must give that
very text again. Whatever does not match or does not hold goes to the parser; tests prove that both ways read
the same.
"""

from __future__ import annotations

import re
from copy import copy
from typing import NamedTuple

import attrs
import orjson

from rocketmq_tx.errors import PeerError
from rocketmq_tx.protocol.codes import LanguageCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame_at
from rocketmq_tx.protocol.headers import PullMessageRequestHeader

_HEADER = re.compile(
    rb'(\{"code":11,"extFields":\{"queueId":"[^"]*","maxMsgNums":"[^"]*","sysFlag":"[^"]*",'
    rb'(?:"suspendTimeoutMillis":"[^"]*",)?"commitOffset":")'
    rb"(0|-?[1-9][0-9]{0,17})"
    rb'(",[^}]*?"topic":"[^"]*","queueOffset":")'
    rb"(0|-?[1-9][0-9]{0,17})"
    rb'("[^}]*\},"flag":0,"language":"[A-Z]+","opaque":)(0|[1-9][0-9]{0,9})'
    rb'(,"serializeTypeCurrentRPC":"JSON","version":[0-9]{1,4}\})'
)
_match = _HEADER.fullmatch
_LARGEST_OPAQUE = 2**31 - 1
_COMMIT_OFFSET, _QUEUE_OFFSET = "commitOffset", "queueOffset"
ROUTES_MAX = 16_384
"""So many constant parts are kept, of a kilobyte at most (`send_scan.LONGEST_SCANNED_HEADER`)."""


@attrs.define(eq=False)
class PullRoute:
    """What the pulls of one consumer from one queue have in common; shared by them, so not to be changed.

    The two offsets in `header` belong to some pull, not to all.
    """

    header: PullMessageRequestHeader
    ext_fields: dict[str, str]
    language: LanguageCode | int
    version: int


class ScannedPull(NamedTuple):
    """A pull with a JSON header that wants an answer, not parsed."""

    route: PullRoute
    queue_offset: int
    commit_offset: int
    opaque: int


_routes: dict[tuple[bytes, ...], PullRoute] = {}
_new_tuple = tuple.__new__


def scan_pull(data: bytes, header_start: int, header_end: int, end: int) -> ScannedPull | None:
    """The pull whose JSON header stands in `data`, or None when only the parser can tell. Raises nothing.

    The frame's prefix, 8 bytes, stands in front of `header_start`; there is no body, so that `header_end` is
    `end`.
    """
    found = _match(data, header_start, header_end)
    if found is None or header_end != end:
        return None
    head, commit_offset, middle, queue_offset, rest, opaque, last = found.groups()
    route = _routes.get((head, middle, rest, last))
    if route is None:
        route = _new_route((head, middle, rest, last), data, header_start, end)
        if route is None:
            return None
    opaque_number = int(opaque)
    if opaque_number > _LARGEST_OPAQUE:
        return None
    return _new_tuple(ScannedPull, (route, int(queue_offset), int(commit_offset), opaque_number))


def as_header(scanned: ScannedPull) -> PullMessageRequestHeader:
    """The header that the parser would have made of a scanned pull."""
    header = copy(scanned.route.header)
    header.queue_offset, header.commit_offset = scanned.queue_offset, scanned.commit_offset
    return header


def as_frame(scanned: ScannedPull) -> Frame:
    """The frame that the parser would have made of a scanned pull."""
    route = scanned.route
    ext_fields = {
        **route.ext_fields,
        _COMMIT_OFFSET: str(scanned.commit_offset),
        _QUEUE_OFFSET: str(scanned.queue_offset),
    }
    return Frame(11, scanned.opaque, 0, route.language, route.version, ext_fields=ext_fields)


def as_read_frame(scanned: ScannedPull) -> Frame:
    """That frame once its header has been read: without the text of it."""
    route = scanned.route
    return Frame(11, scanned.opaque, 0, route.language, route.version)


def _new_route(key: tuple[bytes, ...], data: bytes, header_start: int, end: int) -> PullRoute | None:
    text = data[header_start:end]
    if b"\\" in text:
        return None  # now every quote begins or ends a text
    try:
        frame = decode_frame_at(data, header_start - 4, end)
        header = PullMessageRequestHeader.from_ext_fields(frame.ext_fields)
    except PeerError:
        return None
    if frame.ext_fields is None or not isinstance(frame.language, LanguageCode) or text != _written(frame):
        return None
    if len(_routes) >= ROUTES_MAX:
        _routes.clear()
    route = _routes[key] = PullRoute(header, frame.ext_fields, frame.language, frame.version)
    return route


def _written(frame: Frame) -> bytes:
    """The header that has these values and nothing else; so no key stands in it twice."""
    assert isinstance(frame.language, LanguageCode)
    return b'{"code":11,"extFields":%b,"flag":0,"language":"%b","opaque":%d,%b"version":%d}' % (
        orjson.dumps(frame.ext_fields),
        frame.language.name.encode(),
        frame.opaque,
        b'"serializeTypeCurrentRPC":"JSON",',
        frame.version,
    )
