"""What goes wrong around a promotion: operators at once, brokers that see each other in part, full disks."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from rocketmq_tx.broker.standing_still import HOLD_S
from rocketmq_tx.broker.stepping_aside import HOLD_S as MASTER_HOLD_S
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    DeleteTopicRequestHeader,
    PromoteRequestHeader,
    PullMessageRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from rocketmq_tx.protocol.message import decode_records
from tests.memory_broker import SUBSCRIPTION
from tests.simulator.world import BROKER_PORT, BrokerNode
from tests.unit.test_role_change_simulated import FIRST, FLUSHED, SECOND, PromotionCase


class ReturningWithoutRoomTests(PromotionCase):
    def test_a_disk_too_full_for_what_is_cut_stops_nothing_else(self) -> None:
        self.begin("ASYNC_MASTER")
        self.send(self.first, 20)
        self.wait_equal(self.first, self.second)
        self.world.network.partition(FIRST, SECOND)
        self.send(self.first, 7)
        self.first.kill()
        self.promote(self.second, force=True)
        self.send(self.second, 12)
        self.world.network.heal()
        self.first.disk.fail("write", "/cut/", errno.ENOSPC)
        self.first.start()
        self.world.run(20)
        self.assertIn("no room to write", self.first.parts.replication._follower._last_problem)
        jobs = self.first.parts.store_service._jobs
        self.assertEqual([job.name for job in jobs if not job.running], [])
        self.first.disk.heal()
        self.world.run(40)
        self.wait_equal(self.first, self.second)
        (name,) = [name for name in self.first.disk.names("/store/cut") if not name.endswith(".tmp")]
        self.assertTrue(name.startswith("epoch-0-from-"))


class OffsetTests(PromotionCase):
    def test_what_a_new_master_takes_is_not_skipped_where_consumers_were_further(self) -> None:
        """The slave has its master's offsets, and not the messages that they tell of."""
        self.begin("ASYNC_MASTER")
        self.send(self.first, 20)
        self.wait_equal(self.first, self.second)
        self.second.disk.fail("write", "commitlog", errno.ENOSPC)
        self.send(self.first, 20)
        consumed = UpdateConsumerOffsetRequestHeader(
            consumer_group="cg", topic="TopicTest", queue_id=0, commit_offset=10
        )
        self.client.ask(self.first.address, Frame.request(RequestCode.UPDATE_CONSUMER_OFFSET, consumed))
        self.world.run(15)
        offsets = self.second.parts.offsets
        self.assertEqual(offsets.query("cg", "TopicTest", 0), 10)
        self.first.kill()
        self.second.disk.heal()
        self.world.run(40)
        self.promote(self.second, force=True)
        self.assertEqual(self.second.store.queue_offsets("TopicTest", 0), (0, 5))
        self.assertEqual(offsets.query("cg", "TopicTest", 0), 5)
        self.second.kill()
        self.second.start()
        self.world.run(5)
        self.assertEqual(self.second.parts.offsets.query("cg", "TopicTest", 0), 5)


