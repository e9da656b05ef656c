"""The short cut for pulls as Java clients write them: who is admitted and finds messages is answered at once.

Everything else - a refusal, nothing to give, bytes that are not in memory - goes the general way,
`PullHandler`, from its beginning. So this module decides nothing of its own, and both ways give the same
answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from rocketmq_tx.broker import pull_rules
from rocketmq_tx.errors import PeerError, StoreError
from rocketmq_tx.protocol.codes import SerializeType
from rocketmq_tx.protocol.decoder import SCANNED_PULL
from rocketmq_tx.protocol.pull_scan import as_frame
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.pull import GetStatus

if TYPE_CHECKING:
    from rocketmq_tx.broker.pull_handler import Pieces, PullHandler
    from rocketmq_tx.broker.pull_rules import PullRules
    from rocketmq_tx.protocol.pull_scan import ScannedPull
    from rocketmq_tx.remoting.peer import Peer


class ScannedPulls:
    """Serves runs of `pull_scan.ScannedPull`; `general` serves what is not ordinary."""

    def __init__(self, rules: PullRules, general: PullHandler) -> None:
        self._rules = rules
        self._general = general

    @serves_runs(SCANNED_PULL)
    def pull_scanned(self, peer: Peer, run: list[ScannedPull]) -> list[bytes | Deferred[bytes]]:
        answers: list[bytes | Deferred[bytes]] = []
        for scanned in run:
            answers += self._found(peer, scanned) or self._general.pull_all(peer, [as_frame(scanned)])
        return answers

    def _found(self, peer: Peer, scanned: ScannedPull) -> Pieces | None:
        """The answer with messages; None where there is anything else to say."""
        route, queue_offset, commit_offset, opaque = scanned
        header = route.header
        general = self._general
        try:
            pull_rules.require_numbers(header)
            admission = self._rules.admit(header, *peer.address)
            result = general.read(header, queue_offset, admission, may_block=False)
        except (PeerError, StoreError):
            return None
        if result.status is not GetStatus.FOUND:
            return None
        general.commit(header, commit_offset)
        outcome = pull_rules.conclude(result, queue_offset, queue_offset, admission, general.role())
        return general.encoded(header, SerializeType.JSON, opaque, outcome, result, 0)
