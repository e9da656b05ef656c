"""A slave is promoted, a former master comes back: whole brokers on simulated network, disks and time."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.stepping_aside import HOLD_S
from rocketmq_tx.protocol.bodies import ClusterInfo
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    PromoteRequestHeader,
    PromoteResponseHeader,
)
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.protocol.properties import encode_properties
from tests.send_headers import send_header
from tests.simulator.world import BrokerNode, World

NAME_SERVER, FIRST, SECOND, THIRD, CLIENT = (f"192.0.2.{number}" for number in (9, 1, 2, 3, 8))
FLUSHED = {"flushDiskType": "SYNC_FLUSH"}


class PromotionCase(SynchronousTestCase):
    """`first` begins as the master, `second` (and `third`) as its slaves."""

    def begin(self, role: str = "SYNC_MASTER", slaves: int = 1, seed: int = 1, **keys: Any) -> None:
        self.world = world = World(seed)
        world.name_server(NAME_SERVER)
        self.client = world.client(CLIENT)
        self.sent = 0
        self.acknowledged: list[bytes] = []
        self.first = world.broker(FIRST, brokerRole=role, **keys)
        self.slaves = [
            world.broker(host, brokerRole="SLAVE", brokerId=number, **keys)
            for number, host in enumerate((SECOND, THIRD)[:slaves], 1)
        ]
        self.second = self.slaves[0]
        world.run(8)

    def send(self, node: BrokerNode, count: int = 1, most_s: float = 10) -> list[int]:
        """The codes of the answers, in order; -1 for none."""
        answers = []
        for _ in range(count):
            self.sent += 1
            body = b"%d-" % self.sent + b"x" * 200
            answers.append((body, self.client.send(node.address, body, queue_id=self.sent % 4)))
        self.world.run_until(lambda: all(answer.called for _, answer in answers), most_s)
        codes = []
        for body, answer in answers:
            code = getattr(getattr(answer, "result", None), "code", -1)
            answer.addErrback(lambda _: None)
            codes.append(code)
            if code == ResponseCode.SUCCESS:
                self.acknowledged.append(body)
        return codes

    def promote(self, node: BrokerNode, most_s: float = 60, **fields: bool) -> Frame:
        """The answer to PROMOTE."""
        frame = Frame.request(RequestCode.PROMOTE, PromoteRequestHeader(**fields))
        answer: Deferred[Frame] = self.client.ask(node.address, frame, most_s)
        self.assertTrue(self.world.run_until(lambda: answer.called, most_s))
        return self.successResultOf(answer)

    def verdict(self, answer: Frame) -> str:
        self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)
        return PromoteResponseHeader.from_ext_fields(answer.ext_fields).verdict

    def is_master(self, node: BrokerNode) -> bool:
        return node.parts.settings.store.broker_role.is_master

    def wait_equal(self, *nodes: BrokerNode, most_s: float = 90) -> None:
        """Until all have the same log, and one of them is the master."""
        master = next(node for node in nodes if self.is_master(node))

        def equal() -> bool:
            end = master.store.written_to
            ends = {node.store.written_to for node in nodes}
            return ends == {end} and len({node.log(0, end) for node in nodes}) == 1

        if not self.world.run_until(equal, most_s):
            self.fail(f"logs end at {[node.store.written_to for node in nodes]}")

    def bodies(self, node: BrokerNode) -> list[bytes]:
        found = []
        for topic, queue_id in node.store.queues():
            offset, end = node.store.queue_offsets(topic, queue_id)
            while offset < end:
                entry = node.store.entry_at(topic, queue_id, offset)
                found.append(node.store.record_at(entry[0]))
                offset += 1
        return found

    def assert_nothing_acknowledged_is_lost(self, node: BrokerNode) -> None:
        records = b"".join(self.bodies(node))
        self.assertEqual([body for body in self.acknowledged if body not in records], [])

    def route(self) -> dict[int, str]:
        """Addresses by brokerId, as the NameServer tells clients."""
        frame = Frame.request(RequestCode.GET_BROKER_CLUSTER_INFO)
        answer = self.client.ask(self.world.name_servers[0], frame, 3)
        self.world.run_until(lambda: answer.called, 3)
        table = ClusterInfo.from_bytes(self.successResultOf(answer).body).broker_addr_table
        (data,) = table.values()
        return {int(number): address for number, address in data.broker_addrs.items()}

    def begin_with_a_master_that_has_lost_its_store(self) -> None:
        """The slave has five messages of it."""
        self.begin("ASYNC_MASTER")
        self.send(self.first, 5)
        self.wait_equal(self.first, self.second)
        self.first.kill()
        self.first.disk = type(self.first.disk)()
        self.first.start()
        self.world.run(2)


class LiveMasterTests(PromotionCase):
    def test_a_live_master_hands_over_and_becomes_the_slave(self) -> None:
        for role in ("SYNC_MASTER", "ASYNC_MASTER"):
            self.begin(role)
            self.assertEqual(set(self.send(self.first, 50)), {0})
            self.assertEqual(self.verdict(self.promote(self.second)), "HAND_OVER")
            self.world.run(3)
            self.assertEqual((self.is_master(self.first), self.is_master(self.second)), (False, True))
            self.assertEqual(self.second.parts.settings.store.broker_role.value, role)
            self.assertEqual(self.route(), {0: self.second.address, 1: self.first.address})
            self.assertEqual(self.send(self.first), [ResponseCode.SERVICE_NOT_AVAILABLE])
            self.assertEqual(set(self.send(self.second, 50)), {0})
            self.wait_equal(self.first, self.second)
            self.assert_nothing_acknowledged_is_lost(self.first)
            self.assertEqual(self.first.disk.names("/store/cut"), [])

    def test_nothing_is_lost_under_load(self) -> None:
        self.begin("ASYNC_MASTER")
        codes: list[int] = []
        for turn in range(40):
            if turn == 10:
                frame = Frame.request(RequestCode.PROMOTE, PromoteRequestHeader())
                answer = self.client.ask(self.second.address, frame, 60)
            node = self.second if self.is_master(self.second) else self.first
            codes += self.send(node, 20, 0.02)
        self.world.run(3)
        self.assertEqual(self.verdict(self.successResultOf(answer)), "HAND_OVER")
        self.assertGreater(codes.count(0), 300)
        self.wait_equal(self.first, self.second)
        self.assert_nothing_acknowledged_is_lost(self.second)
        self.assertEqual(self.first.disk.names("/store/cut"), [])

    def test_the_place_goes_to_and_fro_and_the_third_follows(self) -> None:
        self.begin(slaves=2)
        third = self.slaves[1]
        master, other = self.first, self.second
        for epoch in range(1, 5):
            self.assertEqual(set(self.send(master, 10)), {0})
            self.promote(other)
            master, other = other, master
            self.world.run(40)
            self.assertEqual(set(self.send(master, 10)), {0})
            self.wait_equal(self.first, self.second, third)
            self.assertEqual(master.parts.failover.roles.history.number, epoch)
            self.assertEqual(self.route(), {0: master.address, 1: other.address, 2: third.address})
        self.promote(third)
        self.world.run(40)
        self.assertEqual(self.route(), {0: third.address, 1: other.address, 2: master.address})
        self.assertEqual(set(self.send(third, 10)), {0})
        self.wait_equal(self.first, self.second, third)
        histories = {node.parts.failover.roles.history.to_text() for node in (self.first, self.second, third)}
        self.assertEqual(len(histories), 1)
        self.assert_nothing_acknowledged_is_lost(self.first)

    def test_only_asking_changes_nothing(self) -> None:
        self.begin()
        self.send(self.first, 5)
        answer = self.promote(self.second, only_ask=True)
        self.assertEqual(self.verdict(answer), "HAND_OVER")
        self.assertEqual([member["role"] for member in json.loads(answer.body)], ["SLAVE", "SYNC_MASTER"])
        self.world.run(5)
        self.assertEqual(self.send(self.first), [0])
        self.assertEqual(self.second.disk.file_size("/store/config/epochs.json"), None)

    def test_a_master_whose_slave_does_not_come_back_for_its_place_goes_on(self) -> None:
        """The slave dies between the handing over and the promotion."""
        self.begin("ASYNC_MASTER", **FLUSHED)
        self.second.slow_disk(5.0, 5.0)
        self.send(self.first, 5)
        frame = Frame.request(RequestCode.PROMOTE, PromoteRequestHeader())
        self.client.ask(self.second.address, frame, 60).addErrback(lambda _: None)
        self.world.run(1)
        self.second.kill()
        self.assertEqual(self.send(self.first), [ResponseCode.SERVICE_NOT_AVAILABLE])
        self.second.start()
        self.world.run(HOLD_S + 5)
        self.assertEqual(self.send(self.first), [0])

    def test_a_master_that_handed_over_does_not_forget_it_by_a_start(self) -> None:
        """Its successor took over and was killed before anybody heard of it."""
        self.begin("ASYNC_MASTER", **FLUSHED)
        self.second.slow_disk(1.0, 1.0)
        self.send(self.first, 5)
        frame = Frame.request(RequestCode.PROMOTE, PromoteRequestHeader())
        self.client.ask(self.second.address, frame, 60).addErrback(lambda _: None)
        self.world.run_until(lambda: self.first.store.refusal is not None, 5)
        self.world.run(0.2)
        self.assertFalse(self.is_master(self.second))
        self.first.kill()
        self.world.run_until(lambda: self.is_master(self.second), 10)
        self.second.kill()
        self.first.start()
        self.world.run(20)
        self.assertEqual(self.send(self.first), [ResponseCode.SERVICE_NOT_AVAILABLE])
        self.second.slow_disk(0.0, 0.001)
        self.second.start()
        self.world.run(20)
        self.assertEqual((self.is_master(self.first), self.is_master(self.second)), (False, True))
        self.assertEqual(set(self.send(self.second, 5)), {0})
        self.wait_equal(self.first, self.second)

    def test_a_slave_whose_log_differs_is_not_handed_over_to(self) -> None:
        self.begin_with_a_master_that_has_lost_its_store()
        self.send(self.first, 3)
        answer = self.promote(self.second)
        self.assertEqual(answer.code, ResponseCode.SYSTEM_ERROR)
        self.assertIn("this slave's log differs from the master's", answer.remark)
        self.assertEqual(self.send(self.first), [0])

    def test_a_slave_without_its_port_stays_a_slave_and_the_master_goes_on(self) -> None:
        self.begin()
        self.second.parts.settings.store.ha_listen_port = 10911  # which it has itself
        answer = self.promote(self.second)
        self.assertEqual(answer.code, ResponseCode.SYSTEM_ERROR)
        self.assertIn("cannot listen for slaves", answer.remark)
        self.world.run(5)
        self.assertEqual(set(self.send(self.first, 5)), {0})
        self.wait_equal(self.first, self.second)


class WaitingMessageTests(PromotionCase):
    def send_with(self, node: BrokerNode, body: bytes, **properties: str) -> None:
        header = send_header(
            "Waiting",
            default_topic_queue_nums=1,
            born_timestamp=self.world.now_ms(),
            properties=encode_properties(properties),
        )
        frame = Frame.request(RequestCode.SEND_MESSAGE_V2, header, body)
        answer = self.client.ask(node.address, frame)
        self.assertTrue(self.world.run_until(lambda: answer.called, 5))
        self.assertEqual(self.successResultOf(answer).code, 0)

    def delivered(self, node: BrokerNode) -> list[bytes]:
        found = node.store.get_messages("Waiting", 0, 0, 32, may_block=True)
        return [record.body for record in decode_records(found.body)]

    def test_what_waits_for_its_time_is_delivered_once_by_whoever_is_master_then(self) -> None:
        self.begin(messageDelayLevel="5s 20s 60s")
        for number, seconds in ((1, 5), (2, 20), (3, 60)):
            self.send_with(self.first, b"level-%d" % number, DELAY=str(number))
            self.send_with(self.first, b"timer-%d" % number, TIMER_DELAY_SEC=str(seconds))
        self.world.run(10)
        self.promote(self.second)
        self.world.run(20)
        self.assertEqual(len(self.delivered(self.second)), 4)
        self.promote(self.first)
        self.world.run(60)
        self.wait_equal(self.first, self.second)
        wanted = [f"{kind}-{number}".encode() for kind in ("level", "timer") for number in (1, 2, 3)]
        self.assertEqual(sorted(self.delivered(self.first)), wanted)


class DeadMasterTests(PromotionCase):
    def test_under_double_write_a_slave_proves_that_it_has_everything(self) -> None:
        self.begin()
        self.send(self.first, 50)
        self.first.kill()
        self.world.run(2)
        self.assertEqual(self.verdict(self.promote(self.second)), "COMPLETE")
        self.assertEqual(self.send(self.second), [ResponseCode.SLAVE_NOT_AVAILABLE])
        self.assert_nothing_acknowledged_is_lost(self.second)

    def test_where_it_cannot_be_told_force_is_needed(self) -> None:
        self.begin("ASYNC_MASTER")
        self.send(self.first, 5)
        self.first.kill()
        answer = self.promote(self.second)
        self.assertEqual(answer.code, ResponseCode.SYSTEM_ERROR)
        self.assertIn("ASYNC_MASTER", answer.remark)
        self.assertFalse(self.is_master(self.second))
        self.assertEqual(self.verdict(self.promote(self.second, force=True)), "UNKNOWN")
        self.assertEqual(self.send(self.second), [0])

    def test_a_slave_that_was_started_again_meanwhile_cannot_tell(self) -> None:
        self.begin()
        self.first.kill()
        self.second.kill()
        self.second.start()
        self.world.run(3)
        answer = self.promote(self.second)
        self.assertIn("never told", answer.remark)

    def test_another_slave_that_has_more_is_named(self) -> None:
        self.begin(slaves=2)
        third = self.slaves[1]
        self.send(self.first, 5)
        self.world.network.partition(FIRST, SECOND)
        self.assertEqual(set(self.send(self.first, 5)), {0})
        self.first.kill()
        self.world.network.heal()
        answer = self.promote(self.second)
        self.assertEqual(answer.code, ResponseCode.SYSTEM_ERROR)
        self.assertIn(f"{third.address} has more", answer.remark)
        self.assertEqual(self.verdict(self.promote(third)), "COMPLETE")
        self.assert_nothing_acknowledged_is_lost(third)
        self.world.run(40)
        self.wait_equal(self.second, third)

    def test_a_slave_that_is_silent_may_have_more(self) -> None:
        self.begin(slaves=2)
        self.send(self.first, 5)
        self.first.kill()
        self.world.network.partition(SECOND, THIRD)
        answer = self.promote(self.second)
        self.assertIn("does not say how far it is, and may have more", answer.remark)


class ReturningTests(PromotionCase):
    def diverge(self, **keys: Any) -> bytes:
        """The first has a tail that the second, which is master now, has not; returns the first's log."""
        self.begin("ASYNC_MASTER", **keys)
        self.send(self.first, 20)
        self.wait_equal(self.first, self.second)
        self.world.network.partition(FIRST, SECOND)
        self.send(self.first, 7)
        log = self.first.log(0, self.first.store.written_to)
        self.shared = self.second.store.written_to
        self.first.kill()
        self.promote(self.second, force=True)
        self.acknowledged = []
        self.assertEqual(set(self.send(self.second, 12)), {0})
        self.world.network.heal()
        return log

    def test_a_former_master_sets_its_tail_aside_and_follows(self) -> None:
        log = self.diverge()
        self.first.start()
        self.world.run(10)
        self.assertFalse(self.is_master(self.first))
        self.wait_equal(self.first, self.second)
        (name,) = self.first.disk.names("/store/cut")
        self.assertEqual(name, f"epoch-0-from-{self.shared}.log")
        self.assertEqual(self.first.disk.content(f"/store/cut/{name}"), log[self.shared :])
        self.assertEqual(set(self.send(self.second, 5)), {0})
        self.wait_equal(self.first, self.second)
        self.assertEqual(sorted(self.bodies(self.first)), sorted(self.bodies(self.second)))
        self.assertEqual(self.route(), {0: self.second.address, 1: self.first.address})

    def test_a_former_master_takes_no_message_after_its_start(self) -> None:
        self.diverge()
        self.first.start()
        self.world.run_until(lambda: self.first.tree.phase.value == "running", 10)
        self.assertEqual(self.send(self.first), [ResponseCode.SERVICE_NOT_AVAILABLE])

    def test_a_crash_at_any_change_of_the_disk_while_it_returns_is_made_good_by_the_next_start(self) -> None:
        log = self.diverge()
        image = self.first.disk
        self.first.disk = type(image)(image.after_kill())
        before = self.first.disk.changes
        self.first.start()
        self.world.run(12)
        self.wait_equal(self.first, self.second)
        changes = self.first.disk.changes - before
        self.first.kill()
        self.assertGreater(changes, 20)
        for after in range(changes):
            for loses_power in (False, True):
                self.first.disk = type(image)(image.after_kill())
                self.first.crash_in(after, loses_power)
                self.first.start().addErrback(lambda _: None)
                self.world.run_until(lambda: not self.first.is_running, 12)
                self.first.kill()
                self.first.start()
                self.world.run(2)
                self.wait_equal(self.first, self.second)
                why = f"crashed after {after} changes, power lost: {loses_power}"
                self.assertEqual(sorted(self.bodies(self.first)), sorted(self.bodies(self.second)), why)
                (name,) = [name for name in self.first.disk.names("/store/cut") if not name.endswith(".tmp")]
                self.assertEqual(self.first.disk.content(f"/store/cut/{name}"), log[self.shared :], why)
                self.first.kill()

    def test_a_master_that_was_cut_off_steps_down_when_it_is_reached(self) -> None:
        """Row 37 of the faults, by hand: it took messages meanwhile; with force that was said beforehand."""
        self.begin("ASYNC_MASTER")
        self.send(self.first, 10)
        self.world.network.partition(FIRST, SECOND, NAME_SERVER)
        self.promote(self.second, force=True)
        self.send(self.first, 5)
        self.acknowledged = []
        self.send(self.second, 5)
        self.world.network.heal()
        self.world.run(40)
        self.assertEqual((self.is_master(self.first), self.is_master(self.second)), (False, True))
        self.wait_equal(self.first, self.second)
        self.assertEqual(len(self.first.disk.names("/store/cut")), 1)
        self.assert_nothing_acknowledged_is_lost(self.first)

    def test_a_former_master_may_be_promoted_again_after_its_return(self) -> None:
        self.diverge()
        self.first.start()
        self.world.run(10)
        self.wait_equal(self.first, self.second)
        self.promote(self.first)
        self.world.run(3)
        self.assertEqual(set(self.send(self.first, 10)), {0})
        self.wait_equal(self.first, self.second)
        self.assertEqual(self.first.parts.failover.roles.history.number, 2)

    def test_a_promoted_broker_comes_up_as_a_master_with_its_old_configuration(self) -> None:
        self.begin()
        self.promote(self.second)
        self.world.run(3)
        for node in (self.first, self.second):
            node.kill()
        self.second.start()
        self.first.start()
        self.world.run(10)
        self.assertEqual((self.is_master(self.first), self.is_master(self.second)), (False, True))
        self.assertEqual(set(self.send(self.second, 5)), {0})
        self.wait_equal(self.first, self.second)


class UnusedTests(PromotionCase):
    def test_without_a_promotion_nothing_of_it_is_on_disk_or_at_the_name_server(self) -> None:
        self.begin(slaves=2)
        self.send(self.first, 20)
        self.world.run(60)
        for node in (self.first, *self.slaves):
            names = [path for path in node.disk.nodes if "epoch" in path or "/cut" in path]
            self.assertEqual(names, [])
            self.assertFalse(node.parts.failover.roles.is_used)

    def test_logs_that_differ_are_left_alone(self) -> None:
        self.begin_with_a_master_that_has_lost_its_store()
        end = self.second.store.written_to
        self.send(self.first, 20)
        self.world.run(60)
        self.assertEqual(self.second.store.written_to, end)
        self.assertIn("replication is stopped", self.second.parts.replication._follower._last_problem)