class NewTopicTests(PromotionCase):
    def test_a_topic_that_had_come_with_messages_only_is_served_by_the_new_master(self) -> None:
        """The master dies between the first messages of a topic and the word of the topic itself."""
        self.begin(**FLUSHED)
        self.assertEqual(set(self.send(self.first, 6)), {ResponseCode.SUCCESS})
        self.first.kill()
        topics = self.second.parts.topics
        self.assertIsNone(topics.get("TopicTest"))
        self.assertEqual(self.verdict(self.promote(self.second)), "COMPLETE")
        topic = topics.get("TopicTest")
        self.assertEqual((topic.read_queue_nums, topic.write_queue_nums), (8, 8))
        self.assertEqual(len(self.pulled(self.second)), 6)
        self.second.kill()
        self.second.start()
        self.world.run(5)
        self.assertEqual(len(self.pulled(self.second)), 6)

    def test_a_topic_that_was_deleted_stays_so(self) -> None:
        self.begin(**FLUSHED)
        self.send(self.first, 6)
        self.world.run(1)
        self.first.parts.topics.delete("TopicTest")
        self.world.run(100)
        self.client.send(self.first.address, b"a later one", topic="Another")
        self.world.run(20)
        self.first.kill()
        self.assertEqual(self.verdict(self.promote(self.second)), "COMPLETE")
        self.assertIsNone(self.second.parts.topics.get("TopicTest"))
        self.assertIsNotNone(self.second.parts.topics.get("Another"))

    def test_a_deletion_says_so_when_a_slave_gets_the_log_but_cannot_be_told(self) -> None:
        self.begin(**FLUSHED)
        self.send(self.first, 6)
        self.world.run(12)
        for end in list(self.world.network.ends):
            if end.process.host == SECOND and (end.there.host, end.there.port) == (FIRST, BROKER_PORT):
                end.peer.lose(ConnectionLost())
                end.lose(ConnectionLost())
        self.world.run(0.5)
        header = DeleteTopicRequestHeader(topic="TopicTest")
        frame = Frame.request(RequestCode.DELETE_TOPIC_IN_BROKER, header)
        answers = [self.client.ask(self.first.address, frame)]
        self.world.run(20)
        answers.append(self.client.ask(self.first.address, frame))
        self.world.run(1)
        missing, known = [self.successResultOf(answer) for answer in answers]
        self.assertEqual((missing.code, known.code), (ResponseCode.SUCCESS, ResponseCode.SUCCESS))
        self.assertIn(f"the slave at {SECOND} cannot be asked now", missing.remark)
        self.assertIsNone(known.remark)

    def pulled(self, node: BrokerNode) -> list[bytes]:
        """What a consumer gets of all queues."""
        found = []
        for queue_id in range(4):
            header = PullMessageRequestHeader(
                consumer_group="cg", topic="TopicTest", queue_id=queue_id, queue_offset=0, max_msg_nums=32,
                sys_flag=SUBSCRIPTION, commit_offset=0, suspend_timeout_millis=0, subscription="*",
                sub_version=0,
            )  # fmt: skip
            answer = self.client.ask(node.address, Frame.request(RequestCode.PULL_MESSAGE, header))
            self.world.run_until(lambda: answer.called, 5)  # noqa: B023
            frame = self.successResultOf(answer)
            found += decode_records(frame.body) if frame.code == ResponseCode.SUCCESS else []
        return [record.body for record in found]


