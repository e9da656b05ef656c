"""What the connections of one listener, or of one client, share: handlers, limits, load, and a sweep.

One look at all connections every few seconds replaces a timer per read: it closes those that are idle,
those whose peer does not take its answers, and under overload those that keep a frame half sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.decoder import SCANNED_BATCH, SCANNED_SEND
from rocketmq_tx.protocol.frame_codec import MAX_FRAME_BYTES
from rocketmq_tx.remoting.overload import DEFAULT_LIMIT_BYTES, Load, WaitingLine
from rocketmq_tx.runtime.deadlines import Deadlines
from rocketmq_tx.runtime.rarely import Rarely

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from rocketmq_tx.config.remoting import NettyServerConfig
    from rocketmq_tx.protocol.send_scan import SendScanner
    from rocketmq_tx.remoting.descriptors import DescriptorReserve
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.remoting.protocol import FrameProtocol
    from rocketmq_tx.remoting.registry import Registry
    from rocketmq_tx.remoting.writing_side import WritingSide

#: Requests that wait in line when there is too much to do. A message sent back by a consumer is none of them.
SENDS = frozenset(
    map(
        int,
        (
            SCANNED_BATCH,
            SCANNED_SEND,
            RequestCode.SEND_MESSAGE,
            RequestCode.SEND_MESSAGE_V2,
            RequestCode.SEND_BATCH_MESSAGE,
            RequestCode.SEND_REPLY_MESSAGE,
            RequestCode.SEND_REPLY_MESSAGE_V2,
        ),
    )
)


@attrs.define
class Limits:
    """Bounds of a connection; may be changed while connections are open."""

    max_frame_bytes: int = MAX_FRAME_BYTES
    """A longer frame closes its connection."""
    idle_s: float = 120.0
    """Nothing read and nothing written for so long closes it; 0 never."""
    unsent_high_bytes: int = 1 << 20
    """Above so much unsent, nothing more is read from it until all is sent."""
    unsent_max_bytes: int = 64 << 20
    """With so much unsent it is closed."""
    unsent_all_bytes: int = DEFAULT_LIMIT_BYTES
    """With so much unsent to all together, who reads slowly is not read from either."""
    stuck_s: float = 60.0
    """Bytes unsent, and the peer has taken none for so long: closed."""
    half_frame_s: float = 10.0
    """Under overload, a frame that is not complete after so long closes it."""
    connections_max: int = 0
    """More connections are closed when they are accepted; 0 = no limit."""
    unanswered_max_bytes: int = DEFAULT_LIMIT_BYTES
    """All connections together: requests read and not answered, see `overload`."""

    def take(self, config: NettyServerConfig) -> None:
        """Takes over what the configuration of a server says; again whenever it has changed."""
        self.max_frame_bytes = config.frame_max_length
        self.idle_s = config.server_channel_max_idle_time_seconds
        self.unsent_high_bytes = config.write_buffer_high_water_mark or Limits().unsent_high_bytes
        self.unsent_max_bytes = config.max_unsent_bytes_per_connection
        self.unsent_all_bytes = config.max_unsent_bytes
        self.unanswered_max_bytes = config.max_unanswered_bytes


class ConnectionObserver(Protocol):
    """Hears of connections; `reason` is a few words for the log."""

    def connection_made(self, peer: Peer) -> None: ...

    def connection_lost(self, peer: Peer, reason: str) -> None: ...


class TurnEnd:
    """Answers that come due outside their own connection's read, written once per connection and turn.

    A message that arrives wakes pulls of other connections: their answers leave when the read that brought
    the message is done. One flush serves many waiters: theirs leave right after, or with `gather` when what
    wakes them is done.
    """

    __slots__ = ("_call", "_reactor", "marked", "reading")

    def __init__(self, reactor: IReactorTime) -> None:
        self.reading = False
        self._reactor = reactor
        self.marked: list[WritingSide] = []
        """Who has such answers."""
        self._call: IDelayedCall | None = None

    def mark(self, protocol: WritingSide) -> None:
        self.marked.append(protocol)
        if not self.reading and self._call is None:
            self._call = self._reactor.callLater(0, self.flush)

    def gather(self, wake: Callable[[], object]) -> None:
        """Calls `wake`; answers that come due by that leave right after."""
        if self.reading:
            wake()
            return
        self.reading = True
        try:
            wake()
        finally:
            self.reading = False
            if self.marked:
                self.flush()

    def flush(self) -> None:
        if self._call is not None:
            if self._call.active():
                self._call.cancel()
            self._call = None
        while self.marked:
            marked, self.marked = self.marked, []
            for protocol in marked:
                protocol.flush()


class Connections:
    """The open connections of one listener or client."""

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        registry: Registry,
        *,
        limits: Limits | None = None,
        scanner: SendScanner | None = None,
        observers: Sequence[ConnectionObserver] = (),
        send_patience_ms: Callable[[], float] = lambda: 200.0,
        waiting_codes: frozenset[int] = SENDS,
        closes_silent_peers: bool = False,
        reserve: DescriptorReserve | None = None,
    ) -> None:
        self.registry = registry
        self.limits = limits or Limits()
        self.scanner = scanner
        self.observers = list(observers)
        self.waiting_codes = waiting_codes
        self.closes_silent_peers = closes_silent_peers
        self.reserve = reserve
        self.open: set[FrameProtocol] = set()
        self.now_s = reactor.seconds
        self.deadlines = Deadlines(reactor)
        self.turn_end = TurnEnd(reactor)
        self.load = Load(self.limits.unanswered_max_bytes)
        self.unsent = Load(self.limits.unsent_all_bytes)
        self.line = WaitingLine(reactor, self.load, send_patience_ms)
        self.rarely = Rarely(reactor)
        self.stray_answers = 0
        self.awaited = 0
        self._wait_for_quiet: list[Deferred[None]] = []
        self._wait_for_closed: list[Deferred[None]] = []
        if registry.mishaps.rarely is None:
            registry.mishaps.rarely = self.rarely

    def made(self, protocol: FrameProtocol) -> None:
        self.open.add(protocol)
        for observer in self.observers:
            observer.connection_made(protocol.peer)

    def lost(self, protocol: FrameProtocol, reason: str) -> None:
        self.open.discard(protocol)
        self.line.forget(protocol)
        for observer in self.observers:
            observer.connection_lost(protocol.peer, reason)
        if not self.open:
            _fire(self._wait_for_closed)

    # -- requests whose answer is awaited ------------------------------------------------------------------

    def answers_awaited(self, number: int, size_bytes: int) -> None:
        """Requests of `size_bytes` altogether are being worked on."""
        self.awaited += number
        self.load.add(size_bytes)

    def answers_came(self, number: int, size_bytes: int) -> None:
        """They are answered, or their connection is gone."""
        self.awaited -= number
        if size_bytes:
            self.load.remove(size_bytes)
        if not self.awaited:
            _fire(self._wait_for_quiet)

    def when_quiet(self) -> Deferred[None]:
        """Fires when no request is being worked on."""
        return _when(not self.awaited, self._wait_for_quiet)

    def when_all_closed(self) -> Deferred[None]:
        """Fires when no connection is open."""
        return _when(not self.open, self._wait_for_closed)

    # -- the sweep -----------------------------------------------------------------------------------------

    @property
    def sweep_interval_s(self) -> float:
        """Often enough that an idle limit is kept within five per cent; at most every five seconds."""
        return min(5.0, max(self.limits.idle_s / 20, 0.05)) if self.limits.idle_s > 0 else 5.0

    def sweep(self) -> None:
        """Closes what should not stay open."""
        self.load.limit_bytes = self.limits.unanswered_max_bytes
        self.unsent.limit_bytes = self.limits.unsent_all_bytes
        now_s = self.now_s()
        for protocol in list(self.open):
            protocol.sweep(now_s)
        if self.load.over:
            self._drop_half_frames(now_s)

    def _drop_half_frames(self, now_s: float) -> None:
        """Memory that only a peer can free, by finishing its frame: the biggest go first."""
        for protocol in sorted(self.open, key=lambda protocol: protocol.half_frame_bytes, reverse=True):
            if not self.load.over or not protocol.half_frame_bytes:
                return
            if now_s - protocol.half_frame_since_s > self.limits.half_frame_s:
                protocol.abort("a frame stayed incomplete while memory is short")

    def say_closed(self, peer: Peer, reason: str) -> None:
        """One line for a connection that had to be closed; at most one a minute per host and reason."""
        held_back = self.rarely.due((peer.address[0], _kind_of(reason)))
        if held_back is not None:
            self.log.warn(
                "connection closed: peer={peer} reason={reason!r} held_back={held_back}",
                peer=peer.name,
                reason=reason,
                held_back=held_back,
            )

    def say_refused(self, why: str) -> None:
        """One line, at most one a minute: a new connection is closed at once."""
        held_back = self.rarely.due(("refused", why))
        if held_back is not None:
            self.log.warn(
                "connection refused: open={open} {why} held_back={held_back}",
                open=len(self.open),
                why=why,
                held_back=held_back,
            )

    def say_much_unsent(self) -> None:
        """One line, at most one a minute: all together leave more of their answers unread than they may."""
        held_back = self.rarely.due("unsent")
        if held_back is not None:
            self.log.warn(
                "peers leave their answers unread and are not read from: unsent_bytes={bytes}"
                " limit_bytes={limit} held_back={held_back}",
                bytes=self.unsent.bytes,
                limit=self.unsent.limit_bytes,
                held_back=held_back,
            )


def _kind_of(reason: str) -> str:
    """A reason without its figures, which a peer could vary to get a line for each."""
    return "".join(character for character in reason[:60] if not character.isdigit())[:30]


def _when(already: bool, waiting: list[Deferred[None]]) -> Deferred[None]:
    if already:
        return succeed(None)
    waiting.append(Deferred())
    return waiting[-1]


def _fire(waiting: list[Deferred[None]]) -> None:
    fired, waiting[:] = waiting[:], []
    for deferred in fired:
        deferred.callback(None)
