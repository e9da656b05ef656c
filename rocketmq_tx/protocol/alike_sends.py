"""Sends of one read that are alike, read as columns: what is the same is compared at once for all of them.

Whoever sends many messages without waiting writes frames of one length which differ in a few places only:
the queue, when the message was born, its unique key, the opaque and the body. So the first frame is matched
as any other (`send_scan`), and where its values stood the following frames are cut, all by one call:

    {"code":310,..,"e":"3","f":"0","g":"   heads: a route each, most of them one of a few
    1700000000000                          born_timestamps
    ","h":"0","i":"UNIQ_KEY\\u0001         the same in all
    7F0000010000ABCD..                     unique_keys
    \\u0002WAIT..,"opaque":                the same in all: tail, flags
    1047                                   opaques
    ,"serializeTypeCurrentRPC"..}          the same in all
    ...                                    bodies

A frame belongs to them as long as its columns prove that the pattern of `send_scan` would have found the very
same parts in it; the first one that does not ends them. Tests hold both ways against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from struct import Struct

from rocketmq_tx.protocol.send_scan import LARGEST_OPAQUE, PropertyTail, ScannedSend, SendRoute, SendScanner

#: Fewer cost more as columns than one by one.
ALIKE_LEAST = 6
_BEFORE_BORN = b',"g":"'
_PREFIX_BYTES = 8


class AlikeSends(list[ScannedSend]):
    """A run of scanned sends with one property tail, and keys, opaques and bodies of one length each.

    It is the list that the scanner would have made of them, and has its parts as columns as well. It is never
    changed; a part of it is a plain list.
    """

    __slots__ = ("bodies", "born_timestamps", "opaques", "routes", "tail", "unique_keys")

    def __init__(
        self,
        routes: Sequence[SendRoute],
        born_timestamps: Sequence[int],
        unique_keys: Sequence[bytes],
        tail: PropertyTail,
        opaques: Sequence[bytes],
        bodies: Sequence[bytes],
    ) -> None:
        """`opaques` are their digits."""
        super().__init__(
            zip(routes, born_timestamps, unique_keys, repeat(tail), map(int, opaques), bodies, strict=False)
        )
        self.routes = routes
        self.born_timestamps = born_timestamps
        self.unique_keys = unique_keys
        self.tail = tail
        self.opaques = opaques
        self.bodies = bodies


def scan_alike(
    scanner: SendScanner, data: bytes, start: int, header_start: int, header_end: int, end: int
) -> AlikeSends | None:
    """The sends that begin with the frame from `start` to `end`; None when too few of them are alike."""
    found = scanner.match(data, header_start, header_end)
    if found is None:
        return None
    size = end - start
    (born_start, born_end), (key_start, key_end), (opaque_start, opaque_end) = map(found.span, (2, 4, 7))
    if not data.startswith(data[key_end:opaque_start], key_end + size):
        return None  # not even the next one is
    first = scanner.scan(data, header_start, header_end, end)
    if first is None:
        return None
    layout = _layout(
        born_start - start, born_end - born_start, key_start - born_end, key_end - key_start,
        opaque_start - key_end, opaque_end - opaque_start, header_end - opaque_end, end - header_end,
    )  # fmt: skip
    frames = memoryview(data)[start : len(data) - (len(data) - start) % size]
    heads, borns, middles, keys, rests, opaques, ends, bodies = zip(*layout.iter_unpack(frames), strict=False)
    routes: Sequence[SendRoute | None] = (first[0],) * len(heads)
    if heads.count(heads[0]) < len(heads):
        rest, version = found.group(6, 8)
        known = {head: _route(scanner, head, heads[0], rest, version) for head in set(heads)}
        routes = tuple(map(known.get, heads))
    alike = min(_same(middles), _same(rests), _same(ends))
    if None in routes:
        alike = min(alike, routes.index(None))
    if alike < ALIKE_LEAST:
        return None
    if alike < len(heads):
        routes, borns, keys = routes[:alike], borns[:alike], keys[:alike]
        opaques, bodies = opaques[:alike], bodies[:alike]
    if not (
        _are_numbers(borns)
        and _are_numbers(opaques)
        and int(max(opaques)) <= LARGEST_OPAQUE
        and b"".join(keys).isalnum()
    ):
        return None
    at_once = borns.count(borns[0]) == alike
    born_timestamps = (int(borns[0]),) * alike if at_once else tuple(map(int, borns))
    return AlikeSends(routes, born_timestamps, keys, first[3], opaques, bodies)  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _layout(
    head: int, born: int, middle: int, key: int, rest: int, opaque: int, end: int, body: int
) -> Struct:
    return Struct(f"{head}s{born}s{middle}s{key}s{rest}s{opaque}s{end}s{body}s")


def _route(scanner: SendScanner, head: bytes, first: bytes, rest: bytes, version: bytes) -> SendRoute | None:
    """The route of a frame that begins like this, if it begins as frames of that length do and is known."""
    if head[:_PREFIX_BYTES] != first[:_PREFIX_BYTES] or not head.endswith(_BEFORE_BORN):
        return None
    return scanner.known_route(head[_PREFIX_BYTES : -len(_BEFORE_BORN)], rest, version)


def _same(column: Sequence[bytes]) -> int:
    """How many at its beginning are the same."""
    first = column[0]
    if column.count(first) == len(column):
        return len(column)
    return next(number for number, each in enumerate(column) if each != first)


def _are_numbers(column: Sequence[bytes]) -> bool:
    """Whether all are numbers as Java writes them, given that they have one length."""
    return b"".join(column).isdigit() and (len(column[0]) == 1 or min(column) >= b"1")
