"""A slave's connection to its master: appends what comes, says how far it has come.

With flushDiskType=SYNC_FLUSH only what is on disk is reported, so that a double write means two disks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import FlushDiskType
from rocketmq_tx.errors import FrameError, StoreError
from rocketmq_tx.remoting.outgoing import Outgoing
from rocketmq_tx.replication.log_comparison import SlaveLog
from rocketmq_tx.replication.slave_end import Chunk, SlaveEnd

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

FLUSH_TIMEOUT_S = 600.0
"""A disk that takes longer is reported by its own watch; the master has given up waiting long before."""

Append = Callable[[Chunk, Callable[[], object]], object]
"""Appends to the log, and tells whoever waits for messages; StoreError.

What it is given is called as soon as the log has the bytes, if that is before all else is done.
"""
_ASYNC_FLUSH = FlushDiskType.ASYNC_FLUSH  # looking it up in its enum costs as much as three calls


def _not_yet() -> None:
    """What was written is not on disk."""


class Flushes(Protocol):
    """What is needed of `runtime.group_commit.GroupCommit`."""

    def durable(self, offset: int, timeout_s: float) -> Deferred[None]: ...


class MasterConnection(TwistedProtocol):
    """Twisted's protocol for the connection that a slave makes. `ended` fires with the reason of its end.

    `begin` is the first report: the end of the log, or where an empty one wants to begin. A `greeting` goes
    before it, to a master that understands it; `told` hears then up to where the log is acknowledged.
    """

    def __init__(
        self,
        store: SlaveLog,
        config: MessageStoreConfig,
        flushes: Flushes,
        append: Append,
        begin: int,
        reactor: IReactorTime,
        greeting: bytes = b"",
        told: Callable[[int], object] = lambda watermark: None,
    ) -> None:
        self._store = store
        self._config = config
        self._flushes = flushes
        self._append = append
        self._reactor = reactor
        self._greeting = greeting
        self._told = told
        self._end = SlaveEnd(store.written_to or begin or None, store.segment_size, greeted=bool(greeting))
        self._acknowledged = begin
        self._heard_s = self._reported_s = 0.0
        self._is_open = False
        self._is_flushing = False
        self._reason = "the master closed the connection"
        self.ended: Deferred[str] = Deferred()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self._outgoing = Outgoing(transport, lambda: None)
        self._is_open = True
        self._heard_s = self._reactor.seconds()
        if self._greeting:
            self._outgoing.send(self._greeting)
        self._report()

    def dataReceived(self, data: bytes) -> None:
        self._heard_s = self._reactor.seconds()
        if not self._is_open:
            return
        try:
            self._end.received(data, self._append_and_acknowledge)
        except (FrameError, StoreError) as error:
            self.close(str(error))
        self._acknowledge()
        watermark = self._end.watermark
        if watermark is not None:
            self._told(watermark)

    def _append_and_acknowledge(self, chunk: Chunk) -> None:
        """The master answers for messages while they are entered into queues, and others are appended.

        One flush serves the whole read.
        """
        if self._config.flush_disk_type is _ASYNC_FLUSH:
            self._append(chunk, self._acknowledge)
            self._acknowledge()
        else:
            self._append(chunk, _not_yet)

    def _acknowledge(self) -> None:
        """For all that was appended since the last time, at once or when it is on disk."""
        written_to = self._store.written_to
        if written_to <= self._acknowledged or not self._is_open:
            return
        if self._config.flush_disk_type is _ASYNC_FLUSH:
            self._acknowledged = written_to
            self._report()
        elif not self._is_flushing:
            self._is_flushing = True
            flushed = self._flushes.durable(written_to, FLUSH_TIMEOUT_S)
            flushed.addCallbacks(self._flushed, self._flush_failed, callbackArgs=(written_to,))

    def _flushed(self, _: None, written_to: int) -> None:
        self._is_flushing = False
        self._acknowledged = written_to
        if self._is_open:
            self._report()
            self._acknowledge()

    def _flush_failed(self, failure: Failure) -> None:
        self._is_flushing = False
        failure.trap(StoreError)
        self.close(failure.getErrorMessage())

    def _report(self) -> None:
        self._reported_s = self._reactor.seconds()
        self._outgoing.send(self._end.report(self._acknowledged))

    def look_after(self) -> None:
        """Reports when the last report is old; gives up a master that has been silent for too long."""
        now_s = self._reactor.seconds()
        silent_ms = (now_s - self._heard_s) * 1000
        if silent_ms > self._config.ha_housekeeping_interval:
            self.close(f"nothing was heard of the master for {silent_ms:.0f} ms")
        elif self._is_open and (now_s - self._reported_s) * 1000 >= self._config.ha_send_heartbeat_interval:
            self._report()

    def close(self, reason: str) -> None:
        """Ends the connection."""
        if self._is_open:
            self._is_open = False
            self._reason = reason
            self._outgoing.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_open = False
        self.ended.callback(self._reason)
