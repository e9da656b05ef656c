"""A master's connection to one slave: sends the log from its files, as fast as the slave takes it.

Nothing is queued for a slave: what it cannot take now is read from the log when it can. So a slave that is
slow or stuck costs one full socket buffer, and neither senders nor other slaves wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import FrameError, StoreError, WouldBlock
from rocketmq_tx.protocol.ha_frames import Greeting, encode_watermark
from rocketmq_tx.remoting.addresses import format_address
from rocketmq_tx.remoting.outgoing import Outgoing
from rocketmq_tx.replication.master_end import LogExtent, MasterEnd
from rocketmq_tx.replication.slaves import Admission, Slaves
from rocketmq_tx.runtime.threads import OffReactor

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

PIECE_MAX_BYTES = 1 << 20
"""Whatever haTransferBatchSize says: an Apache slave cannot read more than 4 MiB at a time."""
TURN_MAX_BYTES = 256 << 10
"""Of the log, to one slave, before others have their turn: one that is far behind takes all there is."""
COLD_READS_MAX = 3
"""A piece that was evicted again so often is read in the reactor's turn."""


class Log(LogExtent, Protocol):
    """What is needed of `store.message_store.MessageStore`."""

    def log_bytes(self, offset: int, max_length: int, may_block: bool = True) -> bytes: ...

    def warm(self, error: WouldBlock) -> None: ...


class SlaveConnection(TwistedProtocol):
    """Twisted's protocol for an accepted slave."""

    log = Logger()

    def __init__(
        self,
        store: Log,
        config: MessageStoreConfig,
        slaves: Slaves,
        off_reactor: OffReactor,
        reactor: IReactorTime,
        admission: Admission | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._slaves = slaves
        self._off_reactor = off_reactor
        self._reactor = reactor
        self._admission = admission
        self._told = -1
        self._end = MasterEnd(
            store,
            lambda: config.ha_sync_from_last_file,
            None if admission is None else admission.admit,
            self._can_have,
        )
        self._is_open = False
        self._goes_on = False
        self._reading = False
        self._cold_reads = 0
        self._heard_s = self._written_s = 0.0
        self._reason = "it closed the connection"
        self.host = ""
        self.name = "a slave"

    @property
    def acknowledged(self) -> int | None:
        """Up to where this slave has the log; None before its first report."""
        return self._end.acknowledged

    @property
    def greeting(self) -> Greeting | None:
        """Who it says it is; None for a slave without `autoFailover`."""
        return self._end.greeting

    @property
    def sent_to(self) -> int | None:
        """Up to where this slave was sent the log, or had it before; None before its first report."""
        return self._end.sent_to

    def _can_have(self) -> int | None:
        return None if self._slaves.compares_logs(self.host) else self._slaves.can_have()

    # -- the connection --------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        transport: Any = self.transport
        peer = transport.getPeer()
        self.host = peer.host
        self.name = format_address(peer.host, peer.port)
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self._heard_s = self._written_s = self._reactor.seconds()
        self._is_open = True
        self._outgoing = Outgoing(transport, self.send)
        self._slaves.added(self)
        self.log.info("slave connected: slave={slave}", slave=self.name)

    def dataReceived(self, data: bytes) -> None:
        self._heard_s = self._reactor.seconds()
        before = self._end.acknowledged
        try:
            self._end.received(data)
        except FrameError as error:
            self.close(str(error))
            return
        reached = self._end.acknowledged
        if before is None and reached is not None:
            self.log.info("slave follows: slave={slave} from={offset}", slave=self.name, offset=reached)
        if reached is not None and reached != before:
            self._slaves.has_acknowledged(reached)
        self.send()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_open = False
        self._outgoing.forget()
        self._slaves.removed(self)
        self.log.info(
            "slave gone: slave={slave} acknowledged={reached} reason={reason}",
            slave=self.name, reached=self._end.acknowledged, reason=self._reason,
        )  # fmt: skip

    def close(self, reason: str) -> None:
        """Ends the connection; what was not sent by now is not."""
        if not self._is_open:
            return
        self._reason = reason
        self._is_open = False
        self._outgoing.abort()

    # -- sending ---------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Sends what there is, until the transport has enough; called whenever that may have changed."""
        sent_bytes = 0
        while self._is_open and not (self._outgoing.is_full or self._reading or self._goes_on):
            if sent_bytes >= TURN_MAX_BYTES:
                self._goes_on = True
                self._reactor.callLater(0, self._go_on)
                return
            stretch = self._end.next_stretch(min(self._config.ha_transfer_batch_size, PIECE_MAX_BYTES))
            if stretch is None:
                return
            try:
                body = self._store.log_bytes(*stretch, self._cold_reads >= COLD_READS_MAX)
            except WouldBlock as cold:
                self._warm(cold)
                return
            except StoreError as error:
                self.close(f"the log cannot be read: {error}")
                return
            self._cold_reads = 0
            sent_bytes += len(body)
            self._write(self._watermark_piece() + self._end.piece_head(len(body)) + body)

    def _go_on(self) -> None:
        self._goes_on = False
        self.send()

    def _watermark_piece(self) -> bytes:
        """For a member that has not been told of the newest one."""
        admission = self._admission
        if admission is None or self._end.greeting is None or admission.visible_to <= self._told:
            return b""
        self._told = admission.visible_to
        return encode_watermark(self._told)

    def _write(self, data: bytes) -> None:
        self._written_s = self._reactor.seconds()
        self._outgoing.send(data)

    def _warm(self, cold: WouldBlock) -> None:
        """A thread waits for the disk; everybody else goes on."""
        self._reading = True
        self._cold_reads += 1
        warming: Deferred[Any] = self._off_reactor(self._store.warm, cold)
        warming.addBoth(self._warmed)

    def _warmed(self, _: object) -> None:
        """What went wrong while reading, the next read will tell."""
        self._reading = False
        self.send()

    def look_after(self) -> None:
        """A heartbeat when nothing was sent for long, the end when nothing was heard for longer."""
        now_s = self._reactor.seconds()
        silent_ms = (now_s - self._heard_s) * 1000
        if silent_ms > self._config.ha_housekeeping_interval:
            self.close(f"nothing was heard of it for {silent_ms:.0f} ms")
            return
        quiet_ms = (now_s - self._written_s) * 1000
        has_begun, may_write = self._end.sent_to is not None, self._is_open and not self._outgoing.is_full
        if has_begun and may_write and (watermark := self._watermark_piece()):
            self._write(watermark)
            return
        if has_begun and may_write and quiet_ms >= self._config.ha_send_heartbeat_interval:
            self._write(self._end.piece_head(0))
