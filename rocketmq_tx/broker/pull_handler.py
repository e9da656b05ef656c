"""Serves PULL_MESSAGE: decides, reads, answers; what finds nothing is held, what is cold is warmed first.

    begin --refused------------------------------> answer
          --read: something, or nothing wanted---> answer
          --read: nothing, suspend flag----------> held --arrival / time-out / release--> read again
          --bytes not in memory------------------> warmed in a thread --> read again

Every further read checks the request again, because topic, group and subscription may have changed, but
commits no offset and holds nothing a second time. Facts: spec/processors.yaml (PullMessageProcessor,
PullRequestHold); where ours differs, docs/differences.md, Pulling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rocketmq_tx.broker import pull_rules
from rocketmq_tx.broker.pull_rules import Admission, PullRules
from rocketmq_tx.broker.pull_steps import Pieces, PullSteps
from rocketmq_tx.errors import PeerError, RequestRefused, StoreError, WouldBlock
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import PullMessageRequestHeader
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.pull import GetResult

if TYPE_CHECKING:
    from rocketmq_tx.broker.held_pulls import HeldPulls
    from rocketmq_tx.broker.offset_moved import OffsetMovedLog
    from rocketmq_tx.broker.offsets import ConsumerOffsets
    from rocketmq_tx.broker.statistics import BrokerStatistics
    from rocketmq_tx.broker.tag_filter import TagFilters
    from rocketmq_tx.config.settings import BrokerSettings
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.runtime.threads import OffReactor
    from rocketmq_tx.store.message_store import MessageStore

COLD_READS_MAX = 3
"""Bytes that were evicted again so often are read in the reactor's turn: the consumer must get on."""


@attrs.define(eq=False)
class Pull:
    """One request on its way to its answer; `tested_to` moves on while the pull is held."""

    peer: Peer
    frame: Frame
    header: PullMessageRequestHeader
    tested_to: int
    cold_reads: int = 0
    cold_from_ms: int = 0
    """Since when it waits for the disk; the others are answered within a millisecond."""


