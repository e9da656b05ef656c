"""What a master deletes goes from its slave's queues as well, however far that one is when it hears of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.followed_deletions import FollowedDeletions
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import Killed, MemoryDisk
from tests.store_cases import NOW, message, open_store

TOPICS = st.sampled_from(["A", "B"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), TOPICS, st.integers(1, 20)),
        st.tuples(st.just("delete"), TOPICS),
        st.tuples(st.just("copy"), st.integers(1, 4000)),
        st.tuples(st.just("tell")),
        st.tuples(st.just("kill")),
        st.tuples(st.just("save")),
    ),
    max_size=25,
)


def served(store: MessageStore) -> dict[tuple[str, int], list[tuple[int, bytes]]]:
    """Number and body of every message that pulls give."""
    found = {}
    for where in store.queues():
        at, end = store.queue_offsets(*where)
        messages = []
        while at < end:
            result = store.get_messages(*where, at, 32)
            messages += [(record.queue_offset, record.body) for record in decode_records(result.body)]
            at = result.next_offset
        if messages:
            found[where] = messages
    return found


class Pair:
    def __init__(self) -> None:
        self.master, self.slave_disk = open_store(MemoryDisk()), MemoryDisk()
        self.slave = open_store(self.slave_disk)
        self.sent = 0

    def send(self, topic: str, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            self.master.append_all([message(topic, self.sent % 3, b"%d" % self.sent)], NOW + self.sent)

    def delete(self, topic: str) -> None:
        self.master.delete_topic(topic)

    def copy(self, most: int = 1 << 20) -> None:
        start = self.slave.written_to
        data = self.master.log_bytes(start, most)
        if data:
            self.slave.append_raw(data, start, NOW)
        self.slave.drop_unfinished()

    def tell(self) -> list[str]:
        return self.slave.topics_were_deleted(self.master.deleted_topics)

    def save(self) -> None:
        self.slave.derived.save_checkpoint(NOW)

    def kill(self) -> None:
        self.slave_disk = self.slave_disk.after_kill()
        self.slave = open_store(self.slave_disk)


class SlaveDeletions(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(STEPS)
    def test_in_the_end_the_slave_serves_what_its_master_does(self, steps: list) -> None:
        pair = Pair()
        for name, *arguments in steps:
            getattr(pair, name)(*arguments)
        pair.copy()
        pair.tell()
        self.assertEqual(served(pair.slave), served(pair.master))
        pair.kill()
        self.assertEqual(served(pair.slave), served(pair.master))

    def test_new_messages_are_served_that_came_before_the_word_of_the_deletion(self) -> None:
        pair = Pair()
        pair.send("A", 9)
        pair.delete("A")
        pair.send("A", 5)
        pair.copy()
        self.assertEqual(pair.tell(), ["A"])
        self.assertEqual(served(pair.slave), served(pair.master))
        self.assertEqual(pair.tell(), [])

    def test_a_kill_while_it_deletes_changes_nothing(self) -> None:
        def work(kill_at: int | None) -> Pair:
            pair = Pair()
            pair.send("A", 9)
            pair.send("B", 3)
            pair.copy()
            pair.save()
            pair.delete("A")
            pair.send("A", 5)
            pair.copy()
            pair.slave.derived.write_all(NOW)
            if kill_at is not None:
                pair.slave_disk.kill_at = pair.slave_disk.changes + kill_at
            try:
                pair.tell()
            except Killed:
                pair.slave_disk.kill_at = None
                pair.kill()
                pair.tell()
            else:
                pair.finished = True  # type: ignore[attr-defined]
            return pair

        wanted = served(work(None).slave)
        self.assertEqual([len(messages) for messages in wanted.values()], [1, 1, 1, 2, 2, 1])
        kill_at = 0
        while not hasattr(pair := work(kill_at), "finished"):
            self.assertEqual(served(pair.slave), wanted, f"killed at change {kill_at}")
            kill_at += 1
        self.assertGreater(kill_at, 5)


class FollowedDeletionsTests(SynchronousTestCase):
    """The word of a deletion, and the log, in either order."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.config = MessageStoreConfig(broker_role=BrokerRole.SLAVE)
        self.offsets = ConsumerOffsets()
        self.offsets.commit("readers", "A", 0, 3)
        self.deletions = FollowedDeletions(self.config, self.pair.slave, self.offsets)

    def learn(self) -> Deferred[None]:
        return self.deletions.learn(self.pair.master.deleted_topics)

    def copy(self) -> None:
        self.pair.copy()
        self.deletions.log_grew()

    def test_messages_and_offsets_go_at_once_where_the_log_is_as_far(self) -> None:
        self.pair.send("A", 9)
        self.copy()
        self.pair.delete("A")
        self.successResultOf(self.learn())
        self.assertEqual(served(self.pair.slave), {})
        self.assertEqual(self.offsets.topics_of("readers"), [])

    def test_old_messages_that_come_after_the_word_go_when_all_of_them_have_come(self) -> None:
        self.pair.send("A", 9)
        self.pair.copy(500)
        self.pair.delete("A")
        learnt, again = self.learn(), self.learn()
        self.assertNoResult(learnt)
        self.copy()
        self.successResultOf(learnt)
        self.successResultOf(again)
        self.pair.send("A", 2)
        self.copy()
        self.assertEqual(served(self.pair.slave), served(self.pair.master))
        self.assertEqual(len(served(self.pair.slave)), 2)

    def test_who_has_become_master_deletes_nothing_for_another(self) -> None:
        self.pair.send("A", 9)
        self.pair.copy(500)
        self.pair.delete("A")
        self.learn()
        before = self.pair.slave.deleted_topics
        self.config.broker_role = BrokerRole.ASYNC_MASTER
        self.copy()
        self.assertEqual(self.pair.slave.deleted_topics, before)
        self.successResultOf(self.learn())
        self.assertEqual(self.pair.slave.deleted_topics, before)


class NewBeginningTests(SynchronousTestCase):
    """A master that says nothing of deletions, as Apache's: the log shows where a queue begins anew."""

    def test_a_queue_that_the_master_begins_anew_begins_anew_on_its_slave(self) -> None:
        pair = Pair()
        pair.send("A", 9)
        pair.send("B", 3)
        pair.copy()
        pair.delete("A")
        pair.send("A", 5)
        pair.copy()
        self.assertEqual(served(pair.slave), served(pair.master))
        pair.kill()
        self.assertEqual(served(pair.slave), served(pair.master))

    def test_it_does_so_again_when_all_queues_are_built_from_the_log(self) -> None:
        pair = Pair()
        pair.send("A", 9)
        pair.delete("A")
        pair.send("A", 5)
        pair.copy()
        pair.save()
        pair.slave_disk = pair.slave_disk.after_kill()
        pair.slave_disk.remove_tree("/store/consumequeue")
        pair.slave = open_store(pair.slave_disk)
        self.assertEqual(served(pair.slave), served(pair.master))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(1, 3000), max_size=20), st.integers(0, 20))
    def test_however_the_log_comes_and_whenever_it_is_killed(
        self, pieces: list[int], kill_after: int
    ) -> None:
        pair = Pair()
        for count in (7, 4, 6):
            pair.delete("A")
            pair.send("A", count)
        for number, most in enumerate(pieces):
            pair.copy(most)
            if number == kill_after:
                pair.kill()
        pair.copy()
        self.assertEqual(served(pair.slave), served(pair.master))
