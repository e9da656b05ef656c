"""A batch that was scanned is stored, counted and answered as one that was parsed, byte for byte."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import scanned_batches
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.batch import BatchItem, encode_batch
from rocketmq_tx.protocol.bodies import TopicConfig
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.decoder import SCANNED_BATCH, FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.message_ids import pack_host
from rocketmq_tx.store import batch_append
from tests.memory_broker import MemoryBroker
from tests.unit.batch_cases import KEY, bodies
from tests.unit.broker_parts import FakePeer

FIELDS = {
    "a": "PG", "b": "Orders", "c": "TBW102", "d": "4", "e": "2", "f": "0", "g": "1795239198383", "h": "0",
    "i": "WAIT\1true", "j": "0", "k": "false", "m": "true", "n": "broker-a",
}  # fmt: skip


class FarPeer(FakePeer):
    """A client with an IPv6 address."""

    address = ("2001:db8::7", 60824)
    packed_host = pack_host("2001:db8::7", 60824)


def batch_frame(body: bytes, opaque: int = 6, flag: int = 0, **fields: str) -> bytes:
    """As the Java client writes it."""
    header = b'{"code":320,"extFields":%b,"flag":%d,"language":"JAVA","opaque":%d,%b}' % (
        orjson.dumps({**FIELDS, **fields}),
        flag,
        opaque,
        b'"serializeTypeCurrentRPC":"JSON","version":407',
    )
    data = len(header).to_bytes(4, "big") + header + body
    return len(data).to_bytes(4, "big") + data


def members(lengths: Sequence[int], first: int = 0, tail: str = "\2WAIT\1true\2TAGS\1TagA") -> bytes:
    return encode_batch(
        [
            BatchItem(0, b"x" * length, f"UNIQ_KEY\1{KEY.format(first + number)}{tail}".encode())
            for number, length in enumerate(lengths)
        ]
    )


class Side:
    """A broker whose requests are scanned, or not, and what it has answered."""

    def __init__(self, scans: bool, **keys: Any) -> None:
        self.broker = MemoryBroker(mappedFileSizeCommitLog=1 << 14, **keys)
        self.broker.parts.topics.put(TopicConfig("Orders", read_queue_nums=4, write_queue_nums=4, perm=6))
        self.scanner = self.broker.parts.sending.scanner if scans else None
        self.answers: list[Frame] = []
        self.run_codes: list[int] = []

    def receive(self, read: bytes, peer: Any = FakePeer) -> None:
        for code, run in FrameDecoder(scanner=self.scanner).feed(read):
            self.run_codes.append(code)
            for answer in self.broker.parts.connections.registry.serve(peer(), code, run):
                if isinstance(answer, Deferred):
                    answer.addCallback(self._answered)
                else:
                    self._answered(answer)

    def _answered(self, data: bytes) -> None:
        for _, frames in FrameDecoder().feed(data):
            self.answers += frames

    def counted(self) -> dict[str, tuple[int, int, int]]:
        tallies = self.broker.parts.statistics._puts
        return {topic: (each.messages, each.calls, each.size_bytes) for topic, each in tallies.items()}

    def files(self) -> dict[str, bytes]:
        """Everything that the store has written, after it was closed."""
        self.broker.stop()
        return {path: bytes(node.content) for path, node in self.broker.disk.nodes.items()}


class BothWays(SynchronousTestCase):
    def both(self, **keys: Any) -> None:
        self.general, self.scanned = Side(False, **keys), Side(True, **keys)

    def receive(self, *reads: bytes, peer: Any = FakePeer) -> list[Frame]:
        """The answers, which are the same; in any order, as they are told apart by their numbers."""
        for side in (self.general, self.scanned):
            side.answers.clear()
            for read in reads:
                side.receive(read, peer)
                side.broker.pass_time(0.01)
        found = [
            sorted(side.answers, key=lambda frame: frame.opaque) for side in (self.general, self.scanned)
        ]
        self.assertEqual(*found)
        return found[0]

    def assert_same_stores(self) -> None:
        self.assertEqual(self.general.counted(), self.scanned.counted())
        general, scanned = self.general.files(), self.scanned.files()
        self.assertEqual(set(general), set(scanned))
        for path, content in general.items():
            self.assertEqual(content, scanned[path], path)

    KEYS = st.fixed_dictionaries(
        {},
        optional={
            "enableMultiDispatch": st.just(True),
            "enableLmq": st.just(True),
            "messageIndexEnable": st.just(False),
            "maxMessageSize": st.sampled_from([100, 400]),
            "brokerClusterName": st.just("Gebäude\1x"),
            "flushDiskType": st.just("SYNC_FLUSH"),
            "brokerRole": st.just("SYNC_MASTER"),
            "brokerIP1": st.just("2001:db8::1"),
            "brokerPermission": st.just(4),
        },
    )
    HEADERS = st.fixed_dictionaries(
        {},
        optional={
            "b": st.sampled_from(
                ["Orders", "New", "%LMQ%a", "%RETRY%cg", "SCHEDULE_TOPIC_XXXX", "TBW102", "a b"]
            ),
            "c": st.just("Missing"),
            "e": st.sampled_from(["0", "1", "77"]),
            "f": st.sampled_from(["4", "8", "16", "2"]),
            "i": st.sampled_from(
                [
                    *["", "WAIT\1false", "DELAY\0013", "DELAY\1x", "KEYS\1a b", "TAGS\1T", "é\1ü", "n\1\0"],
                    *["UNIQ_KEY\1all", "INNER_MULTI_DISPATCH\1%LMQ%z", "INNER_MULTI_QUEUE_OFFSET\0013"],
                    "TIMER_DELAY_SEC\0015",
                ]
            ),
            "j": st.just("3"),
            "m": st.just("false"),
        },
    )

    @settings(max_examples=150, deadline=None)
    @given(
        KEYS,
        st.lists(
            st.tuples(bodies(), st.just({}) | HEADERS, st.sampled_from([0, 0, 2])), min_size=1, max_size=6
        ),
        st.sampled_from([FakePeer, FarPeer]),
        st.booleans(),
    )
    def test_stores_counts_and_answers_are_the_same(
        self, keys: dict[str, Any], batches: list[tuple[bytes, dict[str, str], int]], peer: Any, at_once: bool
    ) -> None:
        self.both(**keys)
        frames = [
            batch_frame(body, opaque, flag, **fields) for opaque, (body, fields, flag) in enumerate(batches)
        ]
        self.receive(*([b"".join(frames)] if at_once else frames), peer=peer)
        self.assert_same_stores()

    def test_what_is_ordinary_is_neither_parsed_nor_taken_apart(self) -> None:
        self.both()
        self.patch(scanned_batches, "as_frame", lambda scanned: self.fail("it went the general way"))
        read = batch_frame(members([128] * 32), 1) + batch_frame(members([1, 128, 0, 50], 32), 2, e="1")
        first, second = self.receive(read, read)[:2]
        self.assertEqual((first.code, second.code), (0, 0))
        self.assertEqual(self.scanned.run_codes, [SCANNED_BATCH] * 2)
        self.assert_same_stores()

    def test_the_answer_names_every_message(self) -> None:
        self.both()
        (answer,) = self.receive(batch_frame(members([5] * 3)))
        assert answer.ext_fields is not None
        ids = answer.ext_fields["msgId"].split(",")
        places = [record.offset_message_id for record in self.scanned.broker.records()]
        self.assertEqual((ids, answer.ext_fields["queueOffset"]), (places, "0"))

    def test_a_batch_goes_whole_into_one_segment(self) -> None:
        self.both()
        read = b"".join(batch_frame(members([100] * 9, 9 * number), number) for number in range(3))
        for _ in range(8):
            self.receive(read)
        segments = [path for path in self.scanned.broker.disk.nodes if "/commitlog/" in path]
        self.assertGreater(len(segments), 2)
        (answer,) = self.receive(batch_frame(members([100] * 70)))
        self.assertEqual(answer.code, ResponseCode.MESSAGE_ILLEGAL)
        self.assert_same_stores()

    def test_a_batch_of_very_many_is_stored_like_any_other(self) -> None:
        self.patch(batch_append, "_EVEN_MAX", 8)
        self.both()
        for count in (8, 9):
            self.assertEqual(self.receive(batch_frame(members([100] * count)))[0].code, 0)
        self.assert_same_stores()

    def test_batches_beside_one_that_no_segment_can_hold_are_stored(self) -> None:
        self.both()
        sizes = (9, 70, 9)
        read = b"".join(batch_frame(members([100] * count), at) for at, count in enumerate(sizes))
        answers = self.receive(read, read)
        illegal = ResponseCode.MESSAGE_ILLEGAL
        self.assertEqual([answer.code for answer in answers], [0, 0, illegal, illegal, 0, 0])
        self.assert_same_stores()

    def test_a_disk_without_room_stores_nothing_of_them(self) -> None:
        self.both()
        self.receive(batch_frame(members([100] * 9)))
        read = b"".join(batch_frame(members([100] * 9), number, e=str(number)) for number in range(3))
        for side in (self.general, self.scanned):
            side.broker.disk.fail("write", "/commitlog/", errno.ENOSPC)
        for answer in self.receive(read):
            self.assertEqual(answer.code, ResponseCode.SERVICE_NOT_AVAILABLE)
        for side in (self.general, self.scanned):
            side.broker.disk.heal()
        self.receive(read, batch_frame(members([100] * 9), e="0"))
        self.assert_same_stores()

    def test_keys_find_their_messages(self) -> None:
        self.both()
        self.receive(batch_frame(members([5, 6, 7])), batch_frame(members([5, 5], 3)))
        store = self.scanned.broker.parts.store
        for number in range(5):
            found = store.query_by_key("Orders", KEY.format(number), 32, 0, 1 << 60)
            self.assertEqual(len(found.body.split(KEY.format(number).encode())), 2)

    def test_a_slave_enters_what_its_master_stored_that_way(self) -> None:
        self.both()
        self.receive(batch_frame(members([5, 6, 7])), batch_frame(members([5, 5], 3), e="1"))
        slave = MemoryBroker(mappedFileSizeCommitLog=1 << 14, brokerRole="SLAVE", brokerId=1)
        slave.copy_from(self.scanned.broker)
        self.assertEqual(slave.records(), self.scanned.broker.records())

    def test_a_start_finds_what_was_stored_before_a_kill(self) -> None:
        self.both()
        self.receive(*[batch_frame(members([5, 6, 7]), number) for number in range(20)])
        before = self.scanned.broker.records()
        self.assertEqual(len(before), 60)
        self.assertEqual(self.scanned.broker.killed().records(), before)

    def test_each_append_wakes_who_waits_for_its_queue_once(self) -> None:
        self.both()
        woken: list[tuple[bool, int]] = []
        for side in (self.general, self.scanned):
            for queue_id in (1, 2, 3):
                side.broker.parts.arrivals.watch(
                    "Orders",
                    queue_id,
                    lambda scans=side.scanner, queue=queue_id: woken.append((bool(scans), queue)),
                )
        self.receive(batch_frame(members([5] * 8)), batch_frame(members([5] * 8), e="1"))
        self.assertEqual(woken, [(False, 2), (False, 1), (True, 2), (True, 1)])

    def test_settings_and_topics_count_as_they_are_now(self) -> None:
        self.both()
        (answer,) = self.receive(batch_frame(members([5])))
        self.assertEqual(answer.code, 0)
        for side in (self.general, self.scanned):
            topics = side.broker.parts.topics
            topics.put(TopicConfig("Orders", read_queue_nums=4, write_queue_nums=4, perm=4))
        (answer,) = self.receive(batch_frame(members([5])))
        self.assertEqual(answer.code, ResponseCode.NO_PERMISSION)
        for side in (self.general, self.scanned):
            topics = side.broker.parts.topics
            topics.put(TopicConfig("Orders", read_queue_nums=4, write_queue_nums=4, perm=6))
            side.broker.settings.broker.broker_cluster_name = "Other"
            side.broker.parts._settings_changed({"brokerClusterName": "Other"})
        self.receive(batch_frame(members([5], 1)))
        records = self.scanned.broker.records()
        self.assertEqual([record.property_map["CLUSTER"] for record in records], ["GoldenCluster", "Other"])
        for side in (self.general, self.scanned):
            side.broker.becomes(BrokerRole.SLAVE)
        (answer,) = self.receive(batch_frame(members([5], 1)))
        self.assertEqual(answer.code, ResponseCode.SERVICE_NOT_AVAILABLE)
        self.assert_same_stores()

    def test_what_is_kept_is_bounded(self) -> None:
        self.patch(scanned_batches, "PLANS_MAX", 5)
        self.both()
        for number in range(20):
            self.receive(batch_frame(members([5]), a=f"PG{number}"))
            self.assertLessEqual(len(self.scanned.broker.parts.sending.scanned_batches._plans), 5)

    def test_keys_of_many_batches_do_not_wait_in_memory_for_ever(self) -> None:
        self.both()
        entered: list[int] = []
        self.patch(self.scanned.broker.parts.store.derived, "write_index", entered.append)
        for number in range(600):
            self.scanned.receive(batch_frame(members([0] * 30, 30 * number)))
        self.assertTrue(entered)
