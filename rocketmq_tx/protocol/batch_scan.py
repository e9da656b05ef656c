r"""The hot way to read SEND_BATCH_MESSAGE: one pattern over the header as Java clients write it.

From batch to batch of one producer to one queue the header is the same text but for two numbers:

    {"code":320,"extFields":{"a":"PG","b":"Orders","c":"TBW102","d":"4","e":"0","f":"0","g":"1700000000000",
    "h":"0","i":"WAIT\u0001true","j":"0","k":"false","m":"true","n":"broker-a"},"flag":0,"language":"JAVA",
    "opaque":9,"serializeTypeCurrentRPC":"JSON","version":407}

What is left is looked up as bytes, as for pulls (`pull_scan`) and proven in the same way when it enters the
cache: the parser reads the frame, and what it read must give that very text again. Whatever does not match or
does not hold goes to the parser; tests prove that both ways read the same.
"""

from __future__ import annotations

import re
from copy import copy
from typing import NamedTuple

import attrs
import orjson

from rocketmq_tx.errors import PeerError
from rocketmq_tx.protocol.codes import LanguageCode
from rocketmq_tx.protocol.frame import ONEWAY_FLAG, Frame
from rocketmq_tx.protocol.frame_codec import decode_frame_at
from rocketmq_tx.protocol.headers import SendMessageRequestHeaderV2

_HEADER = re.compile(
    rb'(\{"code":320,"extFields":\{"a":"[^"]*","b":"[^"]*","c":"[^"]*","d":"[^"]*","e":"[^"]*","f":"[^"]*","g":")'
    rb"([1-9][0-9]{0,17})"
    rb'("[^}]*\},"flag":[02],"language":"[A-Z]+","opaque":)(0|[1-9][0-9]{0,9})'
    rb'(,"serializeTypeCurrentRPC":"JSON","version":[0-9]{1,4}\})'
)
_match = _HEADER.fullmatch
_LARGEST_OPAQUE = 2**31 - 1
_BORN_TIMESTAMP = "g"
ROUTES_MAX = 16_384
"""So many constant parts are kept, of a kilobyte at most (`send_scan.LONGEST_SCANNED_HEADER`)."""


@attrs.define(eq=False)
class BatchRoute:
    """What the batches of one producer to one queue have in common; shared by them, so not to be changed.

    The time of birth in `header` belongs to some batch, not to all.
    """

    header: SendMessageRequestHeaderV2
    ext_fields: dict[str, str]
    flag: int
    language: LanguageCode | int
    version: int

    @property
    def is_oneway(self) -> bool:
        return self.flag & ONEWAY_FLAG != 0


class ScannedBatch(NamedTuple):
    """A batch send with a JSON header, not parsed; `born_timestamp` in ms."""

    route: BatchRoute
    born_timestamp: int
    opaque: int
    body: bytes


_routes: dict[tuple[bytes, ...], BatchRoute] = {}
_new_tuple = tuple.__new__


def scan_batch(data: bytes, header_start: int, header_end: int, end: int) -> ScannedBatch | None:
    """The batch whose JSON header and body stand in `data`, or None when only the parser can tell.

    The frame's prefix, 8 bytes, stands in front of `header_start`; the body goes from `header_end` to `end`.
    Raises nothing.
    """
    found = _match(data, header_start, header_end)
    if found is None:
        return None
    head, born, middle, opaque, rest = found.groups()
    route = _routes.get((head, middle, rest))
    if route is None:
        route = _new_route((head, middle, rest), data, header_start, header_end, end)
        if route is None:
            return None
    opaque_number = int(opaque)
    if opaque_number > _LARGEST_OPAQUE:
        return None
    return _new_tuple(ScannedBatch, (route, int(born), opaque_number, data[header_end:end]))


def as_header(scanned: ScannedBatch) -> SendMessageRequestHeaderV2:
    """The header that the parser would have made of a scanned batch."""
    header = copy(scanned.route.header)
    header.born_timestamp = scanned.born_timestamp
    return header


def as_frame(scanned: ScannedBatch) -> Frame:
    """The frame that the parser would have made of a scanned batch."""
    route, born_timestamp, opaque, body = scanned
    ext_fields = {**route.ext_fields, _BORN_TIMESTAMP: str(born_timestamp)}
    return Frame(320, opaque, route.flag, route.language, route.version, ext_fields=ext_fields, body=body)


def _new_route(
    key: tuple[bytes, ...], data: bytes, header_start: int, header_end: int, end: int
) -> BatchRoute | None:
    try:
        frame = decode_frame_at(data, header_start - 4, end)
        header = SendMessageRequestHeaderV2.from_ext_fields(frame.ext_fields)
    except PeerError:
        return None
    if (
        frame.ext_fields is None
        or not isinstance(frame.language, LanguageCode)
        or data[header_start:header_end] != _written(frame)
    ):
        return None
    if len(_routes) >= ROUTES_MAX:
        _routes.clear()
    route = BatchRoute(header, frame.ext_fields, frame.flag, frame.language, frame.version)
    _routes[key] = route
    return route


def _written(frame: Frame) -> bytes:
    """The header that has these values and nothing else; so no key stands in it twice."""
    assert isinstance(frame.language, LanguageCode)
    return b'{"code":320,"extFields":%b,"flag":%d,"language":"%b","opaque":%d,%b"version":%d}' % (
        orjson.dumps(frame.ext_fields),
        frame.flag,
        frame.language.name.encode(),
        frame.opaque,
        b'"serializeTypeCurrentRPC":"JSON",',
        frame.version,
    )
