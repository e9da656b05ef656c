r"""The hot way to read a send: one pattern over the header of SEND_MESSAGE_V2 as Java clients write it.

Such a header is the same text from message to message but for four things: when the message was born, its
unique key, sometimes other properties, and the opaque. The pattern cuts these out; what stays the same is
looked up as bytes. So a header costs about a microsecond, and its values are objects that a handler can hang
its own conclusions on:

    {"code":310,"extFields":{"a":"PG",..,"f":"0"     the same for each message of a producer to a queue
    ,"g":"1700000000000"                             born_timestamp
    ,"h":"0"                                         the user's flag, which hardly anybody sets
    ,"i":"UNIQ_KEY\u00017F..00\u0002WAIT\u0001true"  unique_key, and around it the PropertyTail
    ,"j":"0",..},"flag":0,"language":"JAVA"          (part of the route)
    ,"opaque":7                                      opaque
    ,"serializeTypeCurrentRPC":"JSON","version":407} (part of the route)

A scanned send is a plain tuple, to be taken apart by whoever handles a run of them:

    for route, born_timestamp, unique_key, tail, opaque, body in run:
        plan = route.derived or self.plan(route)      # topic exists? permission? queue? once per route
        stored = tail.derived or self.stored(tail)    # WAIT out, CLUSTER in, tag hash, keys: once per tail

and a send that is not ordinary goes the general way by `as_header` and `as_frame`. Whoever hangs a conclusion
on a route takes it off again when settings change: sends that wait in line still hold the route.

The pattern alone trusts quotes. What it found is proven when it enters a cache, so only once for each text:
a route by parsing the whole frame and writing its constant part again, a tail by looking at each character.
Whatever does not hold, or does not match, is None here and goes to the parser; tests prove that both ways
read the same.
"""

from __future__ import annotations

import re
from copy import copy
from typing import Any

import attrs
import orjson

from rocketmq_tx.errors import PeerError
from rocketmq_tx.protocol.codes import LanguageCode
from rocketmq_tx.protocol.frame import ONEWAY_FLAG, Frame
from rocketmq_tx.protocol.frame_codec import decode_frame_at
from rocketmq_tx.protocol.headers import SendMessageRequestHeader, SendMessageRequestHeaderV2

#: Longer headers are left to the parser; with the limits below this bounds what the caches can hold.
LONGEST_SCANNED_HEADER = 1024
_ROUTE_LIMIT = 16384
_TAIL_LIMIT = 4096
LARGEST_OPAQUE = 2**31 - 1

_HEADER = re.compile(
    rb'(\{"code":310,"extFields":\{"a":"[^"]*","b":"[^"]*","c":"[^"]*","d":"[^"]*","e":"[^"]*","f":"[^"]*")'
    rb',"g":"([1-9][0-9]{0,17})","h":"0"'
    rb',"i":"((?:[^"]*?\\u0002)??)UNIQ_KEY\\u0001([0-9A-Za-z]+)([^"]*)"'
    rb'(,"j":"[^}]*\},"flag":[02],"language":"JAVA")'
    rb',"opaque":(0|[1-9][0-9]{0,9}),"serializeTypeCurrentRPC":"JSON","version":([1-9][0-9]{0,3})\}'
)
_PLAIN_PROPERTIES = re.compile(rb'(?:[^"\\\x00-\x1f]|\\u000[12])*')
_SEPARATOR = b"\\u0002"
_UNIQUE_KEY_NAME = b"UNIQ_KEY\x01"
_UNIQUE_KEY_PROPERTY = b"\x02" + _UNIQUE_KEY_NAME
_KEYS_PROPERTY = b"\x02KEYS\x01"


@attrs.define(eq=False)
class SendRoute:
    """What the sends of one producer to one queue have in common, with the frame's own constant fields.

    `header` holds all of it; its `born_timestamp` and `properties` belong to some message, not to all.
    `derived`, `manner` and `queue` are free for the handler and start as None: who takes many sends at once
    asks their routes for one of these.
    """

    header: SendMessageRequestHeaderV2
    topic: str
    queue_id: int
    sys_flag: int
    is_oneway: bool
    version: int
    derived: Any = None
    manner: Any = None
    queue: Any = None


@attrs.define(eq=False)
class PropertyTail:
    """The properties of a send around its unique key, as UTF-8 with separators 0x01 and 0x02.

    The property string is `before`, `UNIQ_KEY`, 0x01, the key, `after`; `before` is empty or ends with a
    separator, `after` is empty or begins with one. `derived` is free for the handler and starts as None.
    """

    before: bytes
    after: bytes
    derived: Any = None


#: route, born_timestamp (ms), unique_key (ASCII letters and digits), tail, opaque, body
ScannedSend = tuple[SendRoute, int, bytes, PropertyTail, int, bytes]


