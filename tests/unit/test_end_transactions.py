"""Commits and rollbacks: what is checked, what they leave in the log, and that the first decision counts."""

from __future__ import annotations

import base64

import yaml
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.store.append import Placed
from tests import golden
from tests.unit.transaction_parts import COMMIT, ROLLBACK, TOPIC, UNKNOWN, Bench

EVER = 1 << 62


class EndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench()

    # -- what they leave -----------------------------------------------------------------------------------

    def test_a_commit_delivers_the_message_as_it_was_sent(self) -> None:
        place = self.bench.send("K1", KEYS="order-1", colour="red")
        self.assertEqual(self.bench.delivered(), {})
        self.assertEqual(self.bench.end(place, COMMIT), (0, None))
        (half,) = self.bench.half_topic()
        (message,) = self.bench.queue(TOPIC, 1)
        self.assertEqual(message.body, b"paid")
        self.assertEqual((message.flag, message.sys_flag, message.reconsume_times), (5, 8, 2))
        self.assertEqual(message.prepared_transaction_offset, place.commit_log_offset)
        self.assertEqual(message.born_timestamp, half.born_timestamp)
        self.assertEqual(message.born_host, ("192.0.2.10", 50000))
        self.assertEqual(message.property_map, half.property_map)
        self.assertEqual(message.property_map["colour"], "red")
        self.assertEqual(self.bench.store.entry_at(TOPIC, 1, 0)[2], 2598919)  # type: ignore[index]

    def test_a_committed_message_is_found_by_its_keys_once(self) -> None:
        self.bench.end(self.bench.send("K1", KEYS="order-1 order-2"), COMMIT)
        for key in ("K1", "order-1", "order-2"):
            self.assertEqual(len(self.bench.store.query_by_key(TOPIC, key, 9, 0, EVER).offsets), 1, key)

    def test_commit_and_rollback_leave_an_op_message(self) -> None:
        first, second = self.bench.send("K1"), self.bench.send("K2", b"other")
        self.bench.end(second, ROLLBACK)
        self.bench.end(first, COMMIT)
        self.assertEqual(self.bench.ops(), [b"1", b"0"])
        self.assertEqual(self.bench.delivered(), {b"paid": 1})
        self.assertEqual(self.bench.open_keys(), [])
        figures = self.bench.log.figures
        self.assertEqual((figures.half_messages, figures.commits, figures.rollbacks), (2, 1, 1))

    def test_an_op_message_is_apaches_to_the_last_property(self) -> None:
        with golden.path("store/expected_full.yaml").open(encoding="utf-8") as file:
            records = yaml.load(file, yaml.CSafeLoader)["records"]
        theirs = next(line for line in records if line["topic"] == "RMQ_SYS_TRANS_OP_HALF_TOPIC")
        self.bench.end(self.bench.send("K1"), ROLLBACK)
        (op,) = self.bench.queue("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0)
        self.assertEqual(op.property_map, theirs["properties"])
        self.assertEqual(op.properties, b"WAIT\x01true\x02TAGS\x01d")
        self.assertEqual((op.sys_flag, op.flag, op.reconsume_times), (0, 0, 0))
        self.assertEqual((op.body, op.born_host), (b"0", op.store_host))
        entry = self.bench.store.entry_at("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0, 0)
        self.assertEqual(entry[2], 100)  # type: ignore[index]

    def test_a_delay_counts_from_the_commit(self) -> None:
        place = self.bench.send("K1", DELAY="3")
        self.bench.clock.advance(30)
        self.bench.end(place, COMMIT)
        self.assertEqual(self.bench.delivered(), {})
        (waiting,) = self.bench.queue("SCHEDULE_TOPIC_XXXX", 2)
        self.assertEqual(waiting.property_map["REAL_TOPIC"], TOPIC)
        self.assertEqual(waiting.property_map["REAL_QID"], "1")
        entry = self.bench.store.entry_at("SCHEDULE_TOPIC_XXXX", 2, 0)
        self.assertEqual(entry[2], self.bench.now_ms() + 10_000)  # type: ignore[index]

    # -- the first decision counts -------------------------------------------------------------------------

    def test_a_second_decision_has_no_effect(self) -> None:
        place = self.bench.send("K1")
        self.assertEqual(self.bench.end(place, COMMIT), (0, None))
        for decision in (COMMIT, ROLLBACK):
            self.assertEqual(self.bench.end(place, decision), (0, None))
        rolled_back = self.bench.send("K2")
        self.bench.end(rolled_back, ROLLBACK)
        self.assertEqual(self.bench.end(rolled_back, COMMIT), (0, None))
        self.assertEqual(self.bench.delivered(), {b"paid": 1})
        self.assertEqual(self.bench.ops(), [b"0", b"1"])
        self.assertEqual(self.bench.log.figures.repeated_ends, 3)

    def test_also_not_within_one_run_and_not_after_a_restart(self) -> None:
        place = self.bench.send("K1")
        frames = [self.bench.end_frame(place, decision) for decision in (COMMIT, COMMIT, ROLLBACK)]
        self.assertEqual([answer.code for answer in self.bench.answers(frames)], [0, 0, 0])
        again = self.bench.next_run()
        self.assertEqual(again.end(place, COMMIT), (0, None))
        self.assertEqual(again.delivered(), {b"paid": 1})
        self.assertEqual(again.ops(), [b"0"])

    def test_a_message_that_a_producer_sent_twice_is_one_transaction(self) -> None:
        first = self.bench.send("K1")
        second = self.bench.send("K1")
        self.bench.end(second, COMMIT)
        self.assertEqual(self.bench.end(first, COMMIT), (0, None))
        self.assertEqual(self.bench.delivered(), {b"paid": 1})
        self.assertEqual(self.bench.ops(), [b"1", b"0"])

    def test_groups_that_pass_on_the_same_message_have_transactions_of_their_own(self) -> None:
        """Both send what they consumed, with its UNIQ_KEY."""
        for restart in (False, True):
            bench = Bench()
            bench.connect()
            bench.connect("others")
            ours, theirs = bench.send("K1", b"ours"), bench.send("K1", b"theirs", group="others")
            self.assertEqual(bench.open_keys(), ["K1", "K1"])
            if restart:
                bench.advance(61)
                bench = bench.next_run()
            self.assertEqual(bench.end(ours, COMMIT, key="K1"), (0, None))
            self.assertEqual(bench.open_keys(), ["K1"])
            bench = bench.next_run()
            self.assertEqual(bench.end(theirs, COMMIT, "others", "K1"), (0, None))
            self.assertEqual(bench.delivered(), {b"ours": 1, b"theirs": 1})

    def test_a_key_may_be_used_again_when_its_transaction_has_ended(self) -> None:
        first = self.bench.send("K1", b"one")
        self.bench.end(first, COMMIT)
        second = self.bench.send("K1", b"two")
        self.bench.end(first, ROLLBACK)
        self.assertEqual(self.bench.open_keys(), ["K1"])
        again = self.bench.next_run()
        again.end(second, COMMIT)
        self.assertEqual(again.delivered(), {b"one": 1, b"two": 1})

    # -- what is refused -----------------------------------------------------------------------------------

    def test_each_check_has_its_remark(self) -> None:
        place = self.bench.send("K1")
        offset = place.commit_log_offset
        for wrong, group, remark in (
            (Placed(offset + 1, 0, 0), "payments", "Find prepared transaction message failed"),
            (Placed(999_999_999, 0, 0), "payments", "Find prepared transaction message failed"),
            (Placed(-1, 0, 0), "payments", "Find prepared transaction message failed"),
            (place, "others", "The producer group wrong"),
            (Placed(offset, 0, 5), "payments", "The transaction state table offset wrong"),
        ):
            for decision in (COMMIT, ROLLBACK):
                self.assertEqual(self.bench.end(wrong, decision, group), (1, remark))
        self.assertEqual(self.bench.open_keys(), ["K1"])
        self.assertEqual(self.bench.log.figures.refused_ends, 10)

    def test_a_committed_message_is_no_half_message(self) -> None:
        self.bench.end(self.bench.send("K1"), COMMIT)
        (message,) = self.bench.queue(TOPIC, 1)
        self.assertEqual(self.bench.end(message, COMMIT), (1, "Find prepared transaction message failed"))
        self.assertEqual(self.bench.delivered(), {b"paid": 1})

    def test_an_end_that_knows_nothing_is_answered_unless_one_way(self) -> None:
        place = self.bench.send("K1")
        self.assertEqual(self.bench.end(place, UNKNOWN), (0, None))
        for decision in (UNKNOWN, COMMIT):
            frame = self.bench.end_frame(place, decision)
            frame.flag |= 2
            self.assertEqual(self.bench.answers([frame]), [])
        self.assertEqual(self.bench.delivered(), {b"paid": 1})

    def test_a_slave_ends_nothing(self) -> None:
        place = self.bench.send("K1")
        self.bench.settings.store.broker_role = BrokerRole.SLAVE
        self.assertEqual(self.bench.end(place, COMMIT), (11, None))

    def test_a_decision_that_is_none_is_refused(self) -> None:
        frame = self.bench.end_frame(self.bench.send("K1"), COMMIT)
        assert frame.ext_fields is not None
        for value in ("5", None):
            frame.ext_fields["commitOrRollback"] = value or ""
            (answer,) = self.bench.answers([frame])
            self.assertEqual(answer.code, 1)
            self.assertIn("commitOrRollback", answer.remark or "")

    def test_nothing_is_decided_while_the_store_takes_nothing(self) -> None:
        first, second = self.bench.send("K1"), self.bench.send("K2")
        self.bench.store.refuse("full", "the disk is full")
        code, remark = self.bench.end(first, COMMIT)
        self.assertEqual((code, remark), (14, "service not available now. the disk is full"))
        self.assertEqual(sorted(self.bench.open_keys()), ["K1", "K2"])
        self.bench.store.accept("full")
        self.assertEqual(self.bench.end(first, COMMIT), (0, None))
        self.assertEqual(self.bench.end(second, COMMIT), (0, None))
        self.assertEqual(self.bench.delivered(), {b"paid": 2})

    def test_a_half_message_that_is_not_in_memory_is_read_by_a_thread(self) -> None:
        place = self.bench.send("K1")
        self.bench.disk.cold.update(path for path in self.bench.disk.nodes if "commitlog" in path)
        self.assertEqual(self.bench.end(place, COMMIT), (0, None))
        self.assertEqual(self.bench.delivered(), {b"paid": 1})


class RecordedTests(SynchronousTestCase):
    """END_TRANSACTION of the recording: our offsets in place of Apache's, else the same requests."""

    def test_ends_are_answered_as_recorded(self) -> None:
        bench = Bench()
        compared = []
        offsets: dict[str, str] = {}
        for case in golden.lines("frames/extras-broker.json.jsonl")[1:]:
            if case["case"] == "half message":
                fields = case["request"]["extFields"]
                properties = unpack_properties(fields["i"].encode())
                group = properties.pop("PGROUP")
                place = bench.send(properties.pop("UNIQ_KEY"), b"half", group, queue_id=0, **properties)
                theirs = int(case["responses"][0]["extFields"]["msgId"][16:], 16)
                offsets |= {str(theirs + shift): str(place[0] + shift) for shift in (0, 1)}
            if case["case"].startswith("end: "):
                frame = Frame(RequestCode.END_TRANSACTION, ext_fields=dict(case["request"]["extFields"]))
                assert frame.ext_fields is not None
                frame.ext_fields["commitLogOffset"] = offsets[frame.ext_fields["commitLogOffset"]]
                (answer,) = bench.answers([frame])
                expected = case["responses"][0]
                stale = {"not set any response code": None}
                remark = stale.get(expected["remark"], expected["remark"])
                self.assertEqual((answer.code, answer.remark), (expected["code"], remark), case["case"])
                compared.append(case["case"])
        self.assertEqual(len(compared), 7)
        self.assertEqual(bench.queue("orders", 0)[0].body, b"half")

    def test_a_check_is_the_recorded_one(self) -> None:
        """The same message, half stored and checked here, gives the bytes that Apache pushed."""
        lines = golden.lines("frames/accept-transaction.json.jsonl")[1:]
        check = next(line for line in lines if line.get("code") == 39)
        raw = base64.b64decode(check["raw"])
        head = 8 + int.from_bytes(raw[5:8], "big")
        theirs = decode_record(raw[head:])
        bench = Bench()
        peer = bench.connect("txpndfid")
        sent = {
            name: value for name, value in theirs.property_map.items() if name in ("KEYS", "TAGS", "TRAN_MSG")
        }
        key = theirs.property_map["UNIQ_KEY"]
        bench.send(key, b"UC1", "txpndfid", queue_id=3, flag=0, **sent)
        bench.advance(61)
        self.assertEqual(set(peer.asked[0].ext_fields or ()), set(check["extFields"]))
        ((header, ours),) = peer.take()
        self.assertEqual(header.msg_id, key)
        self.assertEqual(header.transaction_id, key)
        self.assertEqual((header.tran_state_table_offset, ours.queue_offset), (1, 1))
        self.assertEqual(header.commit_log_offset, ours.commit_log_offset)
        self.assertEqual(header.offset_msg_id, ours.offset_message_id)
        expected = dict(theirs.property_map, REAL_TOPIC="orders")
        self.assertEqual(ours.property_map, expected)
        self.assertEqual(list(ours.property_map), list(expected))
        self.assertEqual((ours.topic, ours.queue_id, ours.sys_flag), ("orders", 3, 0))
