"""The other end of a connection, as handlers see it: who it is, and how to ask it something.

Both ends may send requests. Each direction has its own opaque numbers, so an answer is matched by the number
that *we* gave; answers that nobody waits for (late, repeated, invented) are counted and otherwise ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import Deferred, fail

from rocketmq_tx.errors import ConnectionLost, RequestTimeout
from rocketmq_tx.protocol.commands import command_name
from rocketmq_tx.protocol.frame import ONEWAY_FLAG, Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.message_ids import pack_host
from rocketmq_tx.remoting.addresses import format_address

if TYPE_CHECKING:
    from rocketmq_tx.remoting.protocol import FrameProtocol
    from rocketmq_tx.runtime.deadlines import Deadline

_OPAQUE_MAX = 0x7FFFFFFF


class _Call(NamedTuple):
    deferred: Deferred[Frame]
    deadline: Deadline
    code: int
    sent_s: float


class Peer:
    """One connection's other end; equal only to itself, so tables may be keyed by it.

    `address` is its (host, port), IPv4 peers of an IPv6 socket as IPv4; `name` is that as `host:port`.
    """

    __slots__ = ("__weakref__", "_calls", "_opaque", "_packed_host", "_protocol", "address")

    def __init__(self, protocol: FrameProtocol, address: tuple[str, int]) -> None:
        self.address = address
        self._protocol = protocol
        self._calls: dict[int, _Call] | None = None
        self._opaque = 0
        self._packed_host: bytes | None = None

    def __repr__(self) -> str:
        return f"<Peer {self.name} {'open' if self.is_open else 'closed'}>"

    @property
    def name(self) -> str:
        return format_address(*self.address)

    @property
    def packed_host(self) -> bytes:
        """The address as records store it: 8 bytes for IPv4, 20 for IPv6."""
        if self._packed_host is None:
            self._packed_host = pack_host(*self.address)
        return self._packed_host

    @property
    def local_address(self) -> tuple[str, int]:
        """Our own end of the connection: for a client's, the address under which the peer can be reached."""
        return self._protocol.local_address

    @property
    def is_open(self) -> bool:
        return self._protocol.is_open

    @property
    def calls_waiting(self) -> int:
        """Requests of ours that the peer has not answered yet."""
        return len(self._calls or ())

    def push(self, frame: Frame) -> None:
        """Sends a request for which no answer is wanted; to a closed connection, nothing."""
        frame.flag |= ONEWAY_FLAG
        frame.opaque = self._next_opaque()
        self._protocol.write_soon(encode_frame(frame))

    def call(self, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        """Sends a request; fires with the answer, whatever its code.

        Fails with RequestTimeout after `timeout_s` seconds, with ConnectionLost when the connection goes.
        Cancelling forgets the call. The frame gets its opaque here, and may be used again afterwards.
        """
        if not self.is_open:
            return fail(ConnectionLost(f"{command_name(frame.code)} to {self.name}: connection closed"))
        opaque = self._next_opaque()
        frame.opaque = opaque
        calls = self._calls
        if calls is None:
            calls = self._calls = {}

        def forget(_: object) -> None:
            self._forget(opaque)

        deferred: Deferred[Frame] = Deferred(forget)
        connections = self._protocol.connections
        deadline = connections.deadlines.after(timeout_s, lambda: self._time_is_up(opaque, timeout_s))
        calls[opaque] = _Call(deferred, deadline, frame.code, connections.now_s())
        self._protocol.write_soon(encode_frame(frame))
        return deferred

    def close(self, reason: str) -> None:
        """Closes the connection after what was written has gone out; the log line gives the reason."""
        self._protocol.close(reason)

    # -- for the protocol ----------------------------------------------------------------------------------

    def answered(self, answers: list[Frame]) -> int:
        """Answers came in; returns how many of them nobody waited for."""
        stray = 0
        for frame in answers:
            call = self._forget(frame.opaque)
            if call is None:
                stray += 1
            else:
                call.deferred.callback(frame)
        return stray

    def lost(self, reason: str) -> None:
        """The connection is gone: nothing that was asked will be answered."""
        calls, self._calls = self._calls, None
        for call in (calls or {}).values():
            call.deadline.cancel()
            what = f"{command_name(call.code)} to {self.name}"
            call.deferred.errback(ConnectionLost(f"{what}: connection lost before the answer: {reason}"))

    def _next_opaque(self) -> int:
        while True:
            opaque = self._opaque
            self._opaque = opaque + 1 if opaque < _OPAQUE_MAX else 0
            if not self._calls or opaque not in self._calls:
                return opaque

    def _forget(self, opaque: int) -> _Call | None:
        call = self._calls.pop(opaque, None) if self._calls else None
        if call is not None:
            call.deadline.cancel()
        return call

    def _time_is_up(self, opaque: int, timeout_s: float) -> None:
        call = self._forget(opaque)
        if call is not None:
            self._protocol.call_timed_out(call.sent_s)
            sentence = f"{command_name(call.code)} to {self.name}: no answer within {timeout_s:g} s"
            call.deferred.errback(RequestTimeout(sentence))
