"""Random interleavings of sends, pulls, messages handed back, time, restarts, crashes and power cuts.

Whatever happens, every message that was acknowledged is consumed at least once or lies in the dead letter
queue, and the undelayed ones of a queue stand there in the order in which they were sent.
"""

from __future__ import annotations

import random

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import QueryConsumerOffsetRequestHeader, UpdateConsumerOffsetRequestHeader
from rocketmq_tx.protocol.message import decode_records
from tests.memory_broker import MemoryBroker
from tests.memory_disk import MemoryDisk

GROUP, TOPIC, RETRY, DLQ = "cg", "Orders", "%RETRY%cg", "%DLQ%cg"
RETRIES = 2
LONGER_THAN_ANY_DELAY_S = 7300

STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from([0, 0, 1, 2, 3])),
    st.tuples(st.sampled_from(["consume", "hand_back"]), st.sampled_from([TOPIC, RETRY])),
    st.tuples(st.just("pass_time"), st.sampled_from([0.3, 1.0, 6.0, 11.0])),
    st.tuples(st.sampled_from(["restart", "kill", "rejoin"]), st.none()),
    st.tuples(st.just("power_cut"), st.integers(0, 1000)),
    st.tuples(st.just("set_clock"), st.sampled_from([-3600, 0, 3600])),
)


@attrs.define
class World:
    """One broker after the other on one disk, and a consumer that remembers what it has done."""

    broker: MemoryBroker
    sent: list[bytes] = attrs.Factory(list)
    undelayed: list[bytes] = attrs.Factory(list)
    consumed: set[bytes] = attrs.Factory(set)
    next_offsets: dict[str, int] = attrs.Factory(dict)

    # -- steps -------------------------------------------------------------------------------------------

    def send(self, level: int) -> None:
        body = b"%04d" % len(self.sent)
        answer = self.broker.send(body, TOPIC, properties={"DELAY": str(level)} if level else {})
        assert answer.code == 0, answer.remark
        self.sent.append(body)
        if not level:
            self.undelayed.append(body)

    def consume(self, topic: str) -> None:
        for record in self._pulled(topic):
            self.consumed.add(record.body)
            self._commit(topic, record.queue_offset + 1)

    def hand_back(self, topic: str) -> None:
        """The first one only, to the shortest delay."""
        for record in self._pulled(topic)[:1]:
            answer = self.broker.send_back(record, GROUP, level=1)
            assert answer.code == 0, answer.remark
            self._commit(topic, record.queue_offset + 1)

    def pass_time(self, seconds: float) -> None:
        self.broker.pass_time(seconds)

    def restart(self, _: None) -> None:
        self.broker = self.broker.restarted()

    def kill(self, _: None) -> None:
        self.broker = self.broker.killed()

    def power_cut(self, seed: int) -> None:
        disk = self.broker.disk.after_power_cut(random.Random(seed))
        self.broker = MemoryBroker(disk, self.broker.now_ms(), **self.broker.keys)
        self.rejoin(None)

    def set_clock(self, seconds: int) -> None:
        self.broker.set_by_ms = seconds * 1000

    def rejoin(self, _: None) -> None:
        """The consumer begins anew, where the broker says that its group is."""
        self.next_offsets.clear()

    # -- the consumer ------------------------------------------------------------------------------------

    def _pulled(self, topic: str) -> list:
        offset = self.next_offsets.get(topic)
        if offset is None:
            offset = self._committed(topic)
        answer = self.broker.pull(topic, 0, offset, GROUP)
        if answer.code == 21:  # a power cut took what had been there; a client goes where it is told
            offset = int((answer.ext_fields or {})["nextBeginOffset"])
            self.next_offsets[topic] = offset
            answer = self.broker.pull(topic, 0, offset, GROUP)
        return decode_records(answer.body)

    def _committed(self, topic: str) -> int:
        header = QueryConsumerOffsetRequestHeader(consumer_group=GROUP, topic=topic, queue_id=0)
        answer = self.broker.ask(Frame.request(RequestCode.QUERY_CONSUMER_OFFSET, header))
        return int((answer.ext_fields or {}).get("offset", 0)) if answer.code == 0 else 0

    def _commit(self, topic: str, offset: int) -> None:
        self.next_offsets[topic] = offset
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group=GROUP, topic=topic, queue_id=0, commit_offset=offset
        )
        self.broker.ask(Frame.request(RequestCode.UPDATE_CONSUMER_OFFSET, header))

    # -- the end -----------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Everything that waits is delivered and consumed, by a consumer that begins anew."""
        self.broker.pass_time(LONGER_THAN_ANY_DELAY_S)
        self.rejoin(None)
        for topic in (TOPIC, RETRY):
            for _ in range(len(self.sent) + 1):
                self.consume(topic)


def new_world() -> World:
    broker = MemoryBroker(MemoryDisk(), flushDiskType="SYNC_FLUSH", defaultTopicQueueNums=1)
    broker.parts.groups.put(SubscriptionGroupConfig(group_name=GROUP, retry_max_times=RETRIES))
    broker.parts.topics.ensure(RETRY, 1)
    return World(broker)


class AtLeastOnce(SynchronousTestCase):
    def play(self, steps: list) -> None:
        world = new_world()
        for name, argument in steps:
            getattr(world, name)(argument)
        world.drain()
        dead = set(world.broker.bodies(DLQ))
        self.assertEqual(set(world.sent) - world.consumed - dead, set())
        stored = [body for body in world.broker.bodies(TOPIC) if body in set(world.undelayed)]
        self.assertEqual(stored, world.undelayed)

    def test_what_was_handed_back_outlives_a_power_cut(self) -> None:
        """The group's offset is on disk by then, and only the copy brings the message back."""
        for seed in range(20):
            for seconds in (0.3, 6.0, 11.0):
                self.play([("send", 0), ("hand_back", TOPIC), ("pass_time", seconds), ("power_cut", seed)])

    def test_what_was_delivered_outlives_a_power_cut(self) -> None:
        for seed in range(20):
            self.play(
                [("send", 1), ("pass_time", 11.0), ("send", 2), ("pass_time", 6.0), ("power_cut", seed)]
            )

    @settings(max_examples=200, deadline=None)
    @given(st.lists(STEPS, max_size=40))
    def test_every_message_is_consumed_or_a_dead_letter(self, steps: list) -> None:
        self.play(steps)
