"""What a peer is told when its request could not be served, and what the log is told.

Errors of the peer's family are answers like others and are not logged. Anything else is a mistake of ours:
the peer gets SYSTEM_ERROR with the error's text, the log one line now and then, with the trace at debug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.errors import PeerError, RequestRefused, RocketMQError
from rocketmq_tx.protocol.batch_scan import ScannedBatch
from rocketmq_tx.protocol.batch_scan import as_frame as batch_as_frame
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.commands import command_name
from rocketmq_tx.protocol.end_scan import ScannedEnd
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.pull_scan import ScannedPull
from rocketmq_tx.protocol.pull_scan import as_frame as pull_as_frame
from rocketmq_tx.protocol.send_scan import as_frame as send_as_frame

if TYPE_CHECKING:
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.runtime.rarely import Rarely


def as_refusal(error: BaseException | None) -> tuple[int, str]:
    """(response code, remark) for an error."""
    if isinstance(error, RequestRefused):
        return error.code, error.remark
    if isinstance(error, RocketMQError):
        return ResponseCode.SYSTEM_ERROR, str(error)
    return ResponseCode.SYSTEM_ERROR, f"{type(error).__name__}: {error}"


def refusals(run: list[Any], code: int, remark: str) -> list[bytes]:
    """The same answer to each request of a run that wants one; items are frames, or what was scanned."""
    wanting = (item for item in run if not isinstance(item, ScannedEnd))  # these are one-way, all of them
    frames = map(_as_frame, wanting)
    return [encode_frame(frame.answer(code, remark)) for frame in frames if not frame.is_oneway]


def _as_frame(item: Any) -> Frame:
    if isinstance(item, Frame):
        return item
    if isinstance(item, ScannedPull):
        return pull_as_frame(item)
    return batch_as_frame(item) if isinstance(item, ScannedBatch) else send_as_frame(item)


class Mishaps:
    """Turns failures of handlers into answers. `rarely` bounds the log lines; None logs each."""

    log = Logger()

    def __init__(self, rarely: Rarely | None = None) -> None:
        self.rarely = rarely
        self.count = 0

    def answers(self, peer: Peer, run: list[Any], failure: Failure) -> list[bytes]:
        """The answers to the requests of `run`, which failed together."""
        error = failure.value
        if not isinstance(error, PeerError):
            self._log(peer, run, failure)
        return refusals(run, *as_refusal(error))

    def _log(self, peer: Peer, run: list[Any], failure: Failure) -> None:
        self.count += 1
        code = run[0].code if run and isinstance(run[0], Frame) else -2
        held_back = 0 if self.rarely is None else self.rarely.due((code, type(failure.value)))
        if held_back is None:
            return
        self.log.error(
            "request failed: command={command} peer={peer} error={error!r} held_back={held_back}",
            command=command_name(code),
            peer=peer.name,
            error=failure.value,
            held_back=held_back,
        )
        self.log.debug("{trace}", trace=failure.getTraceback())
