"""Who must have a message, who may be elected: the rules as values."""

from __future__ import annotations

import itertools
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import CoordinationError, FrameError
from rocketmq_tx.failover.cluster_state import ClusterState
from rocketmq_tx.failover.election import Claim, Follow, LeadOn, Myself, Session, Wait, decide
from rocketmq_tx.failover.gate import NOBODY_ACKNOWLEDGES, UNCONFIRMED, refusal
from rocketmq_tx.failover.in_sync import InSyncSet, Limits, Progress
from rocketmq_tx.protocol.ha_frames import (
    Greeting,
    PieceDecoder,
    ReportDecoder,
    encode_greeting,
    encode_piece_head,
    encode_report,
    encode_watermark,
)

LIMITS = Limits(behind_max_bytes=1000, late_max_ms=3000)
HERE = "192.0.2.1:10911"
THERE = "192.0.2.2:10911"


def reached(offset: int, target: int | None = None, since_ms: int = 0) -> Progress:
    return Progress(offset, offset if target is None else target, since_ms)


class InSyncSetTests(SynchronousTestCase):
    def agreed_on(self, *members: int) -> InSyncSet:
        made = InSyncSet(0)
        made.proposed(frozenset(members))
        made.agreed()
        return made

    def test_a_master_alone_needs_nobody(self) -> None:
        self.assertEqual(InSyncSet(0).replicated_to({}, 100), 100)

    def test_all_that_are_required_must_have_it_and_be_there(self) -> None:
        in_sync = self.agreed_on(0, 1, 2)
        self.assertEqual(in_sync.replicated_to({1: reached(90), 2: reached(70)}, 100), 70)
        self.assertIsNone(in_sync.replicated_to({1: reached(90)}, 100))

    def test_a_member_that_joins_is_waited_for_before_it_is_proposed(self) -> None:
        in_sync = InSyncSet(0)
        members = {1: reached(60, target=100)}
        in_sync.look(members, 80, 100, 0, LIMITS)
        self.assertEqual(in_sync.required, {0, 1})
        self.assertIsNone(in_sync.proposal(members, 80, 100, 0, LIMITS))
        members[1].note(80, 120, 10)
        self.assertEqual(in_sync.proposal(members, 80, 120, 10, LIMITS), {0, 1})

    def test_a_member_that_stalls_while_joining_is_not_waited_for_any_longer(self) -> None:
        in_sync = InSyncSet(0)
        members = {1: reached(60, target=100)}
        in_sync.look(members, 80, 100, 0, LIMITS)
        in_sync.look(members, 80, 100, 3001, LIMITS)
        self.assertEqual(in_sync.required, {0})

    def test_who_lags_by_bytes_or_time_or_has_gone_or_lost_its_log_is_to_leave(self) -> None:
        for members in (
            {1: reached(90), 2: reached(95, target=96, since_ms=-4000)},
            {1: reached(90)},
            {1: reached(90), 2: reached(79)},
        ):
            in_sync = self.agreed_on(0, 1, 2)
            self.assertEqual(in_sync.proposal(members, 80, 100, 0, LIMITS), {0, 1}, members)
        in_sync = self.agreed_on(0, 1)
        self.assertEqual(in_sync.proposal({1: reached(5000)}, 80, 6001, 0, LIMITS), {0})

    def test_who_was_taken_out_is_required_until_that_is_agreed(self) -> None:
        in_sync = self.agreed_on(0, 1)
        in_sync.proposed(frozenset({0}))
        self.assertEqual(in_sync.required, {0, 1})
        in_sync.agreed()
        self.assertEqual(in_sync.required, {0})

    def test_a_proposal_of_unknown_fate_counts_until_another_is_agreed(self) -> None:
        in_sync = InSyncSet(0)
        in_sync.proposed(frozenset({0, 1}))
        in_sync.unknown()
        self.assertEqual(in_sync.required, {0, 1})
        self.assertIsNone(in_sync.replicated_to({}, 100))
        self.assertEqual(in_sync.proposal({}, 80, 100, 0, LIMITS), {0}, "to be written even though confirmed")
        in_sync.proposed(frozenset({0}))
        in_sync.agreed()
        self.assertEqual(in_sync.required, {0})

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("write"), st.integers(1, 50)),
                st.tuples(st.just("reach"), st.integers(1, 2), st.integers(0, 60)),
                st.tuples(st.just("go"), st.integers(1, 2)),
                st.tuples(st.sampled_from(["propose", "agree", "lose", "refuse", "look"])),
            ),
            max_size=60,
        )
    )
    def test_whoever_may_be_elected_always_has_everything_acknowledged(self, steps: list) -> None:  # type: ignore[type-arg]
        in_sync = InSyncSet(0)
        members: dict[int, Progress] = {}
        logs = {1: 0, 2: 0}
        held = [frozenset({0})]  # what the service may hold: the last one agreed on, and later writes
        log_end = watermark = now_ms = 0
        for step in steps:
            now_ms += 100
            if step[0] == "write":
                log_end += step[1]
            elif step[0] == "reach":
                member = step[1]
                logs[member] = min(log_end, logs[member] + step[2])
                progress = members.setdefault(member, Progress(logs[member], log_end, now_ms))
                progress.note(logs[member], log_end, now_ms)
            elif step[0] == "go":
                members.pop(step[1], None)
            elif step[0] == "look":
                in_sync.look(members, watermark, log_end, now_ms, LIMITS)
            elif step[0] == "propose":
                wanted = in_sync.proposal(members, watermark, log_end, now_ms, LIMITS)
                if wanted is not None:
                    in_sync.proposed(wanted)
                    held.append(wanted)
            elif in_sync._proposed is not None:
                if step[0] == "agree":
                    held = [held[-1]]
                    in_sync.agreed()
                else:
                    if step[0] == "refuse":
                        held.pop()
                    in_sync.unknown()
            reached_by_all = in_sync.replicated_to(members, log_end)
            watermark = max(watermark, reached_by_all or 0)
            for electable in frozenset().union(*held) - {0}:
                self.assertGreaterEqual(logs[electable], watermark)


