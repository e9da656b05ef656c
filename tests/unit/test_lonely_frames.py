"""What comes alone in a read - a frame, a send, a message - is served in fewer steps, to the same end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.frames import encode_batch_send, encode_pull
from rocketmq_tx.broker.scanned_sends import ScannedSends
from rocketmq_tx.errors import FrameError, MessageError, StoreError
from rocketmq_tx.protocol.decoder import SCANNED_BATCH, SCANNED_PULL, SCANNED_SEND, FrameDecoder, Run
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.send_scan import SendScanner
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.append_alone import AloneAppender
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import BORN_HOST, NOW, SEGMENT, STORE_HOST, message, open_store, small_config
from tests.unit.test_alike_broker import Connected
from tests.unit.test_alike_sends import frame
from tests.unit.test_append_alike import IPV6_HOST, LOG, files

_decode_alone = FrameDecoder._decode_alone
_alone = ScannedSends._alone


def not_one_frame(decoder: FrameDecoder, data: bytes) -> None:
    """Stands for `_decode_alone`."""


def several_frames() -> list[bytes]:
    """What is scanned and what is not."""
    return [
        frame(1, 1),
        frame(2, 2, queue_id=3, flag=2),
        frame(3, 3, tail="\\u0002KEYS\\u0001a"),
        encode_pull("TopicTest", 0, 32, 4),
        encode_batch_send("TopicTest", 1, 5, [b"x", b"yy"]),
        encode_frame(Frame(34, 6, body=b"{}")),
        encode_frame(Frame(0, 7, 1)),
        encode_frame(Frame(310, 8)),
    ]


def plain(runs: list[Run]) -> list[tuple[int, list[str]]]:
    return [(code, [repr(item) for item in items]) for code, items in runs]


class Frames(SynchronousTestCase):
    def test_a_frame_alone_is_what_it_is_among_others(self) -> None:
        for number, data in enumerate(several_frames()):
            alone = FrameDecoder(scanner=SendScanner()).feed(data)
            with mock.patch.object(FrameDecoder, "_decode_alone", not_one_frame):
                among_others = FrameDecoder(scanner=SendScanner()).feed(data)
            self.assertEqual(plain(alone), plain(among_others), number)

    def test_sends_batches_and_pulls_are_scanned(self) -> None:
        codes = [FrameDecoder(scanner=SendScanner()).feed(data)[0][0] for data in several_frames()[:5]]
        self.assertEqual(codes, [SCANNED_SEND] * 3 + [SCANNED_PULL, SCANNED_BATCH])

    @given(st.integers(0, 7), st.integers(0, 3000), st.integers(0, 255), st.booleans())
    def test_a_damaged_frame_alone_is_what_it_is_among_others(
        self, which: int, at: int, byte: int, scans: bool
    ) -> None:
        damaged = bytearray(several_frames()[which])
        damaged[at % len(damaged)] = byte
        found = []
        for way in (_decode_alone, not_one_frame):
            with mock.patch.object(FrameDecoder, "_decode_alone", way):
                try:
                    decoder = FrameDecoder(scanner=SendScanner() if scans else None)
                    found.append([*plain(decoder.feed(bytes(damaged))), (decoder.pending_bytes, [])])
                except FrameError as error:
                    found.append([(type(error).__name__, [str(error)])])
        self.assertEqual(found[0], found[1])


class Sends(SynchronousTestCase):
    def both(self, act: Callable[[Connected], object], alone: int, **keys: Any) -> None:
        """Does the same with two brokers, and compares all that is to be seen; so many go alone."""
        taken: list[bool] = []

        def counting(self: ScannedSends, *arguments: Any) -> Any:
            answers = _alone(self, *arguments)
            taken.append(answers is not None)
            return answers

        found = []
        for way in (counting, lambda *arguments: None):
            connected = Connected(**keys)
            with mock.patch.object(ScannedSends, "_alone", way):
                found.append((act(connected), connected.counted(), connected.queues(), connected.log()))
        self.assertEqual(found[0], found[1])
        self.assertEqual(sum(taken), alone)

    def test_sends_that_come_one_by_one_are_stored_and_answered_the_same(self) -> None:
        frames = [frame(number, 90 + number, queue_id=number % 4) for number in range(9)]
        self.both(lambda broker: [broker.read([each]) for each in frames], 9)

    def test_further_keys_of_a_message_are_found_the_same(self) -> None:
        frames = [frame(number, 90 + number, tail="\\u0002KEYS\\u0001a") for number in range(3)]
        self.both(lambda broker: [broker.read([each]) for each in frames], 3)

    def test_a_oneway_send_is_stored_and_not_answered(self) -> None:
        self.both(lambda broker: self.assertEqual(broker.read([frame(1, 90, flag=2)]), []), 1)

    def test_delayed_and_overlong_messages_go_the_general_way(self) -> None:
        delayed = [frame(number, 90 + number, tail="\\u0002DELAY\\u00013") for number in range(2)]
        self.both(lambda broker: [broker.read([each]) for each in delayed], 0)
        self.both(lambda broker: broker.read([frame(1, 90, body=bytes(300))]), 0, maxMessageSize=200)

    def test_who_waits_for_the_disk_goes_the_other_way(self) -> None:
        self.both(lambda broker: broker.read([frame(1, 90)]), 0, flushDiskType="SYNC_FLUSH")

    def test_a_refusal_is_answered_once(self) -> None:
        def act(broker: Connected) -> object:
            broker.broker.disk.fail("write", "/commitlog/", errno.EIO)
            refused = broker.read([frame(1, 90)])
            broker.broker.disk.heal()
            return refused, broker.read([frame(2, 91)])

        self.both(act, 2)


messages = st.builds(
    NewMessage,
    topic=st.sampled_from(["A", "TopicTest", "ü"]),
    queue_id=st.integers(0, 2),
    body=st.binary(max_size=200) | st.just(bytes(SEGMENT // 3)),
    body_crc=st.integers(0, 2**31 - 1),
    properties=st.binary(max_size=60),
    flag=st.integers(-(2**31), 2**31 - 1),
    sys_flag=st.sampled_from([0, 1, 4, 8, 12]),
    born_timestamp=st.integers(0, 2**62),
    born_host=st.sampled_from([BORN_HOST, IPV6_HOST]),
    reconsume_times=st.integers(0, 16),
    prepared_transaction_offset=st.integers(0, 2**40),
    tags_code=st.integers(-(2**63), 2**63 - 1),
    keys=st.sampled_from([(), ("U1",), ("U2", "k"), b"U3", b"7F0000010000ABCD7F0000010000ABCD"]),
)


class Messages(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(st.lists(messages, min_size=1, max_size=8), st.booleans(), st.booleans())
    def test_both_ways_leave_the_same(self, each: list[NewMessage], v6: bool, whole: bool) -> None:
        found = []
        for way in (AloneAppender.append, lambda *arguments: None):
            disk = MemoryDisk()
            store = MessageStore(small_config("/store"), disk, IPV6_HOST if v6 else STORE_HOST)
            store.open(NOW)
            with mock.patch.object(AloneAppender, "append", way):
                placed = [store.append_all([one], NOW + number, whole) for number, one in enumerate(each)]
            keys = list(store._pending_keys)
            state = (store._log.last_record_at, store._log.last_store_timestamp, store.written_to)
            store.close(NOW + 10)
            found.append((placed, keys, state, files(disk)))
        self.assertEqual(found[0], found[1])

    def test_a_failed_write_and_what_no_record_can_hold_leave_nothing(self) -> None:
        disk = MemoryDisk()
        store = open_store(disk)
        store.append_all([message(unique="U0")], NOW)
        before = (store.written_to, store._pending_keys.waiting, store.queue_offsets("TopicTest", 0))
        disk.fail("write", LOG, errno.EIO, short=100)
        self.assertRaises(StoreError, store.append_all, [message(unique="U1")], NOW)
        disk.heal()
        unfit: list[tuple[str, object]] = [
            ("body", bytes(SEGMENT)),
            ("body", None),
            ("properties", bytes(40_000)),
            ("flag", 2**31),
            ("tags_code", 2**63),
        ]
        for name, value in unfit:
            bad = message(unique="U1")._replace(**{name: value})
            self.assertRaises(MessageError, store.append_all, [bad], NOW)
        after = (store.written_to, store._pending_keys.waiting, store.queue_offsets("TopicTest", 0))
        self.assertEqual(before, after)
        self.assertEqual(disk.content(LOG + "0" * 20)[before[0] : before[0] + 1000], bytes(1000))
        (placed,) = store.append_all([message()], NOW)
        self.assertEqual(placed, (before[0], placed.size, 1))
