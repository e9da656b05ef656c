"""The frame protocol on one connection: all frames of a read at once, one write for all their answers.

    dataReceived -> decoder: runs of frames -> registry: encoded answers -> one write
                                            -> answers to our own calls -> peer
                                            -> Deferreds: written when they fire, at the end of that turn

Requests may go in both directions; `peer` is what handlers see. Nothing here grows without bound: a frame
has a greatest length, a peer that does not read its answers is not read from either and closed in the end
(`Limits`), and sends beyond what memory allows wait in line (`overload`).

TLS can be added where `makeConnection` is called: whoever looks at the first byte of a connection hands the
plain or the decrypted stream to this protocol; a transport that is not plain TCP is written to as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.decoder import RESPONSE_RUN, SCANNED_END, SCANNED_PULL, FrameDecoder
from rocketmq_tx.remoting.addresses import plain_host
from rocketmq_tx.remoting.mishaps import refusals
from rocketmq_tx.remoting.outgoing import Outgoing
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.writing_side import IN_LINE, WritingSide

if TYPE_CHECKING:
    from rocketmq_tx.remoting.connections import Connections
    from rocketmq_tx.remoting.registry import Answer

_SLICE = 32
"""Longer runs are served in pieces, so that unread answers are noticed in between; but sends, and ends of
transactions that want no answer."""
_PULLS = frozenset({int(RequestCode.PULL_MESSAGE), int(SCANNED_PULL)})
_SLICE_OF_PULLS = 8
"""A pull's answer may have a quarter of a megabyte: what a peer that does not read gets at most at once."""
_FLUSH_BYTES = 128 << 10
"""Answers of one read are written early when they are more than this."""
_SYSTEM_BUSY = 2


