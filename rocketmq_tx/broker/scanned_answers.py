"""Answers to scanned sends that have been stored: at once, or when they are as safe as their senders want.

Of sends that are alike they are made by columns, all of a run in one `bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.send_handler import Answer
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol.alike_sends import AlikeSends
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode, SerializeType
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.send_scan import ScannedSend, as_frame
from rocketmq_tx.store.append import Placed
from rocketmq_tx.store.append_alike import PlacedAlike

_JSON = SerializeType.JSON


class ScannedAnswers:
    """Asks `appending` who has to wait, and encodes by `answers`."""

    def __init__(self, appending: Appending, answers: SendAnswers) -> None:
        self._appending = appending
        self._answers = answers

    def each(
        self, sends: Sequence[ScannedSend], placed: Sequence[Placed], waits: Sequence[bool] | None
    ) -> list[Answer]:
        """`waits` says who waits for flush and replication; None: the tails know."""
        if not self._appending.settles_at_once:
            return self._answer_when_settled(sends, placed, waits)
        success = self._answers.success
        return [
            success(opaque, route.queue_id, commit_log_offset, queue_offset)
            for (route, _, _, _, opaque, _), (commit_log_offset, _, queue_offset) in zip(
                sends, placed, strict=True
            )
            if not route.is_oneway
        ]

    def alike(self, run: AlikeSends, placed: PlacedAlike, wait: bool) -> list[Answer]:
        """`wait` says whether they wait for flush and replication."""
        if run.routes[0].is_oneway:  # a flag of the frame, and their frames are alike
            return []
        if self._appending.settles_at_once or not (wait or self._appending.everybody_waits):
            return [self._answers.success_alike(run.opaques, placed.queue_ids, placed)]
        return [self._settled_alike(run, placed.queue_ids, placed)]

    def _answer_when_settled(
        self, sends: Sequence[ScannedSend], placed: Sequence[Placed], waits: Sequence[bool] | None
    ) -> list[Answer]:
        """Those that do not wait now, the others together when the last of them is safe."""
        if self._appending.everybody_waits:
            waits = [True] * len(sends)
        elif waits is None:
            waits = [scanned[3].derived.waits for scanned in sends]
        oneway = [scanned[0].is_oneway for scanned in sends]
        if all(waits) and not any(oneway):
            return [self._settled(sends, placed)]
        at_once: list[Answer] = []
        waiting: list[ScannedSend] = []
        places: list[Placed] = []
        for scanned, place, wait in zip(sends, placed, waits, strict=True):
            route, _, _, _, opaque, _ = scanned
            if route.is_oneway:
                continue
            if wait:
                waiting.append(scanned)
                places.append(place)
            else:
                at_once.append(self._answers.success(opaque, route.queue_id, place[0], place[2]))
        return [*at_once, self._settled(waiting, places)] if waiting else at_once

    def _settled_alike(self, run: AlikeSends, queue_ids: list[int], placed: PlacedAlike) -> Deferred[bytes]:
        """All their answers, when the last of them is safe.

        Those of success are made while disk or slave is at work, when there is time and the messages are in
        the processor's cache. Of these nothing is kept but their opaques.
        """
        settling = self._appending.settle_to(placed.offsets.stop, len(queue_ids))
        opaques, make = run.opaques, self._answers
        success = make.success_alike(opaques, queue_ids, placed)

        def settled(status: ResponseCode) -> bytes:
            if status is ResponseCode.SUCCESS:
                return success
            found = [
                make.encode(_JSON, status, int(opaque), queue_id, [place])
                for opaque, queue_id, place in zip(opaques, queue_ids, placed.each(), strict=True)
            ]
            return b"".join(found)

        def not_settled(failure: Failure) -> bytes:
            refusal = failure.value
            if not isinstance(refusal, RequestRefused):
                failure.raiseException()
            frames = [Frame(RequestCode.SEND_MESSAGE_V2, int(opaque)) for opaque in opaques]
            return b"".join([make.refused(frame, refusal) for frame in frames])

        return settling.addCallbacks(settled, not_settled)

    def _settled(self, waiting: Sequence[ScannedSend], places: Sequence[Placed]) -> Deferred[bytes]:
        """As `_settled_alike`, for messages that are not."""
        settling = self._appending.settle(places)
        return settling.addCallbacks(
            lambda status: self._stored(waiting, places, status), self._not_settled, errbackArgs=(waiting,)
        )

    def _stored(self, sends: Sequence[ScannedSend], places: Sequence[Placed], status: ResponseCode) -> bytes:
        pairs = zip(sends, places, strict=True)
        if status is ResponseCode.SUCCESS:
            success = self._answers.success
            found = [
                success(opaque, route.queue_id, commit_log_offset, queue_offset)
                for (route, _, _, _, opaque, _), (commit_log_offset, _, queue_offset) in pairs
            ]
        else:
            encode = self._answers.encode
            found = [
                encode(_JSON, status, opaque, route.queue_id, [place])
                for (route, _, _, _, opaque, _), place in pairs
            ]
        return b"".join(found)

    def _not_settled(self, failure: Failure, waiting: Sequence[ScannedSend]) -> bytes:
        if not isinstance(failure.value, RequestRefused):
            failure.raiseException()
        return b"".join(self.refused(waiting, failure.value))

    def refused(self, sends: Sequence[ScannedSend], refusal: RequestRefused) -> list[bytes]:
        """None of these was stored."""
        frames = (as_frame(scanned) for scanned in sends)
        return [self._answers.refused(frame, refusal) for frame in frames if not frame.is_oneway]
