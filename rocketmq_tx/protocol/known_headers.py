"""Headers of sends like one that was read before, read without a pattern: what is the same is compared.

A producer's headers differ in when the message was born, its unique key, the opaque and the queue. Where the
first of these stood in a header that the pattern of `send_scan` has read, they are cut out of the next one,
all by one call, if both are equally long:

    {"code":310,..,"e":"3","f":"0","g":"   head: tells the route
    1700000000000                          born_timestamp
    ","h":"0","i":"UNIQ_KEY\\u0001         the same
    7F0000010000ABCD..                     unique_key
    \\u0002WAIT..,"opaque":                the same: tail, flags
    1047                                   opaque
    ,"serializeTypeCurrentRPC"..}          the same

That is for a frame that is all of a read, as from a sender who awaits each answer; many at once are read by
`alike_sends` in the same manner. Tests hold all ways against each other.
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise

from rocketmq_tx.protocol.send_scan import LARGEST_OPAQUE, ScannedSend, SendRoute, SendScanner

_HEADER_AT = 8
_LENGTH_BYTES = 4
_ROUTES_MAX = 16_384
"""Of all known headers together: each is a route of some producer to a queue, and takes about 350 bytes."""
_MISSES_MAX = 16
"""After so many headers of its length that were others, one is forgotten for the next that comes."""


class KnownHeader:
    """How a header is built, and the routes of those that are built like it."""

    __slots__ = ("_body_at", "_places", "_routes", "_same", "_tail", "_unpack", "misses")

    def __init__(self, data: bytes, found: re.Match[bytes], first: ScannedSend) -> None:
        self._places = _places(found)
        self._body_at = found.end()
        sizes = [end - begin for begin, end in pairwise((_HEADER_AT, *self._places, self._body_at))]
        fields = "".join([f"{size}s" for size in sizes])
        self._unpack = struct.Struct(f">I{_LENGTH_BYTES}x{fields}").unpack_from
        _, head, _, middle, _, rest, _, end = self._unpack(data)
        self._same = (middle, rest, end)
        self._tail = first[3]
        self._routes: dict[bytes, SendRoute] = {head: first[0]}
        self.misses = 0

    def scan(self, data: bytes) -> ScannedSend | None:
        """The send that is all of `data`, whose header has this one's length; None when it is another one."""
        try:
            length, head, born, middle, unique_key, rest, opaque, end = self._unpack(data)
        except struct.error:  # not even the header is there
            return None
        route = self._routes.get(head)
        if (
            route is None
            or length + _LENGTH_BYTES != len(data)
            or (middle, rest, end) != self._same
            or not (unique_key.isalnum() and (born + opaque).isdigit())
            or born < b"1"
            or (opaque < b"1" and opaque != b"0")
            or (number := int(opaque)) > LARGEST_OPAQUE
        ):
            return None
        return route, int(born), unique_key, self._tail, number, data[self._body_at :]

    def learn(self, data: bytes, found: re.Match[bytes], send: ScannedSend) -> None:
        """A header of its length that `scan` did not know, and the pattern has read."""
        self.misses += 1
        _, head, _, middle, _, rest, _, end = self._unpack(data)
        if _places(found) == self._places and (middle, rest, end) == self._same and send[3] is self._tail:
            self._routes[head] = send[0]
            self.misses = 0

    def __len__(self) -> int:
        """So many routes are known."""
        return len(self._routes)


def scan_alone(scanner: SendScanner, data: bytes, header_end: int) -> ScannedSend | None:
    """The send that is all of `data`, as `SendScanner.scan` reads it; the next one like it is known then."""
    send = scanner.scan(data, _HEADER_AT, header_end, len(data))
    if send is not None and scanner.is_kept(send[3]):
        found = scanner.match(data, _HEADER_AT, header_end)
        assert found is not None
        size = data[_LENGTH_BYTES:_HEADER_AT]
        if sum(map(len, scanner.known_headers.values())) >= _ROUTES_MAX:
            scanner.known_headers.clear()
        known: KnownHeader | None = scanner.known_headers.get(size)
        if known is not None and known.misses < _MISSES_MAX:
            known.learn(data, found, send)
        else:
            scanner.known_headers[size] = KnownHeader(data, found, send)
    return send


def _places(found: re.Match[bytes]) -> tuple[int, ...]:
    """Where born time, unique key and opaque begin and end."""
    return (*found.span(2), *found.span(4), *found.span(7))