class DecisionTests(SynchronousTestCase):
    state = ClusterState(epoch=4, master=0, address=THERE, in_sync=frozenset({0, 1}), proven_by=4)

    def decide(self, me: Myself, *alive: int, state: ClusterState | None = None) -> object:
        return decide(state or self.state, alive, me, HERE, Session.CONNECTED)

    def test_a_slave_follows_the_master_that_is_there(self) -> None:
        self.assertEqual(self.decide(Myself(1, 4, False, False), 0, 1), Follow(4, 0, THERE))

    def test_a_slave_in_sync_claims_the_next_epoch_when_the_master_has_gone(self) -> None:
        claim = self.decide(Myself(1, 4, False, False), 1)
        self.assertEqual(claim, Claim(ClusterState(5, 1, HERE, frozenset({1}), 4)))

    def test_a_slave_out_of_sync_waits_for_the_master(self) -> None:
        self.assertEqual(self.decide(Myself(2, 4, False, False), 1, 2), Follow(4, 0, THERE))

    def test_a_slave_whose_store_never_followed_this_epoch_does_not_claim(self) -> None:
        self.assertIsInstance(self.decide(Myself(1, 0, False, False), 1), Wait)

    def test_a_master_leads_on_and_after_a_restart_claims_again(self) -> None:
        self.assertEqual(self.decide(Myself(0, 4, True, True), 0), LeadOn())
        claim = self.decide(Myself(0, 4, True, False), 0, 1)
        self.assertEqual(claim, Claim(ClusterState(5, 0, HERE, frozenset({0}), 4)))

    def test_a_master_that_has_lost_its_disk_does_not_claim(self) -> None:
        self.assertIsInstance(self.decide(Myself(0, 0, True, False), 0, 1), Wait)

    def test_a_deposed_master_follows(self) -> None:
        state = ClusterState(5, 1, THERE, frozenset({1}), 5)
        self.assertEqual(self.decide(Myself(0, 4, True, True), 0, 1, state=state), Follow(5, 1, THERE))

    def test_a_state_older_than_the_own_log_is_not_acted_on(self) -> None:
        self.assertIsInstance(self.decide(Myself(1, 5, False, False), 1), Wait)
        self.assertIsInstance(self.decide(Myself(0, 5, True, True), 0), Wait)

    def test_the_configured_master_begins_and_nobody_else(self) -> None:
        def begin(me: Myself) -> object:
            return decide(None, {0, 1}, me, HERE, Session.CONNECTED)

        first = ClusterState(1, 0, HERE, frozenset({0}), 0)
        self.assertEqual(begin(Myself(0, 0, True, False)), Claim(first))
        self.assertIsInstance(begin(Myself(1, 0, False, False)), Wait)

    def test_when_the_service_lost_its_data_only_the_last_master_begins_again(self) -> None:
        def begin(me: Myself) -> object:
            return decide(None, {0, 1}, me, HERE, Session.CONNECTED)

        self.assertIsInstance(begin(Myself(0, 3, False, False)), Wait)
        self.assertEqual(begin(Myself(1, 4, True, False)), Claim(ClusterState(5, 1, HERE, frozenset({1}), 4)))

    def test_without_a_session_nothing_is_done(self) -> None:
        for session in (Session.SUSPENDED, Session.LOST):
            self.assertIsInstance(decide(self.state, {1}, Myself(1, 4, False, False), HERE, session), Wait)