class PullHandler(PullSteps):
    """Answers pulls one by one; keeps no state of its own but what waits in `held`."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: MessageStore,
        rules: PullRules,
        filters: TagFilters,
        offsets: ConsumerOffsets,
        held: HeldPulls,
        moved: OffsetMovedLog,
        off_reactor: OffReactor,
        statistics: BrokerStatistics | None = None,
    ) -> None:
        super().__init__(settings, store, filters, offsets, statistics)
        self._rules = rules
        self._held = held
        self._moved = moved
        self._off_reactor = off_reactor

    @serves_runs(RequestCode.PULL_MESSAGE)
    def pull_all(self, peer: Peer, run: list[Frame]) -> list[bytes | Deferred[bytes]]:
        answers: list[bytes | Deferred[bytes]] = []
        for frame in run:
            answer = self._begin(peer, frame)
            if frame.is_oneway:
                continue
            if isinstance(answer, Deferred):
                answers.append(answer.addCallback(b"".join))
            else:
                answers += answer
        return answers

    # -- the first look --------------------------------------------------------------------------------------

    def _begin(self, peer: Peer, frame: Frame) -> Pieces | Deferred[Pieces]:
        try:
            header = PullMessageRequestHeader.from_ext_fields(frame.ext_fields)
            pull_rules.require_numbers(header)
            admission = self._rules.admit(header, *peer.address)
        except PeerError as error:
            return refused(frame, error)
        self.commit(header, header.commit_offset)
        pull = Pull(peer, frame, header, header.queue_offset)
        try:
            result = self._read(pull, admission)
        except WouldBlock as cold:
            return self._read_warmed(pull, cold)
        except StoreError as error:
            return refused(frame, error)
        if pull_rules.may_wait(result.status, header.sys_flag, header.queue_offset):
            return self._hold(pull)
        return self._answer(pull, admission, result)

    # -- holding ---------------------------------------------------------------------------------------------

    def hold(self, pull: Pull) -> Deferred[bytes]:
        """The answer to a pull that was checked and found nothing (`pull_rules.may_wait`), when it comes."""
        return self._hold(pull).addCallback(b"".join)

    def _hold(self, pull: Pull) -> Deferred[Pieces]:
        answered: Deferred[Pieces] = Deferred()

        def answer_if_ready() -> bool:
            answer = self._read_again(pull, answer_anyhow=False)
            if answer is not None:
                _fire(answered, answer)
            return answer is not None

        def answer_anyhow() -> None:
            answer = self._read_again(pull, answer_anyhow=True)
            assert answer is not None
            _fire(answered, answer)

        config = self._broker_config
        timeout_ms = config.short_polling_time_mills
        if config.long_polling_enable:
            timeout_ms = pull.header.suspend_timeout_millis or 0
        header = pull.header
        pull.frame.ext_fields = None  # read already; thousands of held pulls need not keep the text, too
        self._held.hold(
            pull.peer, header.topic, header.queue_id, timeout_ms / 1000, answer_if_ready, answer_anyhow
        )
        return answered

    def _read_again(self, pull: Pull, answer_anyhow: bool) -> Pieces | Deferred[Pieces] | None:
        """The answer for which a message or the time has come; None when it was not for this consumer."""
        try:
            admission = self._rules.admit(pull.header, *pull.peer.address)
            result = self._read(pull, admission)
        except WouldBlock as cold:
            return self._read_warmed(pull, cold)
        except (RequestRefused, StoreError) as error:
            return refused(pull.frame, error)
        if not answer_anyhow and pull_rules.is_nothing_new(result, pull.tested_to):
            pull.tested_to = result.next_offset
            return None
        return self._answer(pull, admission, result)

    # -- reading and answering -------------------------------------------------------------------------------

    def _read(self, pull: Pull, admission: Admission) -> GetResult:
        read = self.reader(pull.header, admission)
        return read(pull.tested_to, pull.cold_reads >= COLD_READS_MAX)

    def _read_warmed(self, pull: Pull, cold: WouldBlock) -> Deferred[Pieces]:
        """Lets a thread wait for the disk, then reads again, now most likely from memory."""
        pull.cold_reads += 1
        if self._statistics is not None and not pull.cold_from_ms:
            pull.cold_from_ms = self._statistics.now_ms()
        warming: Deferred[Any] = self._off_reactor(self._store.warm, cold)

        def warmed(_: object) -> Pieces | Deferred[Pieces]:
            answer = self._read_again(pull, answer_anyhow=True)
            assert answer is not None
            return answer

        def failed(failure: Failure) -> Any:
            failure.trap(StoreError)
            pull.cold_reads = COLD_READS_MAX  # then the store finds the one record that cannot be read
            return warmed(None)

        answer: Deferred[Any] = warming.addCallback(warmed)
        return answer.addErrback(failed)

    def _answer(self, pull: Pull, admission: Admission, result: GetResult) -> Pieces:
        header = pull.header
        outcome = pull_rules.conclude(result, header.queue_offset, pull.tested_to, admission, self.role())
        if outcome.code is ResponseCode.PULL_OFFSET_MOVED:
            self._moved.note(header, result.next_offset)
        took_ms = 0
        if pull.cold_from_ms and self._statistics is not None:
            took_ms = self._statistics.now_ms() - pull.cold_from_ms
        return self.encoded(header, pull.frame.serialize, pull.frame.opaque, outcome, result, took_ms)


def refused(frame: Frame, error: PeerError | StoreError) -> Pieces:
    """The answer to a pull that cannot be served; a failed check answers with an empty header, as Apache."""
    if isinstance(error, RequestRefused):
        answer = frame.answer(error.code, error.remark)
        answer.ext_fields = {}
    else:
        answer = frame.answer(ResponseCode.SYSTEM_ERROR, str(error))
    return (encode_frame(answer),)


def _fire(answered: Deferred[Pieces], answer: Pieces | Deferred[Pieces]) -> None:
    if isinstance(answer, Deferred):
        answer.chainDeferred(answered)
    else:
        answered.callback(answer)
