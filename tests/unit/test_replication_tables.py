"""What a slave takes over from its master beside the log, and a returning master from its slaves."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.delay_progress import DelayProgress
from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.offsets_return import OffsetsReturn
from rocketmq_tx.broker.slave_sync import LOG_WAIT_S, SlaveSync
from rocketmq_tx.broker.table_news import TOGETHER_S, TableNews
from rocketmq_tx.broker.topics import TopicChange, TopicTable
from rocketmq_tx.errors import ConnectFailed, RequestRefused, RequestTimeout
from rocketmq_tx.protocol.bodies import (
    BrokerData,
    ClusterInfo,
    DataVersion,
    KVTable,
    SubscriptionGroupConfig,
    TopicConfig,
)
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.registry import Reply
from tests.unit.broker_parts import FakePeer, MemoryFile, broker_settings

MASTER = "192.0.2.1:10911"
SLAVE = "192.0.2.2:10911"
NAME_SERVER = "192.0.2.9:9876"


class Tables:
    """The tables of one broker."""

    def __init__(self, now_ms: int = 1000) -> None:
        broker = broker_settings().broker
        self.topics_file, self.groups_file = MemoryFile(), MemoryFile()
        self.topics = TopicTable(broker, self.topics_file, lambda: now_ms)
        self.groups = SubscriptionGroupTable(broker, self.groups_file, lambda: now_ms)
        self.offsets = ConsumerOffsets()
        self.log_end = 0
        self.delays = DelayProgress(lambda: self.log_end)

    def answers(self) -> dict[int, bytes]:
        return {
            RequestCode.GET_ALL_TOPIC_CONFIG: self.topics.snapshot().to_bytes(),
            RequestCode.GET_ALL_CONSUMER_OFFSET: self.offsets.snapshot().to_bytes(),
            RequestCode.GET_ALL_DELAY_OFFSET: self.delays.snapshot().to_bytes(),
            RequestCode.GET_BROKER_RUNTIME_INFO: KVTable(
                table={"commitLogMaxOffset": str(self.log_end)}
            ).to_bytes(),
            RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: self.groups.snapshot().to_bytes(),
        }


class Network:
    """Answers calls from dictionaries of bodies by code, one for each address."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.brokers: dict[str, dict[int, bytes]] = {}
        self.held: Deferred[Frame] | None = None
        """The next answer, if it is not to come at once."""

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        self.asked.append((address, frame.code))
        if self.held is not None:
            held, self.held = self.held, None
            return held
        broker = self.brokers.get(address)
        if broker is None:
            return fail(ConnectFailed(f"no connection to {address}: refused"))
        body = broker.get(frame.code)
        if body is None:
            return succeed(frame.answer(3, " request type not supported"))
        return succeed(frame.answer(0, body=body))


class SlaveSyncTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.master, self.slave = Tables(), Tables(now_ms=5)
        self.network = Network()
        self.deleted: list[object] = []
        self.gone: Deferred[None] = succeed(None)
        self.sync = SlaveSync(
            self.slave.topics,
            self.slave.groups,
            self.slave.offsets,
            self.slave.delays,
            self.delete,
            self.network,
            self.clock,
        )
        self.sync.startService()
        self.addCleanup(self.sync.stopService)

    def delete(self, ends: Mapping[str, int]) -> Deferred[None]:
        self.deleted.append(ends)
        return self.gone

    def answer(self) -> None:
        self.network.brokers[MASTER] = self.master.answers()

    def master_deletes(self) -> None:
        table = self.master.topics.snapshot()
        table.deleted_topics = {"Gone": 12345}
        self.network.brokers[MASTER][RequestCode.GET_ALL_TOPIC_CONFIG] = table.to_bytes()

    def have_taken(self) -> Deferred[Reply]:
        """The master wants to be sure."""
        frame = Frame.request(RequestCode.TAKE_TABLES)
        return Deferred.fromCoroutine(self.sync.take_tables(FakePeer(), frame, None))

    def test_a_known_master_is_asked_for_everything_at_once_and_then_every_ten_seconds(self) -> None:
        self.answer()
        self.sync.master_is(MASTER)
        self.assertEqual([code for _, code in self.network.asked], [21, 43, 45, 28, 201])
        self.sync.master_is(MASTER)
        self.clock.advance(9.9)
        self.assertEqual(len(self.network.asked), 5)
        self.clock.advance(0.2)
        self.assertEqual(len(self.network.asked), 10)

    def test_without_a_master_nobody_is_asked(self) -> None:
        self.clock.advance(20)
        self.assertEqual(self.network.asked, [])

    def test_topics_and_groups_become_the_masters_with_its_data_version(self) -> None:
        self.slave.topics.put(TopicConfig(topic_name="OnlyHere"))
        self.master.topics.put(TopicConfig(topic_name="Orders", read_queue_nums=5))
        self.master.groups.put(SubscriptionGroupConfig(group_name="readers", retry_max_times=3))
        changes: list[TopicChange] = []
        self.slave.topics.observers.append(changes.append)
        self.answer()
        self.sync.master_is(MASTER)
        slave, master = self.slave, self.master
        self.assertEqual(slave.topics.configs(), master.topics.configs())
        self.assertEqual(slave.topics.data_version, master.topics.data_version)
        self.assertEqual(slave.groups.configs(), master.groups.configs())
        self.assertEqual(slave.groups.data_version, master.groups.data_version)
        [change] = changes
        self.assertEqual(change.deleted, ("OnlyHere",))
        self.assertIn("Orders", [topic.topic_name for topic in change.changed])
        self.assertEqual(slave.topics_file.saved[-1], master.topics.to_json())

    def test_topics_that_the_master_has_deleted_are_told_of_with_where_its_log_ended(self) -> None:
        self.answer()
        self.sync.master_is(MASTER)
        self.assertEqual(self.deleted, [])
        self.master_deletes()
        self.clock.advance(10.1)
        self.assertEqual(self.deleted, [{"Gone": 12345}])

    def test_a_master_that_wants_to_be_sure_hears_when_its_deletions_are_done(self) -> None:
        self.answer()
        self.sync.master_is(MASTER)
        self.master_deletes()
        self.gone = Deferred()
        answer = self.have_taken()
        self.assertEqual(self.deleted, [{"Gone": 12345}])
        self.assertNoResult(answer)
        self.gone.callback(None)
        self.assertEqual(self.successResultOf(answer).code, 0)

    def test_a_former_master_that_wants_to_be_sure_is_refused_and_nothing_is_taken_of_it(self) -> None:
        """Who takes over stops following, and must not get the tables of a master that has not noticed."""
        self.answer()
        self.sync.master_is(MASTER)
        self.master.topics.put(TopicConfig(topic_name="Later"))
        late = self.network.held = Deferred()
        on_its_way = self.have_taken()
        self.sync.stopService()
        late.callback(Frame(0, body=self.master.topics.snapshot().to_bytes()))
        self.failureResultOf(on_its_way, RequestRefused)
        self.answer()
        self.failureResultOf(self.have_taken(), RequestRefused)
        self.assertIsNone(self.slave.topics.get("Later"))

    def test_a_master_that_wants_to_be_sure_hears_what_keeps_this_slave(self) -> None:
        self.assertIn("follows nobody", self.failureResultOf(self.have_taken()).value.remark)
        self.answer()
        self.sync.master_is(MASTER)
        self.master_deletes()
        self.gone = Deferred()
        answer = self.have_taken()
        self.clock.advance(LOG_WAIT_S)
        self.assertIn("not as far", self.failureResultOf(answer, RequestRefused).value.remark)
        del self.network.brokers[MASTER]
        self.assertIn("refused", self.failureResultOf(self.have_taken(), RequestRefused).value.remark)

    def test_what_has_the_same_data_version_is_left_alone(self) -> None:
        self.answer()
        self.sync.master_is(MASTER)
        written = len(self.slave.topics_file.saved), len(self.slave.groups_file.saved)
        self.clock.advance(10)
        self.assertEqual((len(self.slave.topics_file.saved), len(self.slave.groups_file.saved)), written)

    def test_of_two_consumer_offsets_the_higher_one_wins(self) -> None:
        self.master.offsets.commit("readers", "Orders", 0, 7)
        self.master.offsets.commit("readers", "Orders", 1, 7)
        self.slave.offsets.commit("readers", "Orders", 1, 9)
        self.slave.offsets.commit("others", "Orders", 0, 2)
        self.answer()
        self.sync.master_is(MASTER)
        self.assertEqual(dict(self.slave.offsets.queues("readers", "Orders")), {0: 7, 1: 9})
        self.assertEqual(self.slave.offsets.query("others", "Orders", 0), 2)

    def test_a_group_that_is_set_back_on_both_stays_there(self) -> None:
        """On the master alone it does not: the slave cannot tell that from a consumer that went on there."""
        for table in (self.master, self.slave):
            table.offsets.commit("readers", "Orders", 0, 9)
        self.answer()
        self.sync.master_is(MASTER)
        self.master.offsets.commit("readers", "Orders", 0, 4)
        self.answer()
        self.clock.advance(10)
        self.assertEqual(self.slave.offsets.query("readers", "Orders", 0), 9)
        self.slave.offsets.commit("readers", "Orders", 0, 4)
        self.clock.advance(10)
        self.assertEqual(self.slave.offsets.query("readers", "Orders", 0), 4)

    def test_the_progress_of_delays_is_the_masters(self) -> None:
        self.master.delays.delivered_to(3, 12)
        self.slave.delays.delivered_to(3, 15)
        self.answer()
        self.sync.master_is(MASTER)
        self.assertEqual(self.slave.delays.offset(3), 12)

    def test_the_progress_of_delays_counts_when_the_log_has_come_as_far(self) -> None:
        """What the master has delivered may not be here yet: were it promoted now, it would be lost."""
        self.master.delays.delivered_to(3, 12)
        self.master.log_end = 1000
        self.slave.delays.delivered_to(3, 10)
        self.slave.log_end = 999
        self.answer()
        self.sync.master_is(MASTER)
        self.assertEqual(self.slave.delays.offset(3), 10)

        self.master.delays.delivered_to(3, 20)
        self.master.log_end = 2000
        self.answer()
        self.clock.advance(10.1)
        self.assertEqual(self.slave.delays.offset(3), 10)
        self.slave.log_end = 1000
        self.clock.advance(10.1)
        self.assertEqual(
            self.slave.delays.offset(3), 12, "a slave that stays behind takes what it has reached"
        )
        self.slave.log_end = 2000
        self.clock.advance(10.1)
        self.assertEqual(self.slave.delays.offset(3), 20)

    def test_a_slave_that_is_promoted_before_that_delivers_once_more_rather_than_never(self) -> None:
        self.master.delays.delivered_to(2, 12)
        self.master.delays.delivered_to(3, 12)
        self.master.log_end = 1000
        self.slave.delays.delivered_to(2, 15)  # from before its log was cut
        self.slave.delays.delivered_to(3, 10)
        self.slave.delays.delivered_to(4, 1)
        self.answer()
        self.sync.master_is(MASTER)
        self.slave.delays.lead()
        self.assertEqual([self.slave.delays.offset(level) for level in (2, 3, 4)], [12, 10, 0])

    def test_a_master_that_does_not_say_where_its_log_ends_moves_no_progress(self) -> None:
        self.master.delays.delivered_to(3, 12)
        for body in (KVTable(table={"commitLogMaxOffset": "-"}).to_bytes(), KVTable().to_bytes(), None):
            self.answer()
            if body is None:
                del self.network.brokers[MASTER][RequestCode.GET_BROKER_RUNTIME_INFO]
            else:
                self.network.brokers[MASTER][RequestCode.GET_BROKER_RUNTIME_INFO] = body
            self.sync.master_is(MASTER)
            self.clock.advance(10.1)
            self.assertEqual(self.slave.delays.offset(3), 0)

    def test_one_table_that_fails_keeps_none_of_the_others(self) -> None:
        self.master.groups.put(SubscriptionGroupConfig(group_name="readers"))
        self.answer()
        del self.network.brokers[MASTER][RequestCode.GET_ALL_DELAY_OFFSET]
        self.network.brokers[MASTER][RequestCode.GET_ALL_TOPIC_CONFIG] = b"no table"
        self.sync.master_is(MASTER)
        self.assertIsNotNone(self.slave.groups.get("readers"))
        self.assertIsNotNone(self.slave.topics.get("SELF_TEST_TOPIC"))

    def test_a_word_of_the_master_makes_it_ask_at_once(self) -> None:
        self.answer()
        self.sync.master_is(MASTER)
        self.assertIsNone(self.sync.tables_changed(None, None, None))
        self.assertEqual(len(self.network.asked), 10)


