"""Messages in further queues: their numbers, their entries, and what crashes, slaves and deletions do."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import MessageError, StoreUnavailable
from rocketmq_tx.protocol.message import MessageRecord, decode_records
from rocketmq_tx.protocol.properties import pack_properties, unpack_properties
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.multi_dispatch import Further, further_queues, pieces, stands_further_in
from rocketmq_tx.store.store_files import StoreFiles
from rocketmq_tx.store.verify import verify
from tests import store_cases
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW

ON = {"enable_lmq": True, "enable_multi_dispatch": True}
A, B = "%LMQ%a", "%LMQ%b"


def message(named: str | None = None, topic: str = "TopicTest", queue_id: int = 0, **more: Any) -> NewMessage:
    """A message that names further queues."""
    plain = store_cases.message(topic, queue_id, **more)
    properties = unpack_properties(plain.properties)
    if named is not None:
        properties["INNER_MULTI_DISPATCH"] = named
    return plain._replace(properties=pack_properties(properties))


def open_store(disk: MemoryDisk, **changes: Any) -> MessageStore:
    return store_cases.open_store(disk, **{**ON, **changes})


def records(store: MessageStore, topic: str, queue_id: int = 0) -> list[MessageRecord]:
    offset, end = store.queue_offsets(topic, queue_id)
    found: list[MessageRecord] = []
    while offset < end:
        result = store.get_messages(topic, queue_id, offset, 32)
        found += decode_records(result.body)
        offset = result.next_offset
    return found


def bodies(store: MessageStore, topic: str, queue_id: int = 0) -> list[bytes]:
    return [record.body for record in records(store, topic, queue_id)]


def offsets_told(record: MessageRecord) -> str | None:
    return record.property_map.get("INNER_MULTI_QUEUE_OFFSET")


def damage(disk: MemoryDisk) -> list[str]:
    """What `mqstore verify` has against the store."""
    report = verify(StoreFiles(disk, "/store"))
    return [finding.sentence for finding in report.findings.kept if finding.is_damage]


class ListTests(SynchronousTestCase):
    def test_lists_are_cut_as_java_cuts_them(self) -> None:
        cases = {"": [], "a": ["a"], "a,b": ["a", "b"], "a,": ["a"], ",": [], "a,,b": ["a", "", "b"]}
        for text, expected in cases.items():
            self.assertEqual(pieces(text), expected, text)

    def test_light_queues_have_the_id_0_and_others_that_of_the_message(self) -> None:
        properties = {"INNER_MULTI_DISPATCH": f"{A},Other", "INNER_MULTI_QUEUE_OFFSET": "3,4"}
        self.assertEqual(further_queues(properties, 7, True), [Further(A, 0, 3), Further("Other", 7, 4)])
        self.assertEqual(further_queues(properties, 7, False), [Further(A, 7, 3), Further("Other", 7, 4)])

    def test_lists_that_do_not_fit_together_name_nothing(self) -> None:
        for offsets in ("", "1", "1,2,3", "1,x", "1,-2", "1,²"):
            properties = {"INNER_MULTI_DISPATCH": f"{A},{B}", "INNER_MULTI_QUEUE_OFFSET": offsets}
            self.assertEqual(further_queues(properties, 0, True), [], offsets)

    def test_a_name_that_leads_out_of_the_directory_is_no_queue(self) -> None:
        for name in ("..", "../x", "a/b", "x" * 128, ""):
            properties = {"INNER_MULTI_DISPATCH": f"{name},{A}", "INNER_MULTI_QUEUE_OFFSET": "0,1"}
            self.assertEqual(further_queues(properties, 0, True), [Further(A, 0, 1)], name)

    def test_a_record_stands_further_in_the_queues_that_it_names(self) -> None:
        stored = pack_properties({"INNER_MULTI_DISPATCH": f"{A},Other"})
        self.assertTrue(stands_further_in(stored, 2, A, 0))
        self.assertTrue(stands_further_in(stored, 2, "Other", 2))
        self.assertFalse(stands_further_in(stored, 2, "Other", 1))
        self.assertFalse(stands_further_in(stored, 2, B, 0))
        self.assertFalse(stands_further_in(b"", 2, B, 0))


class AppendTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk)

    def test_a_message_stands_in_its_own_queue_and_in_those_that_it_names(self) -> None:
        self.store.append_all([message(f"{A},{B}", queue_id=3, body=b"one"), message(body=b"plain")], NOW)
        self.store.append_all([message(B, queue_id=1, body=b"two")], NOW)
        self.assertEqual(bodies(self.store, A), [b"one"])
        self.assertEqual(bodies(self.store, B), [b"one", b"two"])
        self.assertEqual(bodies(self.store, "TopicTest", 3), [b"one"])
        self.assertEqual([offsets_told(one) for one in records(self.store, B)], ["0,0", "1"])
        self.assertEqual(self.store.take_further_arrivals(), {(A, 0), (B, 0)})
        self.assertEqual(self.store.take_further_arrivals(), set())
        self.assertEqual(self.store.light_queue_count, 2)

    def test_numbers_of_one_append_follow_each_other(self) -> None:
        self.store.append_all(
            [message(A), message("Other"), message(topic="Other"), message(f"Other,{A}"), message(A)], NOW
        )
        told = [offsets_told(one) for one in records(self.store, "TopicTest")]
        self.assertEqual(told, ["0", "0", "2,1", "2"])
        self.assertEqual([one.queue_offset for one in records(self.store, "Other")], [1, 1, 2])

    def test_a_queue_named_twice_and_the_own_one_get_one_entry(self) -> None:
        self.store.append_all([message(f"{A},{A},TopicTest"), message(A)], NOW)
        self.assertEqual(self.store.queue_offsets(A, 0), (0, 2))
        self.assertEqual(self.store.queue_offsets("TopicTest", 0), (0, 2))
        self.assertEqual(offsets_told(records(self.store, A)[0]), "0,0,0")

    def test_numbers_that_came_with_a_message_are_replaced(self) -> None:
        forged = message(A)
        forged = forged._replace(properties=forged.properties + b"\2INNER_MULTI_QUEUE_OFFSET\x0199")
        self.store.append_all([forged], NOW)
        self.assertEqual([offsets_told(one) for one in records(self.store, A)], ["0"])

    def test_what_waits_or_comes_again_stands_in_its_own_queue_only(self) -> None:
        for topic in ("SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "rmq_sys_wheel_timer", "%RETRY%g",
                      "%DLQ%g"):  # fmt: skip
            self.store.append_all([message(A, topic=topic)], NOW)
            self.assertIsNone(offsets_told(records(self.store, topic)[0]), topic)
        self.store.append_all([message(A, sys_flag=4)], NOW)
        self.assertEqual(self.store.queue_offsets(A, 0), (0, 0))

    def test_a_name_that_could_be_no_folder_keeps_the_message_in_its_own_queue(self) -> None:
        for named in ("../x", f"{A},..", f"{A},%DLQ%g", f"{A},SCHEDULE_TOPIC_XXXX", f",{A}"):
            self.store.append_all([message(named)], NOW)
        self.assertEqual({topic for topic, _ in self.store.queues()}, {"TopicTest"})

    def test_while_it_is_off_nothing_is_added(self) -> None:
        self.store.config.enable_multi_dispatch = False
        self.store.append_all([message(A)], NOW)
        self.assertIsNone(offsets_told(records(self.store, "TopicTest")[0]))
        self.assertEqual(self.store.queue_offsets(A, 0), (0, 0))
        self.store.config.enable_multi_dispatch = True
        self.store.append_all([message(A)], NOW)
        self.assertEqual(self.store.queue_offsets(A, 0), (0, 1))

    def test_without_light_queues_a_name_means_the_queue_of_the_same_id(self) -> None:
        store = open_store(MemoryDisk(), enable_lmq=False)
        store.append_all([message(A, queue_id=2)], NOW)
        self.assertEqual(store.queue_offsets(A, 2), (0, 1))
        self.assertEqual(store.queue_offsets(A, 0), (0, 0))

    def test_a_write_that_fails_leaves_no_entry_anywhere(self) -> None:
        self.store.append_all([message(A)], NOW)
        self.disk.fail("write", "commitlog", 28)
        self.assertRaises(StoreUnavailable, self.store.append_all, [message(f"{A},{B}"), message(A)], NOW)
        self.disk.heal()
        self.assertEqual(self.store.queue_offsets(A, 0), (0, 1))
        self.assertEqual(self.store.queue_offsets(B, 0), (0, 0))
        self.store.take_further_arrivals()
        self.store.append_all([message(f"{A},{B}", body=b"again")], NOW)
        self.assertEqual(bodies(self.store, A), [b"hello", b"again"])

    def test_numbers_that_make_the_properties_too_long_refuse_the_message(self) -> None:
        named = ",".join(f"{A}{number:05}" for number in range(2500))
        self.assertRaises(MessageError, self.store.append_all, [message(A), message(named)], NOW)
        self.assertEqual(self.store.queue_offsets(A, 0), (0, 0))
        self.assertEqual(self.store.queue_offsets("TopicTest", 0), (0, 0))

    def test_a_batch_stays_in_one_segment_with_its_numbers(self) -> None:
        self.store.append_all([message(body=b"x" * 60_000)], NOW)
        placed = self.store.append_all([message(A, body=b"y" * 1200) for _ in range(4)], NOW, whole=True)
        self.assertEqual({one.commit_log_offset // store_cases.SEGMENT for one in placed}, {1})
        self.assertEqual(self.store.queue_offsets(A, 0), (0, 4))


class LaterTests(SynchronousTestCase):
    """What comes after: starts, crashes, a slave, deletions, old files, other settings."""

    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk)
        for number in range(50):
            named = (None, A, f"{A},{B}")[number % 3]
            body = b"%d" % number
            self.store.append_all([message(named, queue_id=number % 2, body=body)], NOW + number)
        self.store.take_further_arrivals()
        self.wanted = {A: bodies(self.store, A), B: bodies(self.store, B)}
        self.assertEqual([len(found) for found in self.wanted.values()], [33, 16])

    def assert_all_there(self, store: MessageStore) -> None:
        for topic, wanted in self.wanted.items():
            self.assertEqual(bodies(store, topic), wanted)
        self.assertEqual(store.light_queue_count, 2)

    def assert_made_again(self, disk: MemoryDisk) -> None:
        """A start on this disk makes all entries that are not there, and none is wrong after that."""
        store = open_store(disk)
        self.assert_all_there(store)
        store.close(NOW)
        self.assertEqual(damage(disk), [])

    def test_after_an_orderly_stop_all_is_there(self) -> None:
        self.store.close(NOW)
        self.assertEqual(damage(self.disk), [])
        self.assert_all_there(open_store(self.disk))

    def test_after_a_kill_entries_that_were_not_written_are_made_again(self) -> None:
        self.assert_made_again(self.disk.after_kill())

    def test_after_a_power_cut_all_that_was_flushed_is_there(self) -> None:
        job = self.store.begin_flush()
        assert job is not None
        job.run()
        for seed in range(20):
            self.assert_all_there(open_store(self.disk.after_power_cut(random.Random(seed))))

    def test_after_a_kill_behind_a_checkpoint_the_rest_is_added(self) -> None:
        self.store.derived.save_checkpoint(NOW)
        self.store.append_all([message(f"{B},{A}", body=b"last")], NOW + 100)
        for wanted in self.wanted.values():
            wanted.append(b"last")
        store = open_store(self.disk.after_kill())
        self.assert_all_there(store)
        self.assertEqual(store.take_further_arrivals(), set())

    def test_lost_queues_are_built_again_from_the_log(self) -> None:
        self.store.close(NOW)
        self.disk.remove_tree("/store/consumequeue")
        self.assert_all_there(open_store(self.disk))

    def test_new_messages_go_on_behind_the_old_numbers(self) -> None:
        self.store.close(NOW)
        store = open_store(self.disk)
        store.append_all([message(A, body=b"new")], NOW)
        self.assertEqual(offsets_told(records(store, A)[-1]), "33")

    def test_a_damaged_record_keeps_its_number_and_is_withheld(self) -> None:
        lost = records(self.store, A)[5]
        self.store.close(NOW)
        self.disk.spoil("/store/commitlog/00000000000000000000", lost.commit_log_offset + 88, b"#")
        self.disk.remove_tree("/store/consumequeue")
        store = open_store(self.disk)
        self.assertEqual(store.queue_offsets(A, 0), (0, 33))
        self.wanted[A].remove(lost.body)
        if lost.body in self.wanted[B]:
            self.wanted[B].remove(lost.body)
        self.assert_all_there(store)

    def test_a_slave_enters_them_as_its_master_did_and_says_what_came(self) -> None:
        slave = open_store(MemoryDisk())
        data = self.store.log_bytes(0, 1 << 30)
        arrived: set[tuple[str, int]] = set()
        for at in range(0, len(data), 1000):
            arrived |= slave.append_raw(data[at : at + 1000], at, NOW)
        self.assertEqual(arrived, {("TopicTest", 0), ("TopicTest", 1), (A, 0), (B, 0)})
        self.assert_all_there(slave)

    def test_a_slave_that_has_it_off_keeps_messages_in_their_own_queues(self) -> None:
        slave = open_store(MemoryDisk(), enable_multi_dispatch=False)
        slave.append_raw(self.store.log_bytes(0, 1 << 30), 0, NOW)
        self.assertEqual({topic for topic, _ in slave.queues()}, {"TopicTest"})

    def test_a_deleted_light_queue_begins_at_0_and_stays_so_after_a_crash(self) -> None:
        self.store.delete_topic(A)
        self.assertEqual(self.store.light_queue_count, 1)
        self.store.append_all([message(A, body=b"first")], NOW + 100)
        self.assertEqual(offsets_told(records(self.store, A)[0]), "0")
        self.wanted[A] = [b"first"]
        disk = self.disk.after_kill()
        disk.remove_tree("/store/consumequeue")
        self.assert_made_again(disk)

    def test_the_messages_of_a_deleted_topic_stay_in_the_light_queues(self) -> None:
        self.store.delete_topic("TopicTest")
        disk = self.disk.after_kill()
        disk.remove_tree("/store/consumequeue")
        self.assert_made_again(disk)

    def test_what_retention_takes_goes_from_the_light_queues_as_well(self) -> None:
        for number in range(40):
            self.store.append_all([message(A, body=b"x" * 8000)], NOW + 100 + number)
        self.flush()
        oldest = self.store.expiry.oldest()
        assert oldest is not None
        self.store.expiry.drop(oldest)
        first, end = self.store.queue_offsets(A, 0)
        self.assertGreater(first, 33)
        self.assertEqual(end, 73)
        self.assertEqual(len(records(self.store, A)), end - first)
        self.assertEqual(self.store.expiry.expired_topics() & {A, B}, {B})
        self.store.delete_topics({B})
        self.assertEqual(self.store.light_queue_count, 1)

    def flush(self) -> None:
        job = self.store.begin_flush()
        assert job is not None
        job.run()
        self.store.finish_flush(job)

    def test_verification_misses_an_entry_of_a_light_queue(self) -> None:
        self.store.close(NOW)
        path = f"/store/consumequeue/{A}/0/00000000000000000000"
        self.disk.spoil(path, 20 * 32, bytes(20))
        self.assertIn(f"{A} queue 0: 1 entries are missing, from 32 on", damage(self.disk))

    def test_verification_finds_an_entry_for_a_message_that_is_not_in_the_queue(self) -> None:
        plain = records(self.store, "TopicTest", 0)[0]
        self.store.close(NOW)
        entry = plain.commit_log_offset.to_bytes(8, "big") + len(plain.body).to_bytes(4, "big") + bytes(8)
        path = f"/store/consumequeue/{A}/0/00000000000000000000"
        self.disk.spoil(path, 0, entry)
        self.assertTrue(any(A in finding for finding in damage(self.disk)))

    def test_a_record_that_does_not_name_the_queue_is_withheld_from_it(self) -> None:
        plain = records(self.store, "TopicTest", 0)[0]
        self.store.close(NOW)
        path = f"/store/consumequeue/{A}/0/00000000000000000000"
        start = plain.commit_log_offset.to_bytes(8, "big")
        self.disk.spoil(path, 0, start + self.disk.content("/store/commitlog/" + "0" * 20)[:4])
        found = bodies(open_store(self.disk), A)
        self.assertNotIn(plain.body, found)


QUEUE_NAMES = st.sampled_from([A, B, "%LMQ%c", "TopicTest", "Other"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.lists(QUEUE_NAMES, max_size=4), min_size=1, max_size=6)),
        st.tuples(st.sampled_from(["kill", "stop", "checkpoint", "rebuild"]), st.none()),
    ),
    max_size=12,
)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=60)
    @given(STEPS)
    def test_whatever_happens_each_queue_has_its_messages_once_and_in_order(self, steps: Any) -> None:
        disk = MemoryDisk()
        store = open_store(disk)
        wanted: dict[str, list[bytes]] = {}
        sent = 0
        for step, runs in steps:
            if step == "send":
                messages = []
                for named in runs:
                    body = b"%d" % sent
                    sent += 1
                    topic = ("TopicTest", "Other")[sent % 2]
                    messages.append(message(",".join(named) or None, topic=topic, body=body))
                    for name in dict.fromkeys([topic, *named]):
                        wanted.setdefault(name, []).append(body)
                store.append_all(messages, NOW)
            elif step == "checkpoint":
                store.derived.save_checkpoint(NOW)
            else:
                if step == "kill":
                    disk = disk.after_kill()
                else:
                    store.close(NOW)
                if step == "rebuild":
                    disk.remove_tree("/store/consumequeue")
                store = open_store(disk)
        self.assertEqual({name: bodies(store, name) for name in wanted}, wanted)
        store.close(NOW)
        self.assertEqual(damage(disk), [])