class GateTests(SynchronousTestCase):
    def test_a_master_that_leads_no_epoch_takes_no_message_whatever_else_is_well(self) -> None:
        for session, is_complete in itertools.product(Session, (True, False)):
            self.assertEqual(refusal(True, False, session, is_complete), UNCONFIRMED)

    def test_a_slave_is_never_closed_by_it_as_the_bytes_of_its_master_have_to_come_in(self) -> None:
        for session, is_complete in itertools.product(Session, (True, False)):
            self.assertIsNone(refusal(False, False, session, is_complete))

    def test_who_leads_needs_a_session_or_all_who_have_to_acknowledge(self) -> None:
        for session, is_complete in itertools.product(Session, (True, False)):
            is_open = session is Session.CONNECTED or is_complete
            self.assertEqual(
                refusal(True, True, session, is_complete), None if is_open else NOBODY_ACKNOWLEDGES
            )


class ClusterStateTests(SynchronousTestCase):
    def test_it_is_read_as_it_was_written(self) -> None:
        state = DecisionTests.state
        self.assertEqual(ClusterState.from_bytes(state.to_bytes()), state)

    def test_what_no_broker_wrote_is_refused(self) -> None:
        later = DecisionTests.state.to_bytes().replace(b'"version":1', b'"version":2')
        for data in (b"", b"{}", b"[1]", b"null", later):
            self.assertRaises(CoordinationError, ClusterState.from_bytes, data)


class GreetingTests(SynchronousTestCase):
    @given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 31) - 1), st.integers(0, 1 << 62))
    def test_a_greeting_stands_before_the_first_report(self, member: int, epoch: int, end: int) -> None:
        heard: list[Greeting] = []
        decoder = ReportDecoder(heard.append)
        data = encode_greeting(Greeting(member, epoch)) + encode_report(end)
        self.assertEqual(decoder.feed(data[:5]) + decoder.feed(data[5:]), [end])
        self.assertEqual(heard, [Greeting(member, epoch)])

    def test_it_is_refused_by_who_does_not_expect_it_and_in_the_middle(self) -> None:
        greeting = encode_greeting(Greeting(1, 1))
        self.assertRaises(FrameError, ReportDecoder().feed, greeting)
        self.assertRaises(FrameError, ReportDecoder(lambda _: None).feed, encode_report(0) + greeting)

    def test_watermarks_are_understood_between_pieces_by_who_has_greeted(self) -> None:
        data = encode_watermark(7) + encode_piece_head(5, 2) + b"ab" + encode_watermark(9)
        decoder = PieceDecoder(greeted=True)
        pieces = [piece for at in range(len(data)) for piece in decoder.feed(data[at : at + 1])]
        self.assertEqual([tuple(piece) for piece in pieces], [(5, b"ab")])
        self.assertEqual(decoder.watermark, 9)
        self.assertRaises(FrameError, PieceDecoder().feed, data)


class StartTests(SynchronousTestCase):
    def test_what_only_autoFailover_needs_is_not_imported_without_it(self) -> None:
        program = (
            "import sys, rocketmq_tx.broker.service;"
            "sys.exit(any(name.startswith('kazoo') or name == 'rocketmq_tx.failover.automatic'"
            " for name in sys.modules))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", program], check=False).returncode, 0)