class FakeSlavePeer:
    def __init__(self) -> None:
        self.is_open = True
        self.pushed: list[int] = []
        self.address = ("192.0.2.2", 10911)
        self.name = "192.0.2.2:10911"
        self.answer: Deferred[Frame] = Deferred()

    def push(self, frame: Frame) -> None:
        self.pushed.append(frame.code)

    def call(self, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        self.pushed.append(frame.code)
        return self.answer


class TableNewsTests(SynchronousTestCase):
    def test_slaves_hear_once_of_a_crowd_of_changes(self) -> None:
        clock = Clock()
        news = TableNews(clock)
        slave, stranger = FakeSlavePeer(), FakeSlavePeer()
        for peer in (slave, stranger):
            news.connection_made(peer)
        news.is_slave(slave)
        for _ in range(5):
            news.changed()
        clock.advance(TOGETHER_S)
        news.is_slave(slave)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual((slave.pushed, stranger.pushed), ([RequestCode.TABLES_CHANGED], []))
        news.connection_lost(slave, "gone")
        news.changed()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_who_wants_to_be_sure_that_slaves_know_waits_for_all_and_hears_who_does_not(self) -> None:
        news = TableNews(Clock())
        self.assertEqual(self.successResultOf(news.have_taken(3)), [])
        slaves = [FakeSlavePeer() for _ in range(4)]
        for slave in slaves:
            news.is_slave(slave)
        slaves[0].is_open = False
        asked = news.have_taken(3)
        slaves[1].answer.callback(Frame(0))
        slaves[2].answer.callback(Frame(1, remark="the log here is not as far yet"))
        self.assertNoResult(asked)
        slaves[3].answer.errback(RequestTimeout("no answer within 3 s"))
        sentences = ["192.0.2.2:10911 answered: the log here is not as far yet", "no answer within 3 s"]
        self.assertEqual(sorted(self.successResultOf(asked)), sentences)
        self.assertEqual([slave.pushed for slave in slaves], [[], *([[RequestCode.TAKE_TABLES]] * 3)])

    def test_a_slave_that_gets_the_log_and_has_lost_its_other_connection_does_not_know(self) -> None:
        news = TableNews(Clock())
        following = {"192.0.2.2", "192.0.2.3"}  # the second is one of Apache's
        self.assertEqual(self.successResultOf(news.have_taken(3, following)), [])
        slave = FakeSlavePeer()
        news.is_slave(slave)
        slave.answer.callback(Frame(0))
        self.assertEqual(self.successResultOf(news.have_taken(3, following)), [])
        slave.is_open = False
        (sentence,) = self.successResultOf(news.have_taken(3, following))
        self.assertIn("192.0.2.2 cannot be asked", sentence)
        news.connection_lost(slave, "gone")
        self.assertEqual(self.successResultOf(news.have_taken(3, following)), [sentence])
        self.assertEqual(self.successResultOf(news.have_taken(3)), [])

    def test_it_is_known_where_slaves_are(self) -> None:
        news = TableNews(Clock())
        self.assertFalse(news.has_slave_at("192.0.2.2"))
        news.is_slave(FakeSlavePeer())
        self.assertTrue(news.has_slave_at("192.0.2.2"))

    def test_a_change_of_a_group_or_a_topic_is_news(self) -> None:
        clock, tables = Clock(), Tables()
        news, slave = TableNews(clock), FakeSlavePeer()
        tables.topics.observers.append(news.changed)
        tables.groups.observers.append(news.changed)
        news.is_slave(slave)
        tables.groups.put(SubscriptionGroupConfig(group_name="readers"))
        clock.advance(TOGETHER_S)
        tables.topics.put(TopicConfig(topic_name="Orders"))
        clock.advance(TOGETHER_S)
        self.assertEqual(len(slave.pushed), 2)


class OffsetsReturnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network()
        self.broker = broker_settings().broker
        self.offsets = ConsumerOffsets()
        self.offsets.commit("readers", "Orders", 0, 5)
        self.theirs = ConsumerOffsets()
        self.theirs.commit("readers", "Orders", 0, 8)
        self.theirs.commit("readers", "Orders", 1, 3)
        self.service = OffsetsReturn(
            self.broker, self.offsets, lambda: [NAME_SERVER], self.network, self.clock
        )
        self.addCleanup(self.service.stopService)

    def name_server_knows(self, cluster: str | None = None, others: Mapping[int, str] | None = None) -> None:
        mine = BrokerData(
            cluster=cluster or self.broker.broker_cluster_name,
            broker_name=self.broker.broker_name,
            broker_addrs={0: MASTER, 1: SLAVE, **(others or {})},
        )
        table = ClusterInfo(broker_addr_table={self.broker.broker_name: mine})
        self.network.brokers[NAME_SERVER] = {RequestCode.GET_BROKER_CLUSTER_INFO: table.to_bytes()}

    def slave_answers(self) -> None:
        self.network.brokers[SLAVE] = {RequestCode.GET_ALL_CONSUMER_OFFSET: self.theirs.snapshot().to_bytes()}

    def test_the_slaves_offsets_are_there_before_the_start_goes_on(self) -> None:
        self.name_server_knows()
        self.slave_answers()
        self.successResultOf(self.service.startService())
        self.assertEqual(dict(self.offsets.queues("readers", "Orders")), {0: 8, 1: 3})
        self.assertNotIn((MASTER, RequestCode.GET_ALL_CONSUMER_OFFSET), self.network.asked)
        self.clock.advance(60)
        self.assertEqual(len(self.network.asked), 2)

    def test_lower_ones_change_nothing(self) -> None:
        self.offsets.commit("readers", "Orders", 0, 10)
        self.name_server_knows()
        self.slave_answers()
        self.successResultOf(self.service.startService())
        self.assertEqual(self.offsets.query("readers", "Orders", 0), 10)

    def test_a_name_server_and_a_slave_that_come_later_are_asked_then(self) -> None:
        self.successResultOf(self.service.startService())
        self.name_server_knows()
        self.clock.advance(5)
        self.slave_answers()
        self.clock.advance(5)
        self.assertEqual(self.offsets.query("readers", "Orders", 0), 8)

    def test_of_several_slaves_the_highest_offset_of_each_queue_counts_whoever_answers_first(self) -> None:
        other = ConsumerOffsets()
        other.commit("readers", "Orders", 0, 6)
        other.commit("readers", "Orders", 1, 9)
        self.name_server_knows(others={2: "192.0.2.3:10911"})
        self.network.brokers["192.0.2.3:10911"] = {
            RequestCode.GET_ALL_CONSUMER_OFFSET: other.snapshot().to_bytes()
        }
        self.successResultOf(self.service.startService())
        self.assertEqual(dict(self.offsets.queues("readers", "Orders")), {0: 6, 1: 9})
        self.slave_answers()
        self.clock.advance(5)
        self.assertEqual(dict(self.offsets.queues("readers", "Orders")), {0: 8, 1: 9})
        asked = len(self.network.asked)
        self.clock.advance(60)
        self.assertEqual(len(self.network.asked), asked)

    def test_a_broker_of_the_same_name_in_another_cluster_is_no_slave(self) -> None:
        self.name_server_knows(cluster="Elsewhere")
        self.slave_answers()
        self.successResultOf(self.service.startService())
        self.assertEqual(self.offsets.query("readers", "Orders", 0), 5)

    def test_a_name_server_that_is_frozen_does_not_hold_the_start(self) -> None:
        self.network.call = lambda *_: Deferred()
        started = self.service.startService()
        self.assertNoResult(started)
        self.clock.advance(1.5)
        self.assertFalse(self.successResultOf(started))


class DataVersionTests(SynchronousTestCase):
    def test_a_table_is_taken_over_once(self) -> None:
        master, slave = Tables(), Tables(now_ms=2)
        self.assertTrue(slave.topics.adopt(master.topics.snapshot()))
        self.assertFalse(slave.topics.adopt(master.topics.snapshot()))
        self.assertEqual(slave.topics.data_version, DataVersion(timestamp=1000, counter=0))
