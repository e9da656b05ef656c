"""Pulls on a real store: what is answered, what is held, and what wakes it."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import pull_handler
from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.protocol.codes import SerializeType
from rocketmq_tx.protocol.decoder import FrameDecoder
from rocketmq_tx.protocol.frame import ONEWAY_FLAG, Frame
from rocketmq_tx.protocol.message import decode_records
from tests.unit.read_parts import COMMIT, INLINE, SUSPEND, FakePeer, ReadingBroker, decoded

NUMBERS = {
    "next": "nextBeginOffset",
    "min": "minOffset",
    "max": "maxOffset",
    "broker": "suggestWhichBrokerId",
}


def offsets(answer: Frame) -> tuple[int, str | None, dict[str, int]]:
    """(code, remark, the four numbers of a pull's answer by their initials)."""
    fields = answer.ext_fields or {}
    names = {
        "next": "nextBeginOffset",
        "min": "minOffset",
        "max": "maxOffset",
        "broker": "suggestWhichBrokerId",
    }
    return answer.code, answer.remark, {short: int(fields[name]) for short, name in names.items()}


class PullCase(SynchronousTestCase):
    keys: dict[str, Any] = {}

    def setUp(self) -> None:
        self.broker = ReadingBroker(self.mktemp(), **self.keys)

    def answered(self, deferred: Deferred[bytes]) -> Frame:
        return decoded(self.successResultOf(deferred))

    def assert_offsets(
        self, answer: Frame, code: int, remark: str, next_: int, end: int, first: int = 0
    ) -> None:
        numbers = {"next": next_, "min": first, "max": end, "broker": 0}
        self.assertEqual(offsets(answer), (code, remark, numbers))


class Reading(PullCase):
    def test_a_pull_gets_the_records_as_they_are_stored(self) -> None:
        self.broker.send("TagA", "TagB")
        answer = self.broker.pull(0)
        self.assert_offsets(answer, 0, "FOUND", next_=2, end=2)
        self.assertEqual([record.body for record in decode_records(answer.body)], [b"hello", b"hello"])
        self.assertEqual(answer.opaque, 7)

    def test_both_serializations_say_the_same(self) -> None:
        self.broker.send("TagA")
        answers = [self.broker.pull(0, serialize=serialize) for serialize in SerializeType]
        self.assertEqual([answer.serialize for answer in answers], list(SerializeType))
        self.assertEqual(offsets(answers[0]), offsets(answers[1]))
        self.assertEqual(answers[0].body, answers[1].body)

    def test_an_answer_holds_at_most_32_messages_whatever_was_asked_for(self) -> None:
        self.broker.send(*["TagA"] * 50)
        self.assert_offsets(self.broker.pull(0, maxMsgNums=1000), 0, "FOUND", next_=32, end=50)

    def test_the_first_message_is_given_even_to_who_wants_none(self) -> None:
        self.broker.send("TagA", "TagA")
        self.assert_offsets(self.broker.pull(0, maxMsgNums=0), 0, "FOUND", next_=1, end=2)

    def test_only_wanted_tags_are_sent_and_the_others_are_passed(self) -> None:
        self.broker.send("TagA", "TagB", "TagA", "TagC")
        answer = self.broker.pull(0, subscription="TagB || TagC")
        self.assert_offsets(answer, 0, "FOUND", next_=4, end=4)
        self.assertEqual([record.queue_offset for record in decode_records(answer.body)], [1, 3])

    def test_where_no_tag_is_wanted_the_consumer_goes_on_behind_them_at_once(self) -> None:
        self.broker.send("TagA", "TagA")
        answer = self.broker.pull(0, INLINE | SUSPEND, subscription="TagB")
        self.assert_offsets(answer, 20, "NO_MATCHED_MESSAGE", next_=2, end=2)

    def test_one_way_pulls_commit_but_get_no_answer(self) -> None:
        frame = self.broker.request(0, INLINE | COMMIT, commitOffset=9)
        frame.flag |= ONEWAY_FLAG
        self.assertEqual(self.broker.pulls.pull_all(self.broker.peer, [frame]), [])
        self.assertEqual(self.broker.offsets.query("g", "t", 0), 9)

    def test_a_pull_that_cannot_be_served_disturbs_no_other_of_its_run(self) -> None:
        self.broker.send("TagA")
        run = [
            self.broker.request(0, queueOffset="abc"),
            self.broker.request(0, topic=None),
            self.broker.request(0, topic="none"),
            self.broker.request(0, maxMsgNums=-1),
            self.broker.request(0),
        ]
        pieces: list[Any] = list(self.broker.pulls.pull_all(self.broker.peer, run))
        ((_, answers),) = FrameDecoder().feed(b"".join(pieces))
        self.assertEqual([answer.code for answer in answers], [1, 1, 17, 1, 0])
        self.assertIn("queueOffset", answers[0].remark or "")
        self.assertIn("topic", answers[1].remark or "")
        self.assertEqual([answer.ext_fields for answer in answers[:4]], [None, None, {}, None])

    def test_traffic_is_counted(self) -> None:
        self.broker.send("TagA", "TagA")
        found = self.broker.pull(0)
        self.broker.pull(2)
        traffic = self.broker.pulls.traffic
        self.assertEqual((traffic.found, traffic.missed, traffic.messages), (1, 1, 2))
        self.assertEqual(traffic.bytes, len(found.body))


class Corrections(PullCase):
    def setUp(self) -> None:
        super().setUp()
        self.broker.send("TagA", "TagA", "TagA")

    def test_the_end_of_the_queue_is_no_error(self) -> None:
        self.assert_offsets(self.broker.pull(3), 19, "OFFSET_OVERFLOW_ONE", next_=3, end=3)

    def test_behind_the_end_leads_back_to_it(self) -> None:
        self.assert_offsets(self.broker.pull(99), 21, "OFFSET_OVERFLOW_BADLY", next_=3, end=3)

    def test_before_the_beginning_leads_to_it(self) -> None:
        self.assert_offsets(self.broker.pull(-1), 21, "OFFSET_TOO_SMALL", next_=0, end=3)

    def test_an_empty_queue_begins_at_0(self) -> None:
        self.assert_offsets(self.broker.pull(0, queueId=3), 19, "NO_MESSAGE_IN_QUEUE", next_=0, end=0)
        self.assert_offsets(self.broker.pull(5, queueId=3), 21, "NO_MESSAGE_IN_QUEUE", next_=0, end=0)

    def test_operators_find_each_correction_as_a_message(self) -> None:
        self.broker.pull(99)
        read = self.broker.store.get_messages("OFFSET_MOVED_EVENT", 0, 0, 32)
        (record,) = decode_records(read.body)
        self.assertEqual(
            record.body,
            b'{"consumerGroup":"g","messageQueue":{"brokerName":"broker-a","queueId":0,"topic":"t"},'
            b'"offsetNew":3,"offsetRequest":99}',
        )
        self.assertEqual(record.properties, b"KEYS\x01g\x02DELAY\x010\x02TAGS\x01g")

    def test_a_correction_is_answered_even_when_it_cannot_be_written_down(self) -> None:
        self.broker.store.refuse("test", "the disk is full")
        self.assert_offsets(self.broker.pull(99), 21, "OFFSET_OVERFLOW_BADLY", next_=3, end=3)
        self.broker.store.accept("test")
        self.broker.pull(99)
        self.assertEqual(self.broker.store.queue_offsets("OFFSET_MOVED_EVENT", 0), (0, 1))

    def test_a_long_poll_is_corrected_at_once(self) -> None:
        answer = self.broker.pull(99, INLINE | SUSPEND)
        self.assert_offsets(answer, 21, "OFFSET_OVERFLOW_BADLY", next_=3, end=3)


class ReadingFromASlave(PullCase):
    keys = {"brokerRole": "SLAVE", "brokerId": 1}

    def test_a_slave_corrects_nobody_and_commits_nothing(self) -> None:
        answer = self.broker.pull(5, INLINE | COMMIT, commitOffset=9)
        self.assertEqual(offsets(answer)[:2], (20, "NO_MESSAGE_IN_QUEUE"))
        self.assertEqual(offsets(answer)[2]["next"], 5)
        self.assertEqual(self.broker.offsets.query("g", "t", 0), -1)


class CommittingOnTheWay(PullCase):
    def test_the_offset_is_committed_whatever_the_pull_finds(self) -> None:
        for offset, queue_offset in ((5, 0), (6, 99)):
            self.broker.pull(queue_offset, INLINE | COMMIT, commitOffset=offset)
            self.assertEqual(self.broker.offsets.query("g", "t", 0), offset)
        self.broker.hold(0, sysFlag=INLINE | SUSPEND | COMMIT, commitOffset=7)
        self.assertEqual(self.broker.offsets.query("g", "t", 0), 7)

    def test_without_the_flag_or_with_a_failed_check_nothing_is_committed(self) -> None:
        self.broker.pull(0, INLINE, commitOffset=5)
        self.broker.pull(0, INLINE | COMMIT, commitOffset=5, queueId=99)
        self.assertEqual(self.broker.offsets.topics_of("g"), [])

    def test_waking_up_commits_nothing_again(self) -> None:
        held = self.broker.hold(0, sysFlag=INLINE | SUSPEND | COMMIT, commitOffset=7)
        self.broker.offsets.commit("g", "t", 0, 8)
        self.broker.send("TagA")
        self.answered(held)
        self.assertEqual(self.broker.offsets.query("g", "t", 0), 8)


class LongPolling(PullCase):
    def test_a_message_answers_a_held_pull_in_the_turn_of_its_arrival(self) -> None:
        held = self.broker.hold(0)
        self.assertNoResult(held)
        self.broker.send("TagA")
        self.assert_offsets(self.answered(held), 0, "FOUND", next_=1, end=1)
        self.assertEqual(len(self.broker.held), 0)

    def test_a_held_pull_is_answered_empty_when_its_time_is_up(self) -> None:
        held = self.broker.hold(0, suspendTimeoutMillis=15_000)
        self.broker.clock.pump([5.0, 5.0, 4.9])
        self.assertNoResult(held)
        self.broker.clock.advance(0.2)
        self.assert_offsets(self.answered(held), 19, "NO_MESSAGE_IN_QUEUE", next_=0, end=0)

    def test_a_message_of_another_tag_keeps_it_held_and_is_not_tested_again(self) -> None:
        held = self.broker.hold(0, subscription="TagB")
        self.broker.send("TagA", "TagC")
        self.assertNoResult(held)
        with mock.patch.object(
            self.broker.store, "get_messages", wraps=self.broker.store.get_messages
        ) as get:
            self.broker.send("TagB")
        self.assertEqual(get.call_args.args[2], 2)
        answer = self.answered(held)
        self.assert_offsets(answer, 0, "FOUND", next_=3, end=3)
        self.assertEqual([record.queue_offset for record in decode_records(answer.body)], [2])

    def test_at_its_time_out_it_is_sent_behind_what_was_tested(self) -> None:
        held = self.broker.hold(0, subscription="TagB")
        self.broker.send("TagA", "TagA")
        self.broker.clock.advance(15.0)
        self.assert_offsets(self.answered(held), 20, "NO_MATCHED_MESSAGE", next_=2, end=2)

    def test_a_long_stretch_of_other_tags_is_left_to_the_next_pull(self) -> None:
        held = self.broker.hold(0, subscription="TagB")
        self.broker.send(*["TagA"] * 1000)
        self.assert_offsets(self.answered(held), 20, "NO_MATCHED_MESSAGE", next_=800, end=1000)

    def test_without_long_polling_it_is_held_for_the_short_time(self) -> None:
        self.broker.settings.broker.long_polling_enable = False
        held = self.broker.hold(0, suspendTimeoutMillis=15_000)
        self.broker.clock.advance(1.0)
        self.assert_offsets(self.answered(held), 19, "NO_MESSAGE_IN_QUEUE", next_=0, end=0)

    def test_what_changed_meanwhile_is_checked_again(self) -> None:
        held = self.broker.hold(0)
        self.broker.groups["g"].consume_enable = False
        self.broker.send("TagA")
        self.assertEqual(self.answered(held).remark, "subscription group no permission, g")

    def test_a_deleted_topic_is_told_at_the_time_out(self) -> None:
        held = self.broker.hold(0)
        del self.broker.topics["t"]
        self.broker.clock.advance(15.0)
        self.assertEqual(self.answered(held).code, 17)

    def test_a_lost_connection_takes_its_held_pulls_along(self) -> None:
        peer: Any = FakePeer(port=41_000)
        gone, stays = self.broker.hold(0, peer), self.broker.hold(0)
        self.broker.held.connection_lost(peer, "reset")
        self.broker.send("TagA")
        self.assertNoResult(gone)
        self.assertEqual(self.answered(stays).code, 0)

    def test_a_stop_answers_held_pulls(self) -> None:
        held = self.broker.hold(0)
        self.broker.arrivals.release_all()
        self.assertEqual(self.answered(held).code, 19)


class ColdReads(PullCase):
    def cold(self, times: int) -> Any:
        """The store says `times` times that bytes are not in memory, then answers."""
        real = self.broker.store.get_messages
        asked: list[bool] = []

        def get_messages(*arguments: Any) -> Any:
            may_block = arguments[5]
            asked.append(may_block)
            if len(asked) <= times and not may_block:
                raise WouldBlock("commitlog/0", 0, 100)
            return real(*arguments)

        self.patch(self.broker.store, "get_messages", get_messages)
        return asked

    def test_cold_bytes_are_warmed_off_the_reactor_and_asked_for_again(self) -> None:
        self.broker.send("TagA")
        asked = self.cold(1)
        warmed: list[WouldBlock] = []
        self.patch(self.broker.store, "warm", warmed.append)
        answer = self.broker.begin(self.broker.request(0))
        assert isinstance(answer, Deferred)
        self.assert_offsets(self.answered(answer), 0, "FOUND", next_=1, end=1)
        self.assertEqual((len(warmed), asked), (1, [False, False]))

    def test_bytes_that_do_not_stay_warm_are_read_in_the_end_all_the_same(self) -> None:
        self.broker.send("TagA")
        asked = self.cold(100)
        self.patch(self.broker.store, "warm", lambda error: None)
        answer = self.broker.begin(self.broker.request(0))
        assert isinstance(answer, Deferred)
        self.assertEqual(self.answered(answer).code, 0)
        self.assertEqual(asked, [False] * pull_handler.COLD_READS_MAX + [True])

    def test_bytes_that_cannot_be_read_are_left_to_the_store_which_finds_the_record(self) -> None:
        self.broker.send("TagA")
        asked = self.cold(1)
        self.patch(self.broker.pulls, "_off_reactor", lambda call, error: fail(StoreError("EIO at 0")))
        answer = self.broker.begin(self.broker.request(0))
        assert isinstance(answer, Deferred)
        self.assertEqual(self.answered(answer).code, 0)
        self.assertEqual(asked, [False, True])

    def test_a_disk_that_cannot_be_read_at_all_is_said_to_the_consumer(self) -> None:
        self.broker.send("TagA")

        def get_messages(*arguments: Any) -> Any:
            raise StoreError("EIO at 0") if arguments[5] else WouldBlock("commitlog/0", 0, 100)

        self.patch(self.broker.store, "get_messages", get_messages)
        self.patch(self.broker.pulls, "_off_reactor", lambda call, error: fail(StoreError("EIO at 0")))
        answer = self.broker.begin(self.broker.request(0))
        assert isinstance(answer, Deferred)
        frame = self.answered(answer)
        self.assertEqual((frame.code, frame.remark), (1, "EIO at 0"))

    def test_a_held_pull_may_meet_cold_bytes_too(self) -> None:
        held = self.broker.hold(0)
        self.cold(1)
        self.patch(self.broker.store, "warm", lambda error: None)
        self.broker.send("TagA")
        self.assertEqual(self.answered(held).code, 0)
