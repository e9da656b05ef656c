"""No lost wake-up: whatever the order of sends, pulls and time, a consumer gets each of its messages once."""

from __future__ import annotations

import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.message import decode_records
from tests.unit.read_parts import INLINE, SUSPEND, ReadingBroker, decoded

RETRY, NOTHING, FOUND = 20, 19, 0


class Consumer:
    """Pulls as Java's push consumer does: one pull at a time, always on from `nextBeginOffset`."""

    def __init__(self, broker: ReadingBroker, group: str, tag: str) -> None:
        self.broker = broker
        self.group = group
        self.tag = tag
        self.offset = 0
        self.bodies: list[bytes] = []
        self.codes: list[int] = []
        self.waiting = False

    def pull(self) -> None:
        if self.waiting:
            return
        frame = self.broker.request(
            self.offset, INLINE | SUSPEND, consumerGroup=self.group, subscription=self.tag, maxMsgNums=3
        )
        answer = self.broker.begin(frame)
        if isinstance(answer, Deferred):
            self.waiting = True
            answer.addCallback(self.take)
        else:
            self.take(answer)

    def take(self, data: bytes) -> None:
        self.waiting = False
        answer = decoded(data)
        self.codes.append(answer.code)
        self.bodies += [record.body for record in decode_records(answer.body)]
        self.offset = int((answer.ext_fields or {})["nextBeginOffset"])


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.sampled_from(["TagA", "TagB"]), min_size=1, max_size=4)),
        st.tuples(st.just("pull"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 7.0, 15.0])),
    ),
    max_size=25,
)


class Interleavings(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(Steps)
    def test_every_message_reaches_every_group_once_and_in_order(
        self, steps: list[tuple[str, object]]
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.run_steps(ReadingBroker(folder), steps)

    def run_steps(self, broker: ReadingBroker, steps: list[tuple[str, object]]) -> None:
        consumers = [Consumer(broker, "all", "*"), Consumer(broker, "some", "TagB")]
        sent: list[tuple[str, bytes]] = []
        for action, what in steps:
            if action == "send":
                for tag in what:  # type: ignore[attr-defined]
                    sent.append((tag, b"message %d" % len(sent)))
                    broker.send(tag, body=sent[-1][1])
            elif action == "pull":
                consumers[what].pull()  # type: ignore[index]
            else:
                broker.clock.advance(what)  # type: ignore[arg-type]
        for consumer in consumers:
            while not consumer.waiting:  # each answer leads further, so the end of the queue is reached
                consumer.pull()
            self.assertLessEqual(set(consumer.codes), {FOUND, NOTHING, RETRY})
        broker.clock.advance(15.0)
        self.assertEqual(consumers[0].bodies, [body for _, body in sent])
        self.assertEqual(consumers[1].bodies, [body for tag, body in sent if tag == "TagB"])
        self.assertEqual([consumer.offset for consumer in consumers], [len(sent)] * 2)
        self.assertEqual(len(broker.held), 0)
