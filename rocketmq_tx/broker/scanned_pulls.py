"""The short cut for pulls as Java clients write them: who is admitted and finds messages is answered at once.

Who is at the end of the queue, as a consumer that keeps up is with each of its pulls, is held without being
read and checked again. Everything else - a refusal, an offset that is none, bytes that are not in memory -
goes the general way, `PullHandler`, from its beginning. So this module decides nothing of its own, and both
ways give the same answers.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from rocketmq_tx.broker import pull_rules
from rocketmq_tx.broker.pull_handler import Pull
from rocketmq_tx.errors import PeerError, StoreError
from rocketmq_tx.protocol.answers import PullAnswers
from rocketmq_tx.protocol.decoder import SCANNED_PULL
from rocketmq_tx.protocol.pull_scan import as_frame, as_header, as_read_frame
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.pull import GetStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rocketmq_tx.broker.pull_handler import PullHandler
    from rocketmq_tx.broker.pull_rules import Admission, PullRules
    from rocketmq_tx.protocol.pull_scan import PullRoute, ScannedPull
    from rocketmq_tx.remoting.peer import Peer

_route = itemgetter(0)


class ScannedPulls:
    """Serves runs of `pull_scan.ScannedPull`; `general` serves what is not ordinary."""

    def __init__(self, rules: PullRules, general: PullHandler) -> None:
        self._rules = rules
        self._general = general
        self._found_head = PullAnswers().found

    @serves_runs(SCANNED_PULL)
    def pull_scanned(self, peer: Peer, run: list[ScannedPull]) -> list[bytes | Deferred[bytes]]:
        answers: list[bytes | Deferred[bytes]] = []
        for route, pulls in groupby(run, _route):
            self._pull(peer, route, pulls, answers)
        return answers

    def _pull(
        self,
        peer: Peer,
        route: PullRoute,
        pulls: Iterable[ScannedPull],
        answers: list[bytes | Deferred[bytes]],
    ) -> None:
        """Pulls of one consumer from one queue: checked once, since nothing else happens between them."""
        general, header = self._general, route.header
        admission: Admission | None = None
        try:
            pull_rules.require_numbers(header)
            admission = self._rules.admit(header, *peer.address)
        except PeerError:
            pass  # is said the general way
        role, found_head, read = general.role(), self._found_head, None
        if admission is not None:
            read = general.reader(header, admission)
        found = messages = size_bytes = 0
        for scanned in pulls:
            _, queue_offset, commit_offset, opaque = scanned
            result = None
            if read is not None:
                try:
                    result = read(queue_offset, False)
                except StoreError:
                    pass  # the same
            if result is None or result.status is not GetStatus.FOUND:
                if result is not None and pull_rules.may_wait(result.status, header.sys_flag, queue_offset):
                    general.commit(header, commit_offset)
                    pull = Pull(peer, as_read_frame(scanned), as_header(scanned), queue_offset)
                    answers.append(general.hold(pull))
                else:
                    answers += general.pull_all(peer, [as_frame(scanned)])
                continue
            assert admission is not None
            general.commit(header, commit_offset)
            body = result.body
            found += 1
            messages += result.count
            size_bytes += len(body)
            suggested = 0
            if role.slave_read_enable:
                suggested = pull_rules.suggested_broker_id(result, admission, role)
            answers += (
                found_head(
                    opaque, suggested, result.next_offset, result.min_offset, result.max_offset, len(body)
                ),
                body,
            )
        if found:
            general.count_found(header, found, messages, size_bytes, 0)
