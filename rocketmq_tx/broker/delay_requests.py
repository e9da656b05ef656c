"""Serves GET_ALL_DELAY_OFFSET: how far the delay levels are delivered, for slaves and tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.delay_progress import DelayProgress
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer


class DelayRequests:
    """Answers with the table as it is now; the file may be a few seconds behind."""

    def __init__(self, progress: DelayProgress) -> None:
        self._progress = progress

    @serves(RequestCode.GET_ALL_DELAY_OFFSET)
    def offsets(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return Reply(body=self._progress.snapshot().to_bytes())
