"""The writing side of one connection: answers leave together, and who does not read gets no more of them.

What is unsent is counted for each connection and for all together (`Limits`). A peer that leaves too much
unread is not read from either: requests that are read already wait in `_backlog`. Should it take nothing for
long, or too much be unsent, the connection is closed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol

from rocketmq_tx.remoting.addresses import plain_host
from rocketmq_tx.remoting.outgoing import Outgoing
from rocketmq_tx.remoting.peer import Peer

if TYPE_CHECKING:
    from rocketmq_tx.remoting.connections import Connections

# Why reading from the connection is paused.
_UNSENT = 1
IN_LINE = 2
_STOPPING = 4


class WritingSide(Protocol):
    """What `FrameProtocol` writes with; that sets `peer` and `_outgoing` when the connection is made."""

    peer: Peer
    _outgoing: Outgoing

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.is_open = False
        self.half_frame_bytes = 0
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._backlog: deque[tuple[int, list[Any]]] | None = None
        self._paused = 0
        self._heard_s = -1.0  # never
        self._spoke_s = 0.0
        self._marked = False
        self._gone = False
        self._moved_s = 0.0
        self._moved_bytes = 0
        self._unsent_bytes = 0
        self._closing: str | None = None

    def _serve_all(self, runs: list[tuple[int, list[Any]]], size_bytes: int) -> None:
        """Serves runs of requests, or puts them aside in `_backlog` when there is one."""
        raise NotImplementedError

    def write_soon(self, data: bytes) -> None:
        """Writes at the end of the present turn, together with what else comes due in it."""
        if self.is_open:
            self._out.append(data)
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._marked:
            self._marked = True
            self.connections.turn_end.mark(self)

    def flush(self) -> None:
        """Writes what has come together."""
        if self._marked:
            self._marked = False
            self._spoke_s = self.connections.now_s()  # else it answers what was heard just now
        out = self._out
        if not out or not self.is_open:
            out.clear()
            return
        data = b"".join(out)  # of a single one it is that one itself
        out.clear()
        self._out_bytes = 0
        held = self._outgoing.send(data)
        if held:
            self._hold_back(held)

    def _hold_back(self, held: int) -> None:
        """So much is unsent: when that is much, for one connection or for all, no more of it is made."""
        limits = self.connections.limits
        if self._outgoing.is_full:  # else nobody says when it has been sent
            self._count_unsent(held)
        if held > limits.unsent_max_bytes:
            self.abort(f"the peer does not read: {held} bytes of answers are unsent")
            return
        if self._unsent_bytes and self.connections.unsent.over:
            self.connections.say_much_unsent()
        elif held <= limits.unsent_high_bytes:
            return
        if not self._paused & _UNSENT:
            self._pause(_UNSENT)
            if self._backlog is None:
                self._backlog = deque()

    def _count_unsent(self, held: int) -> None:
        unsent, before = self.connections.unsent, self._unsent_bytes
        if held > before:
            unsent.add(held - before)
        elif held < before:
            unsent.remove(before - held)
        self._unsent_bytes = held

    def _drained(self) -> None:
        """All is sent: requests that were put aside are served, and reading goes on."""
        self._count_unsent(0)
        backlog, self._backlog = self._backlog, None
        self._paused &= ~_UNSENT  # reading itself goes on only below
        self._spoke_s = self.connections.now_s()
        while backlog and self.is_open:
            self._serve_all([backlog.popleft()], 0)
            self.flush()
            if self._backlog is not None:  # full again
                self._backlog.extend(backlog)
                return
        if not self._paused and self.is_open:
            self.transport.resumeProducing()  # type: ignore[union-attr]

    # -- reading, paused and resumed -----------------------------------------------------------------------

    def _pause(self, reason: int) -> None:
        if not self._paused:
            self.transport.pauseProducing()  # type: ignore[union-attr]
        self._paused |= reason

    def _resume(self, reason: int) -> None:
        if self._paused & reason:
            self._paused &= ~reason
            if not self._paused and self.is_open:
                self.transport.resumeProducing()  # type: ignore[union-attr]

    def stop_reading(self) -> None:
        """Takes no further requests; those that were read are still answered."""
        self._pause(_STOPPING)

    # -- closing -------------------------------------------------------------------------------------------

    @property
    def local_address(self) -> tuple[str, int]:
        host = self.transport.getHost()  # type: ignore[union-attr]
        return plain_host(str(getattr(host, "host", ""))), getattr(host, "port", 0)

    def close(self, reason: str) -> None:
        """Closes when what was written has gone out."""
        self.flush()
        if self.is_open:
            self.is_open = False
            self._closing = reason
            self._outgoing.close()

    def abort(self, reason: str) -> None:
        """Closes at once, with a log line: the peer broke a rule, or cannot be served any more."""
        if not self._gone:
            self.is_open = False
            self._closing = self._closing or reason
            self._out.clear()
            self._forget_half_frame()
            self.connections.say_closed(self.peer, reason)
            self._outgoing.abort()

    def _forget_half_frame(self) -> None:
        self.connections.load.remove(self.half_frame_bytes)
        self.half_frame_bytes = 0

    def sweep(self, now_s: float) -> None:
        """Now and then: closes when idle, or when the peer takes nothing of what waits for it."""
        limits = self.connections.limits
        held = self._outgoing.held_bytes
        if held:
            passed_on = self._outgoing.passed_on_bytes
            if passed_on != self._moved_bytes or not self._moved_s:
                self._moved_bytes, self._moved_s = passed_on, now_s
            elif now_s - self._moved_s >= limits.stuck_s:
                self.abort(f"the peer has read nothing for {limits.stuck_s:g} s: {held} bytes are unsent")
            return
        self._moved_s = 0.0
        if limits.idle_s > 0 and now_s - max(self._heard_s, self._spoke_s) >= limits.idle_s:
            self.close(f"idle for {limits.idle_s:g} s")