class FrameProtocol(WritingSide):
    """One connection, of a server or of a client. Memory when idle: about 1 KiB without the transport's."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self.half_frame_since_s = 0.0
        self._decoder = FrameDecoder(connections.limits.max_frame_bytes, connections.scanner)
        self._in_line = 0
        self._awaited = 0
        self._awaited_bytes = 0

    # -- the transport's side ------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        host = transport.getPeer()
        self.peer = Peer(self, (plain_host(str(getattr(host, "host", "0.0.0.0"))), getattr(host, "port", 0)))
        self._outgoing = Outgoing(transport, self._drained)
        self._spoke_s = self.connections.now_s()
        self.is_open = True
        self.connections.made(self)

    def dataReceived(self, data: bytes) -> None:
        if not self.is_open:
            return
        connections = self.connections
        self._heard_s = connections.now_s()
        decoder = self._decoder
        held = self.half_frame_bytes
        try:
            runs = decoder.feed(data)
        except FrameError as error:
            self._broken(error)
            return
        pending = decoder.pending_bytes
        if pending != held:
            self._count_half_frame(pending, new=not held or bool(runs))
        turn_end = connections.turn_end
        turn_end.reading = True
        try:
            if runs:
                self._serve_all(runs, held + len(data) - pending)
        finally:
            turn_end.reading = False
            if self._out:
                self.flush()
            if turn_end.marked:
                turn_end.flush()
        if decoder.broken is not None:
            self._broken(decoder.broken)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_open = False
        self._gone = True
        connections = self.connections
        self._forget_half_frame()
        self._out.clear()
        self._count_unsent(0)
        self._outgoing.forget()
        self._backlog = None
        awaited, self._awaited = self._awaited, 0
        connections.answers_came(awaited, self._awaited_bytes)
        self._awaited_bytes = 0
        words = self._closing or _words(reason)
        self.peer.lost(words)
        connections.lost(self, words)

    def _count_half_frame(self, pending: int, new: bool) -> None:
        if new:
            self.half_frame_since_s = self._heard_s
        difference = pending - self.half_frame_bytes
        self.half_frame_bytes = pending
        load = self.connections.load
        if difference > 0:
            load.add(difference)
        else:
            load.remove(-difference)

    # -- serving -------------------------------------------------------------------------------------------

    def _serve_all(self, runs: list[tuple[int, list[Any]]], size_bytes: int) -> None:
        """Serves what a read completed (`size_bytes` of frames), or puts it aside."""
        connections = self.connections
        load = connections.load
        for code, run in runs:
            if code == RESPONSE_RUN:
                connections.stray_answers += self.peer.answered(run)
            elif self._backlog is not None:
                self._backlog.append((code, run))
            elif code in connections.waiting_codes:
                if load.over:
                    self._wait_in_line(code, run, size_bytes)
                    size_bytes = 0
                else:
                    size_bytes -= self._serve(code, run, size_bytes)
            elif code == SCANNED_END:
                if self._out:
                    self.flush()  # whoever waits for these answers need not wait for ends, which have none
                size_bytes -= self._serve(code, run, size_bytes)
            elif len(run) > (most := self._most_at_once(code)):
                self._serve_in_slices(code, run, most)
            else:
                size_bytes -= self._serve(code, run, size_bytes)

    def _most_at_once(self, code: int) -> int:
        """How many requests of a run are served before it is looked at what is unsent."""
        if self.connections.unsent.over:
            return 1
        return _SLICE_OF_PULLS if code in _PULLS else _SLICE

    def _serve_in_slices(self, code: int, run: list[Any], size: int) -> None:
        for start in range(0, len(run), size):
            piece = run[start : start + size]
            if not self.is_open:  # closed for what it did not read: nobody takes the rest
                return
            if self._backlog is not None:
                self._backlog.append((code, piece))
            else:
                self._serve(code, piece, 0)

    def _serve(self, code: int, run: list[Any], size_bytes: int) -> int:
        """Serves a run; how many of the read's bytes are counted as unanswered because of it: all or none."""
        answers = self.connections.registry.serve(self.peer, code, run)
        if not answers:
            return 0
        try:
            data = b"".join(answers)  # type: ignore[arg-type]  # TypeError tells that one is a Deferred
        except TypeError:
            if len(answers) == 1:  # as of each read of a double write
                self._take_later(answers[0], run, size_bytes)  # type: ignore[arg-type]
            else:
                self._take_mixed(answers, run, size_bytes)
            return size_bytes
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > _FLUSH_BYTES:
            self.flush()
        return 0

    def _take_mixed(self, answers: list[Answer], run: list[Any], size_bytes: int) -> None:
        """Answers of which some come later. The size of the read is shared out among those."""
        later = [answer for answer in answers if isinstance(answer, Deferred)]
        for answer in answers:
            if isinstance(answer, bytes):
                self._out.append(answer)
                self._out_bytes += len(answer)
        for deferred in later:
            self._take_later(deferred, run, size_bytes // len(later))

    def _take_later(self, answer: Deferred[bytes], run: list[Any], share: int) -> None:
        """An answer that comes later; so many of the read's bytes are counted until then."""
        self._awaited += 1
        self._awaited_bytes += share
        self.connections.answers_awaited(1, share)
        alone = run if len(run) == 1 else []
        answer.addCallbacks(self._came_later, self._failed_later, (share,), errbackArgs=(share, alone))

    def _came_later(self, data: bytes, share: int) -> None:
        if self._gone:
            return
        self._awaited -= 1
        self._awaited_bytes -= share
        if data:
            self.write_soon(data)
        self.connections.answers_came(1, share)

    def _failed_later(self, failure: Failure, share: int, run: list[Any]) -> None:
        """A handler of runs let a failure escape: only for a single request it is known whom it concerns."""
        answers = self.connections.registry.mishaps.answers(self.peer, run, failure)
        self._came_later(b"".join(answers), share)

    # -- waiting in line (overload) ------------------------------------------------------------------------

    def _wait_in_line(self, code: int, run: list[Any], size_bytes: int) -> None:
        self._in_line += 1
        self._pause(IN_LINE)
        self.connections.line.enter(self, code, run, size_bytes)

    def serve_waited(self, code: int, run: list[Any]) -> None:
        self._serve(code, run, sum(map(_body_bytes, run)))
        self._flush_soon()

    def refuse_waited(self, code: int, run: list[Any], remark: str) -> None:
        self._out.extend(refusals(run, _SYSTEM_BUSY, remark))
        self._flush_soon()

    def left_the_line(self) -> None:
        self._in_line -= 1
        if not self._in_line:
            self._resume(IN_LINE)

    # -- mistakes of the peer -------------------------------------------------------------------------------

    def _broken(self, error: FrameError) -> None:
        if self.is_open:
            self.connections.say_closed(self.peer, str(error))
            self.close(str(error))

    def call_timed_out(self, sent_s: float) -> None:
        """A call got no answer. Was nothing heard since it was sent, the connection may be dead."""
        if self.connections.closes_silent_peers and self._heard_s < sent_s:
            self.close("nothing was heard from the peer for the time of a call")


def _body_bytes(item: Any) -> int:
    """Of a frame, or of a scanned send, whose last part is the body."""
    return len(item[-1] if isinstance(item, tuple) else item.body)


def _words(reason: Failure) -> str:
    return "closed by the peer" if reason.check(ConnectionDone) else reason.getErrorMessage()
