"""A broker stores, counts and answers sends that are alike, by columns, as it does one by one."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import send_plans
from rocketmq_tx.broker.statistics import BROKER_PUT_NUMS, TOPIC_PUT_SIZE
from rocketmq_tx.protocol.bodies import TopicConfig
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.decoder import RESPONSE_RUN, FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.store.append_alike import AlikeAppender
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_broker import MemoryBroker
from tests.unit.test_alike_sends import frame

TOPIC = "TopicTest"


class Connected:
    """A broker with one connection, whose topic and routes are known already."""

    def __init__(self, **keys: Any) -> None:
        self.broker = MemoryBroker(**keys)
        self.parts = self.broker.parts
        self.transport = StringTransport(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 10911),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 40_000),
        )
        self.protocol = FrameProtocol(self.parts.connections)
        self.protocol.makeConnection(self.transport)
        self.read([frame(number, number + 1, queue_id=number % 4) for number in range(8)])
        self.read([frame(number, number + 1, queue_id=number % 4, flag=2) for number in range(8)])

    def read(self, frames: Sequence[bytes]) -> list[Frame]:
        """The answers to what one read brings, by opaque."""
        self.protocol.dataReceived(b"".join(frames))
        self.broker.pass_time(0.1)
        data = self.transport.value()
        self.transport.clear()
        found = [each for code, run in FrameDecoder().feed(data) for each in run if code == RESPONSE_RUN]
        return sorted(found, key=lambda answer: answer.opaque)

    def log(self) -> bytes:
        store = self.parts.store
        return store.log_bytes(0, store.written_to)

    def queues(self) -> list[tuple[object, object]]:
        store = self.parts.store
        return [
            (queue, store.entries_from(*queue, store.queue_offsets(*queue)[0], 10_000))
            for queue in sorted(store.queues())
        ]

    def counted(self) -> tuple[int, int]:
        statistics = self.parts.statistics
        statistics.look()
        (counter,) = [found for (name, _), found in statistics._counters.items() if name == BROKER_PUT_NUMS]
        return counter.value, counter.times


def by_columns(count: list[int]) -> Any:
    """Counts appends by columns."""
    append = AlikeAppender.append_alike

    def counting(self: AlikeAppender, *arguments: Any) -> Any:
        placed = append(self, *arguments)
        count.append(0 if placed is None else len(placed.offsets))
        return placed

    return mock.patch.object(AlikeAppender, "append_alike", counting)


def one_by_one() -> Any:
    return mock.patch.object(AlikeAppender, "append_alike", lambda *arguments: None)


class BothWays(SynchronousTestCase):
    def both(self, act: Callable[[Connected], object], columns: int | None, **keys: Any) -> None:
        """Does the same with two brokers, and compares all that is to be seen; so many go by columns."""
        counts: list[int] = []
        found = []
        for way in (by_columns(counts), one_by_one()):
            connected = Connected(**keys)
            with way:
                found.append((act(connected), connected.counted(), connected.queues(), connected.log()))
        for columnwise, single in zip(*found, strict=True):
            self.assertEqual(columnwise, single)
        if columns is not None:
            self.assertEqual(sum(counts), columns)

    def test_sends_to_several_queues_leave_the_same(self) -> None:
        frames = [frame(number, 90 + number, queue_id=number * 7 % 4) for number in range(40)]
        self.both(lambda broker: [broker.read(frames), broker.read(frames)], 80)

    def test_sends_to_many_topics_leave_the_same_each_to_one_of_its_own_or_not(self) -> None:
        names = [f"T{number:08d}" for number in range(24)]
        frames = [
            frame(number, 100 + number, queue_id=number // 12).replace(
                TOPIC.encode(), names[number % 24].encode()
            )
            for number in range(36)
        ]

        def act(broker: Connected) -> list[object]:
            answers = [broker.read([each]) for each in frames]
            answers += [broker.read(frames), broker.read(frames[30:] + frames)]
            broker.parts.statistics.look()
            counted = [broker.parts.statistics.counter(TOPIC_PUT_SIZE, name).value for name in names]
            return [answers, counted]

        self.both(act, 36 + 42)

    def test_numbers_that_get_longer_leave_the_same(self) -> None:
        frames = [frame(number, 100 + number) for number in range(64)]
        self.both(lambda broker: [broker.read(frames), broker.read(frames)], 128)

    def test_oneway_sends_are_stored_and_not_answered(self) -> None:
        frames = [frame(number, 100 + number, flag=2) for number in range(20)]

        def act(broker: Connected) -> list[Frame]:
            answers = broker.read(frames)
            self.assertEqual(answers, [])
            return answers

        self.both(act, 20)

    def test_those_who_wait_for_the_disk_and_others_leave_the_same(self) -> None:
        waiting = [frame(number, 100 + number) for number in range(20)]
        others = [frame(number, 200 + number, tail="\\u0002WAIT\\u0001false") for number in range(20)]
        self.both(lambda broker: [broker.read(waiting), broker.read(others)], 40, flushDiskType="SYNC_FLUSH")

    def test_a_disk_that_fails_while_they_wait_refuses_the_same(self) -> None:
        frames = [frame(number, 100 + number) for number in range(20)]

        def act(broker: Connected) -> list[Frame]:
            broker.broker.disk.fail("sync", "commitlog", errno.EIO)
            answers = broker.read(frames)
            self.assertEqual({answer.code for answer in answers}, {ResponseCode.SERVICE_NOT_AVAILABLE})
            self.flushLoggedErrors()
            return answers

        self.both(act, 20, flushDiskType="SYNC_FLUSH")

    def test_a_synchronous_master_without_a_slave_answers_the_same(self) -> None:
        frames = [frame(number, 100 + number) for number in range(20)]
        self.both(lambda broker: broker.read(frames), 20, brokerRole="SYNC_MASTER")

    def test_a_segment_that_ends_among_them_leaves_the_same(self) -> None:
        frames = [frame(number, 100 + number, body=bytes(200)) for number in range(20)]
        self.both(
            lambda broker: [broker.read(frames) for _ in range(4)], None, mappedFileSizeCommitLog=20_000
        )

    def test_bodies_that_are_too_large_are_refused_the_same(self) -> None:
        frames = [frame(number, 100 + number, body=bytes(200)) for number in range(20)]
        self.both(lambda broker: broker.read(frames), 0, maxMessageSize=199)

    def test_a_queue_that_does_not_exist_is_refused_the_same(self) -> None:
        frames = [frame(number, 100 + number, queue_id=number % 2 + 3) for number in range(20)]
        self.both(lambda broker: [broker.read(frames), broker.read(frames)], 0)

    def test_properties_that_are_not_ordinary_are_stored_the_same(self) -> None:
        for tail in ("\\u0002DELAY\\u00012", "\\u0002KEYS\\u0001a", "\\u0002TRAN_MSG\\u0001true"):
            frames = [frame(number, 100 + number, tail=tail) for number in range(20)]
            self.both(lambda broker, frames=frames: broker.read(frames), 0)

    def test_a_store_that_takes_nothing_refuses_the_same(self) -> None:
        frames = [frame(number, 100 + number, flag=number // 10 * 2) for number in range(20)]

        def act(broker: Connected) -> list[Frame]:
            broker.parts.store.refuse("test", "it rests")
            answers = broker.read(frames)
            self.assertEqual([answer.opaque for answer in answers], [*range(100, 110)])
            return answers

        self.both(act, None)

    def test_a_topic_whose_permission_changes_is_decided_anew(self) -> None:
        frames = [frame(number, 100 + number) for number in range(20)]

        def act(broker: Connected) -> list[list[Frame]]:
            first = broker.read(frames)
            table = broker.parts.topics
            table.put(table.get(TOPIC).__class__(**{**_fields(table.get(TOPIC)), "perm": 4}))
            return [first, broker.read(frames)]

        self.both(act, 20)

    def test_queues_that_were_removed_begin_anew_the_same(self) -> None:
        frames = [frame(number, 100 + number, queue_id=number % 4) for number in range(20)]

        def act(broker: Connected) -> list[object]:
            answers = [broker.read(frames)]
            broker.parts.store.delete_topic(TOPIC)
            answers += [broker.read(frames), broker.read(frames)]
            return [answers, broker.parts.store.queue_offsets(TOPIC, 3)]

        self.both(act, 40)

    def test_who_listens_to_a_topic_hears_the_same(self) -> None:
        frames = [frame(number, 100 + number) for number in range(20)]

        def act(broker: Connected) -> list[object]:
            heard: list[object] = []
            broker.parts.appending.listeners[TOPIC] = lambda *what: heard.append(what)
            return [broker.read(frames), heard]

        self.both(act, 0)

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(1, 16),
                st.fixed_dictionaries(
                    {},
                    optional={
                        "queue_id": st.integers(0, 5),
                        "flag": st.just(2),
                        "tail": st.sampled_from(["", "\\u0002WAIT\\u0001false", "\\u0002DELAY\\u00011"]),
                        "body": st.binary(min_size=3, max_size=4),
                    },
                ),
            ),
            min_size=1,
            max_size=8,
        ),
        st.sampled_from(["ASYNC_FLUSH", "SYNC_FLUSH"]),
    )
    def test_anything_mixed_leaves_the_same(
        self, groups: list[tuple[int, dict[str, Any]]], flush: str
    ) -> None:
        frames = [
            frame(at * 16 + number, 100 + at * 16 + number, **how)
            for at, (count, how) in enumerate(groups)
            for number in range(count)
        ]
        self.both(lambda broker: broker.read(frames), None, flushDiskType=flush)


class Between(SynchronousTestCase):
    """What hangs on the routes of sends is never used when it is not true any more."""

    NAMES = tuple(f"T{number:08d}" for number in range(5))

    def sends(self, number: int) -> list[bytes]:
        """Some to one topic, or to several, or to one queue each."""
        count, topics = number // 7 % 25, number % len(self.NAMES) + 1
        return [
            frame(number + at, 100 + at, queue_id=at // topics % 4).replace(
                TOPIC.encode(), self.NAMES[at % topics].encode()
            )
            for at in range(count)
        ]

    def happen(self, broker: Connected, event: str, number: int) -> object:
        parts, disk, name = broker.parts, broker.broker.disk, self.NAMES[number % len(self.NAMES)]
        store = parts.store
        result: object = None
        match event:
            case "send":
                result = broker.read(self.sends(number))
            case "deleted":
                result = parts.topics.delete(name)
            case "begins anew":
                store.delete_topic(name)
            case "changed":
                queues, perm = number % 3 + 2, (6, 6, 4)[number // 3 % 3]
                parts.topics.put(TopicConfig(name, queues, queues, perm))
            case "full disk":
                disk.fail("write", "/commitlog/", errno.ENOSPC, short=number % 500)
            case "room again":
                disk.heal()
            case "expired":
                self.let_go_of_the_oldest(store)
            case "cut":
                kept = store.written_to - store.min_offset
                boundary = store.record_boundary(store.min_offset + number % (kept + 1))
                self.successResultOf(parts.store_service.cut_tail("tail", boundary))
        return event, result, store.written_to

    def let_go_of_the_oldest(self, store: MessageStore) -> None:
        """Its first segment, and queues that have no message then."""
        job = store.begin_flush()
        if job is not None:
            job.run()
            store.finish_flush(job)
        oldest = store.expiry.oldest()
        if oldest is not None:
            store.expiry.drop(oldest)
        store.delete_topics(store.expiry.expired_topics())

    def log(self, store: MessageStore) -> list[bytes]:
        """What it has, by segments."""
        starts = store._log.segments.starts
        return [store.log_bytes(start, store.written_to) for start in starts]

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["send"] * 6
                    + ["deleted", "begins anew", "changed", "full disk", "room again", "expired", "cut"]
                ),
                st.integers(0, 1 << 20),
            ),
            max_size=24,
        ),
        st.sampled_from([3, 16_384]),
    )
    def test_whatever_happens_between_sends_leaves_the_same(
        self, story: list[tuple[str, int]], plans_max: int
    ) -> None:
        found = []
        for way in (by_columns([]), one_by_one()):
            broker = Connected(mappedFileSizeCommitLog=20_000)
            with way, mock.patch.object(send_plans, "PLANS_MAX", plans_max):
                known = [("send", 174)] * 2  # several messages to each of these topics
                seen = [self.happen(broker, *each) for each in (*known, *story)]
            found.append((seen, broker.counted(), broker.queues(), self.log(broker.parts.store)))
        self.assertEqual(found[0], found[1])


def _fields(each: Any) -> dict[str, Any]:
    return {field.name: getattr(each, field.name) for field in each.__attrs_attrs__}
