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

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, repeat
from struct import Struct
from typing import overload

from rocketmq_tx.protocol.send_scan import LARGEST_OPAQUE, PropertyTail, ScannedSend, SendRoute, SendScanner

#: Measured: fewer cost more as columns than one by one, when they go to one queue; to four queues, ten.
ALIKE_LEAST = 8
_BEFORE_BORN = b',"g":"'
_PREFIX_BYTES = 8
_SHAPES_MAX = 64
#: Of all shapes together: each is a route of some producer to a queue, and takes about 350 bytes.
_HEADS_MAX = 16_384


class AlikeSends(Sequence[ScannedSend]):
    """A run of scanned sends with one property tail, and keys, opaques and bodies of one length each.

    It has the items of the list that the scanner would have made of them, and makes them when it is asked for
    one: mostly their columns are all that is wanted. A part of it is a plain list.
    """

    __slots__ = ("_items", "bodies", "born_timestamps", "opaques", "routes", "tail", "unique_keys")

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
        self.routes = routes
        self.born_timestamps = born_timestamps
        self.unique_keys = unique_keys
        self.tail = tail
        self.opaques = opaques
        self.bodies = bodies
        self._items: list[ScannedSend] = []

    def __len__(self) -> int:
        return len(self.bodies)

    @overload
    def __getitem__(self, at: int) -> ScannedSend: ...

    @overload
    def __getitem__(self, at: slice) -> list[ScannedSend]: ...

    def __getitem__(self, at: int | slice) -> ScannedSend | list[ScannedSend]:
        return self._all()[at]

    def __iter__(self) -> Iterator[ScannedSend]:
        return iter(self._all())

    def _all(self) -> list[ScannedSend]:
        if not self._items:
            opaques = map(int, self.opaques)
            self._items += zip(
                self.routes, self.born_timestamps, self.unique_keys, repeat(self.tail), opaques, self.bodies,
                strict=False,
            )  # fmt: skip
        return self._items


class _Shape:
    """How the frames of some sends are built that are alike, and the routes among them that are known."""

    __slots__ = ("_constants", "_prefix", "_rest", "_routes", "_version", "layout", "tail")

    def __init__(self, data: bytes, start: int, end: int, found: re.Match[bytes], first: ScannedSend) -> None:
        header_end = found.end()
        (born_start, born_end), (key_start, key_end), (opaque_start, opaque_end) = map(found.span, (2, 4, 7))
        parts = [start, born_start, born_end, key_start, key_end, opaque_start, opaque_end, header_end, end]
        sizes = [following - begin for begin, following in pairwise(parts)]
        self.layout = Struct("".join([f"{size}s" for size in sizes]))
        self.tail = first[3]
        self._prefix = data[start : start + _PREFIX_BYTES]
        places = ((born_end, key_start), (key_end, opaque_start), (opaque_end, header_end))
        self._constants = [(begin - start, data[begin:following]) for begin, following in places]
        self._rest, self._version = found.group(6, 8)
        self._routes: dict[bytes, SendRoute] = {data[start:born_start]: first[0]}

    def fits(self, data: bytes, start: int) -> bool:
        """Whether what is the same in all is the same in the frame that begins at `start`."""
        return all(data.startswith(constant, start + at) for at, constant in self._constants)

    def routes(self, scanner: SendScanner, heads: Sequence[bytes]) -> tuple[SendRoute | None, ...]:
        """The route of each frame by how it begins; None where that is not known."""
        routes = tuple(map(self._routes.get, heads))
        if None in routes:
            if sum([len(shape._routes) for shape in scanner.shapes.values()]) >= _HEADS_MAX:
                for shape in scanner.shapes.values():
                    shape._routes.clear()
            self._routes.update(self._more_routes(scanner, set(heads).difference(self._routes)))
            routes = tuple(map(self._routes.get, heads))
        return routes

    def _more_routes(self, scanner: SendScanner, heads: Iterable[bytes]) -> Iterator[tuple[bytes, SendRoute]]:
        """Those that the scanner has proven, of frames that begin as frames of these lengths do."""
        for head in heads:
            if head.startswith(self._prefix) and head.endswith(_BEFORE_BORN):
                constant = head[_PREFIX_BYTES : -len(_BEFORE_BORN)]
                route = scanner.known_route(constant, self._rest, self._version)
                if route is not None:
                    yield head, route


def scan_alike(scanner: SendScanner, data: bytes, start: int, header_end: int, end: int) -> AlikeSends | None:
    """The sends that begin with the frame from `start` to `end`; None when too few of them are alike.

    The scanner remembers how they were built, since those of the next read mostly are the same.
    """
    size = end - start
    prefix = data[start : start + _PREFIX_BYTES]
    shape = scanner.shapes.get(prefix)
    if shape is None or not shape.fits(data, start):
        shape = _new_shape(scanner, data, start, header_end, end)
        if shape is None:
            return None
        if len(scanner.shapes) >= _SHAPES_MAX:
            scanner.shapes.clear()
        scanner.shapes[prefix] = shape
    if not shape.fits(data, end):
        return None  # not even the next one is
    frames = memoryview(data)[start : len(data) - (len(data) - start) % size]
    heads, borns, middles, keys, rests, opaques, ends, bodies = zip(
        *shape.layout.iter_unpack(frames), strict=False
    )
    routes = shape.routes(scanner, heads)
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
    return AlikeSends(routes, born_timestamps, keys, shape.tail, opaques, bodies)  # type: ignore[arg-type]


def _new_shape(scanner: SendScanner, data: bytes, start: int, header_end: int, end: int) -> _Shape | None:
    found = scanner.match(data, start + _PREFIX_BYTES, header_end)
    if found is None:
        return None
    first = scanner.scan(data, start + _PREFIX_BYTES, header_end, end)
    return None if first is None else _Shape(data, start, end, found, first)


def _same(column: Sequence[bytes]) -> int:
    """How many at its beginning are the same."""
    first = column[0]
    if column.count(first) == len(column):
        return len(column)
    return next(number for number, each in enumerate(column) if each != first)


def _are_numbers(column: Sequence[bytes]) -> bool:
    """Whether all are numbers as Java writes them, given that they have one length."""
    return b"".join(column).isdigit() and (len(column[0]) == 1 or min(column) >= b"1")
