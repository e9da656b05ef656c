"""Bytes out of a connection: straight into the socket while nothing is queued, and never without bound.

Twisted's `transport.write` waits for the socket to be reported writable, which costs a turn of the reactor
and two `epoll_ctl`: 12 us of a lonely round trip (`hot-path.md`, rule 5). So while the transport holds no
bytes the socket is asked directly, and only what it did not take goes to the transport. Anything that is not
a plain TCP connection (TLS, test doubles) always goes through `transport.write`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Outgoing:
    """The sending side of one transport.

    `held_bytes` is what the transport has not passed on yet; `drained` is called when a transport that held
    much (Twisted says: more than 64 KiB) has passed on all of it.
    """

    __slots__ = ("_counted", "_drained", "_tcp", "_transport", "written_bytes")

    def __init__(self, transport: Any, drained: Callable[[], object]) -> None:
        self._transport = transport
        self._tcp: tcp.Connection | None = transport if isinstance(transport, tcp.Connection) else None
        self._drained = drained
        self._counted: int | None = None
        self.written_bytes = 0
        transport.registerProducer(self, True)

    @property
    def held_bytes(self) -> int:
        """Exact for TCP; for others, what was written since they asked to pause."""
        connection = self._tcp
        if connection is None:
            return self._counted or 0
        return len(connection.dataBuffer) - connection.offset + connection._tempDataLen

    @property
    def is_full(self) -> bool:
        """Whether the transport has asked to wait until `drained`."""
        return self._counted is not None

    @property
    def passed_on_bytes(self) -> int:
        """How much the transport has got rid of so far: stands still when the peer does not read."""
        return self.written_bytes - self.held_bytes

    def send(self, data: bytes) -> int:
        """Sends, or queues what the socket does not take; returns the bytes that are held now."""
        self.written_bytes += len(data)
        connection = self._tcp
        if connection is None or connection.TLS:
            self._transport.write(data)
            if self._counted is not None:
                self._counted += len(data)
            return self._counted or 0
        if not (connection._tempDataLen or connection.dataBuffer) and connection.connected:
            try:
                sent = connection.socket.send(data)
            except OSError:  # full, or broken: the transport finds out which, and tells the protocol
                sent = 0
            if sent == len(data):
                return 0
            data = data[sent:]
        connection.write(data)
        return self.held_bytes

    def close(self) -> None:
        """Passes on what is held, then closes. A peer that does not read can make this wait for ever."""
        # a transport with a paused producer would ask it for more instead of closing
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def abort(self) -> None:
        """Closes at once; what is held is lost."""
        self._transport.unregisterProducer()
        self._transport.abortConnection()

    def forget(self) -> None:
        """The connection is gone: what was never sent must not wait for the garbage collector."""
        connection = self._tcp
        if connection is not None:
            connection.dataBuffer, connection.offset = b"", 0
            connection._tempDataBuffer, connection._tempDataLen = [], 0
        self._counted = None
        self._drained = _nothing

    # -- IPushProducer: how a transport says that it holds much, and that it holds nothing any more ---------

    def pauseProducing(self) -> None:
        if self._counted is None:
            self._counted = 0

    def resumeProducing(self) -> None:
        self._counted = None
        self._drained()

    def stopProducing(self) -> None:
        """The connection is gone; the protocol hears of it by itself."""


def _nothing() -> None:
    """Nobody is to be told any more."""