class SeveralSlavesTests(PromotionCase):
    def ask_to_promote(self, node: BrokerNode, **fields: bool) -> Deferred[Any]:
        frame = Frame.request(RequestCode.PROMOTE, PromoteRequestHeader(**fields))
        return self.client.ask(node.address, frame, 60)

    def masters(self) -> list[BrokerNode]:
        return [node for node in (self.first, *self.slaves) if node.is_running and self.is_master(node)]

    def test_a_master_that_only_another_slave_reaches_acknowledges_nothing_during_a_promotion(self) -> None:
        self.begin(slaves=2, **FLUSHED)
        self.send(self.first, 20)
        self.world.network.partition(FIRST, SECOND)
        self.world.run(25)
        self.second.slow_disk(0.5, 0.5)  # a promotion takes its time
        answer = self.ask_to_promote(self.second)
        self.world.run(1.55)  # until it has asked everybody how far they are
        codes: list[int] = []
        while not answer.called:
            codes += self.send(self.first, 1, 0.02)
        codes += self.send(self.first, 5)
        self.assertEqual(self.verdict(self.successResultOf(answer)), "COMPLETE")
        self.assertNotIn(ResponseCode.SUCCESS, set(codes))
        self.world.network.heal()
        self.world.run(60)
        self.assertEqual(self.masters(), [self.second])
        self.wait_equal(self.first, *self.slaves)
        self.assert_nothing_acknowledged_is_lost(self.second)

    def test_of_two_slaves_that_are_promoted_at_once_one_at_most_becomes_master_of_an_epoch(self) -> None:
        for force in (False, True):
            for gap_s in (0.0, 0.001, 0.01, 0.1, 1.5, 3.0):
                self.begin(slaves=2)
                self.send(self.first, 5)
                self.first.kill()
                self.world.run(2)
                answers = [self.ask_to_promote(self.slaves[0], force=force)]
                self.world.run(gap_s)
                answers.append(self.ask_to_promote(self.slaves[1], force=force))
                self.world.run_until(lambda: all(each.called for each in answers), 60)  # noqa: B023
                codes = [self.successResultOf(each).code for each in answers]
                epochs = [node.parts.failover.roles.history.number for node in self.masters()]
                self.assertEqual(len(epochs), len(set(epochs)), (gap_s, force, codes))
                if not epochs:
                    self.promote(self.slaves[0])
                self.world.run(40)
                self.assertEqual(len(self.masters()), 1, (gap_s, force))
                self.wait_equal(*self.slaves)

    def test_a_master_that_hands_over_and_starts_again_waits_until_it_knows_what_came_of_it(self) -> None:
        self.begin(slaves=2, **FLUSHED)
        self.second.slow_disk(3.0, 3.0)
        self.send(self.first, 5)
        answer = self.ask_to_promote(self.second)
        self.assertTrue(self.world.run_until(lambda: self.first.store.refusal is not None, 5))
        self.world.run(0.2)  # the second has all of the log, and flushes it
        self.assertFalse(self.is_master(self.second))
        self.first.kill()
        self.first.start()
        codes: list[int] = []
        while not answer.called:
            codes += self.send(self.first, 3, 1.0)
        self.assertEqual(self.verdict(self.successResultOf(answer)), "HAND_OVER")
        self.assertNotIn(ResponseCode.SUCCESS, set(codes))
        self.world.run(30)
        self.assertEqual(self.masters(), [self.second])
        self.wait_equal(self.first, *self.slaves)
        self.assert_nothing_acknowledged_is_lost(self.second)

    def test_a_crash_at_any_change_of_the_disk_during_a_promotion_is_made_good_by_the_next_start(
        self,
    ) -> None:
        crashes = 0
        for after in range(100):
            self.begin(seed=after + 1, **FLUSHED)
            self.send(self.first, 5)
            self.second.crash_in(after, lost_power=bool(after % 2))
            self.ask_to_promote(self.second).addErrback(lambda _: None)
            self.world.run(4)
            if self.second.is_running:
                break
            crashes += 1
            self.second.start()
            self.world.run(MASTER_HOLD_S + 15)
            (master,) = self.masters()
            self.send(master)  # over a connection of which power was cut
            self.world.run(6)
            self.assertEqual(set(self.send(master, 5)), {0}, after)
            self.wait_equal(self.first, self.second)
            self.assert_nothing_acknowledged_is_lost(self.first)
        self.assertGreater(crashes, 15)

    def test_a_slave_is_no_second_master_where_another_may_have_taken_over_before_both_others_died(
        self,
    ) -> None:
        self.begin(slaves=2, **FLUSHED)
        self.send(self.first, 5)
        self.ask_to_promote(self.second).addErrback(lambda _: None)
        self.assertTrue(self.world.run_until(lambda: self.is_master(self.second), 10))
        self.second.kill()
        self.world.run(4)
        self.first.kill()
        self.world.run(1)
        answer = self.promote(self.slaves[1])
        self.assertIn(f"it was handing over to {self.second.address}", answer.remark)
        self.second.start()
        self.first.start()
        self.world.run(30)
        self.assertEqual(self.masters(), [self.second])
        self.wait_equal(self.first, *self.slaves)

    def test_a_master_that_is_agreed_on_hands_over_to_no_slave_that_does_not_take_part(self) -> None:
        self.begin()
        self.first.parts.settings.broker.auto_failover = "zookeeper://192.0.2.7:2181/x"
        answer = self.promote(self.second, force=True)
        self.assertIn("with autoFailover the brokers agree on who is master", answer.remark)
        self.assertEqual(self.masters(), [self.first])
        self.assertEqual(self.send(self.first), [0])

    def test_a_slave_that_stood_still_for_who_was_not_promoted_goes_on(self) -> None:
        self.begin(slaves=2)
        self.send(self.first, 5)
        self.world.network.partition(FIRST, SECOND)
        self.world.run(25)
        self.second.parts.settings.store.ha_listen_port = 10911  # which it has itself
        answer = self.promote(self.second)
        self.assertIn("cannot listen for slaves", answer.remark)
        self.world.run(10)
        self.assertEqual(set(self.send(self.first, 5)), {0})

    def test_a_slave_stands_still_until_it_knows_what_came_of_it(self) -> None:
        self.begin(slaves=2, **FLUSHED)
        self.send(self.first, 5)
        self.world.network.partition(FIRST, SECOND)
        self.world.run(25)
        self.second.slow_disk(5.0, 5.0)
        self.ask_to_promote(self.second).addErrback(lambda _: None)
        third = self.slaves[1].parts.failover._stepping_aside.still
        self.assertTrue(self.world.run_until(lambda: third.stands_for, 5))
        self.second.kill()
        self.world.run(HOLD_S + 20)
        self.assertNotIn(ResponseCode.SUCCESS, self.send(self.first, 3))
        self.second.slow_disk(0.0, 0.001)
        self.second.start()
        self.world.run(20)
        self.assertIsNone(third.stands_for)
        self.assertEqual(set(self.send(self.first, 5)), {0})