class SendScanner:
    """Scans headers with caches of its own; one serves all connections of a broker."""

    def __init__(self, route_limit: int = _ROUTE_LIMIT, tail_limit: int = _TAIL_LIMIT) -> None:
        self._route_limit = route_limit
        self._tail_limit = tail_limit
        self._routes: dict[tuple[bytes, bytes, bytes], SendRoute] = {}
        self._tails: dict[tuple[bytes, bytes], PropertyTail] = {}
        self.shapes: dict[bytes, Any] = {}
        """Belongs to `alike_sends`: one scanner serves all connections."""
        self.known_headers: dict[bytes, Any] = {}
        """Belongs to `known_headers`, by how a header's length is written."""
        self.match = _HEADER.fullmatch
        """Finds the parts of a header in bytes; they still have to be proven, as `scan` does."""

    def scan(self, data: bytes, header_start: int, header_end: int, end: int) -> ScannedSend | None:
        """The send whose JSON header and body stand in `data`, or None when only the parser can tell.

        The frame's prefix, 8 bytes, stands in front of `header_start`; the body goes from `header_end` to
        `end`. Raises nothing.
        """
        found = self.match(data, header_start, header_end)
        if found is None:
            return None
        head, born, before, unique_key, after, rest, opaque, version = found.groups()
        tail = self._tails.get((before, after))
        if tail is None:
            tail = self._new_tail(before, after)
            if tail is None:
                return None
        route = self._routes.get((head, rest, version))
        if route is None:
            route = self._new_route(head, rest, version, data, header_start, end)
            if route is None:
                return None
        opaque_number = int(opaque)
        if opaque_number > LARGEST_OPAQUE:
            return None
        return route, int(born), unique_key, tail, opaque_number, data[header_end:end]

    def known_route(self, head: bytes, rest: bytes, version: bytes) -> SendRoute | None:
        """The route that a scanned header with these parts had; None when it was not proven yet."""
        return self._routes.get((head, rest, version))

    def is_kept(self, tail: PropertyTail) -> bool:
        """Whether others may have the same one: it has no keys but the unique one."""
        return _KEYS_PROPERTY not in b"\x02" + tail.before + tail.after

    def _new_tail(self, before: bytes, after: bytes) -> PropertyTail | None:
        if after and not after.startswith(_SEPARATOR):
            return None
        if not (_PLAIN_PROPERTIES.fullmatch(before) and _PLAIN_PROPERTIES.fullmatch(after)):
            return None
        tail = PropertyTail(_unescaped(before), _unescaped(after))
        properties = b"\x02" + tail.before + tail.after
        if _UNIQUE_KEY_PROPERTY in properties or not _is_utf8(properties):
            return None
        if _KEYS_PROPERTY not in properties:  # with keys of its own, the tail is unlikely to come again
            if len(self._tails) >= self._tail_limit:
                self._tails.clear()
            self._tails[before, after] = tail
        return tail

    def _new_route(
        self, head: bytes, rest: bytes, version: bytes, data: bytes, header_start: int, end: int
    ) -> SendRoute | None:
        try:
            frame = decode_frame_at(data, header_start - 4, end)
            header = SendMessageRequestHeaderV2.from_ext_fields(frame.ext_fields)
        except PeerError:
            return None
        # The head ends and the rest begins where the pattern says only if they are what these values give.
        ext_fields = header.to_ext_fields()
        if ext_fields != frame.ext_fields or _constant_parts(frame, ext_fields) != (head, rest):
            return None
        if len(self._routes) >= self._route_limit:
            self._routes.clear()
        route = SendRoute(
            header,
            header.topic,
            header.queue_id,
            header.sys_flag,
            frame.flag & ONEWAY_FLAG != 0,
            frame.version,
        )
        self._routes[head, rest, version] = route
        return route


def properties_of(scanned: ScannedSend) -> str:
    """The property string of a scanned send, as its header has it."""
    _, _, unique_key, tail, _, _ = scanned
    return b"".join((tail.before, _UNIQUE_KEY_NAME, unique_key, tail.after)).decode()


def as_header(scanned: ScannedSend) -> SendMessageRequestHeader:
    """The header that the parser would have made of a scanned send."""
    header = copy(scanned[0].header)
    header.born_timestamp = scanned[1]
    header.properties = properties_of(scanned)
    return header


def as_frame(scanned: ScannedSend) -> Frame:
    """The frame that the parser would have made of a scanned send."""
    route, _, _, _, opaque, body = scanned
    return Frame(
        310,
        opaque,
        ONEWAY_FLAG if route.is_oneway else 0,
        LanguageCode.JAVA,
        route.version,
        ext_fields=as_header(scanned).to_ext_fields(),
        body=body,
    )


def _unescaped(text: bytes) -> bytes:
    return text.replace(b"\\u0001", b"\x01").replace(_SEPARATOR, b"\x02")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _constant_parts(frame: Frame, ext_fields: dict[str, str]) -> tuple[bytes, bytes]:
    """Head and rest as Java writes them for these values."""

    def fields(letters: str) -> bytes:
        return b",".join(b'"%c":%b' % (ord(key), orjson.dumps(ext_fields[key])) for key in letters)

    last = "jkmn" if "n" in ext_fields else "jkm"
    head = b'{"code":310,"extFields":{' + fields("abcdef")
    rest = b',%b},"flag":%d,"language":"JAVA"' % (fields(last), frame.flag)
    return head, rest
