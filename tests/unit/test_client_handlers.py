"""Heartbeats, departures and notices, as a connection brings them to a whole broker in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.client_handlers import ClientRequests
from rocketmq_tx.broker.clients import Consumers, Producers
from rocketmq_tx.broker.compiled_expressions import CompiledExpressions
from rocketmq_tx.broker.connection_lists import ConnectionLists
from rocketmq_tx.broker.filter_table import GroupFilters
from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.notices import ConsumerNotices
from rocketmq_tx.broker.property_filters import PropertyFilters
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.protocol.bodies import (
    ConsumerConnection,
    ConsumerData,
    GetConsumerListByGroupResponseBody,
    HeartbeatData,
    ProducerConnection,
    ProducerData,
    ProducerTableInfo,
    SubscriptionData,
    SubscriptionGroupConfig,
)
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    GetConsumerConnectionListRequestHeader,
    GetConsumerListByGroupRequestHeader,
    GetProducerConnectionListRequestHeader,
    UnregisterClientRequestHeader,
)
from rocketmq_tx.remoting.registry import Registry
from tests.unit.broker_parts import MemoryFile, broker_settings
from tests.unit.read_parts import NOW_MS, FakePeer, decoded


def heartbeat(client_id: str, *topics: str, group: str = "g", unit_mode: bool = False) -> HeartbeatData:
    """A client that consumes in one group and produces in another."""
    subscriptions = [SubscriptionData(topic=topic, sub_string="*", sub_version=1) for topic in topics]
    return HeartbeatData(
        client_id=client_id,
        consumer_data_set=[
            ConsumerData(group_name=group, subscription_data_set=subscriptions, unit_mode=unit_mode)
        ],
        producer_data_set=[ProducerData(group_name="p")],
    )


class ClientsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.settings = broker_settings()
        broker = self.settings.broker
        self.topics = TopicTable(broker, MemoryFile(), lambda: NOW_MS)
        self.groups = SubscriptionGroupTable(broker, MemoryFile(), lambda: NOW_MS)
        compiled = CompiledExpressions().compiled
        self.filters = GroupFilters(broker, compiled, lambda: NOW_MS)
        producers, self.consumers = Producers(), Consumers(self.filters.leave)
        self.clients = ClientRequests(
            producers,
            self.consumers,
            self.groups,
            self.topics,
            ConsumerNotices(broker, self.consumers),
            self.filters,
            PropertyFilters(broker, self.filters, compiled),
            self.clock.seconds,
            lambda: NOW_MS,
        )
        self.registry = Registry(self.clients, ConnectionLists(producers, self.consumers))
        self.one: Any = FakePeer(port=1001)
        self.two: Any = FakePeer(port=1002)

    def ask(self, peer: Any, code: int, header: Any = None, body: bytes = b"") -> Frame:
        (answer,) = self.registry.serve(peer, code, [Frame.request(code, header, body)])
        assert isinstance(answer, bytes)
        return decoded(answer)

    def beat(self, peer: Any, *topics: str, **more: Any) -> Frame:
        data = heartbeat(f"id-{peer.address[1]}", *(topics or ("t",)), **more)
        return self.ask(peer, RequestCode.HEART_BEAT, body=data.to_bytes())

    def notices(self, peer: Any) -> list[str]:
        """The groups of which a peer was told, since last asked."""
        pushed, peer.pushed = peer.pushed, []
        for frame in pushed:
            self.assertEqual((frame.code, frame.is_oneway), (RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, True))
        return [frame.ext_fields["consumerGroup"] for frame in pushed]

    def members(self, group: str = "g") -> list[str]:
        header = GetConsumerListByGroupRequestHeader(consumer_group=group)
        answer = self.ask(self.one, RequestCode.GET_CONSUMER_LIST_BY_GROUP, header)
        return (
            GetConsumerListByGroupResponseBody.from_bytes(answer.body).consumer_id_list if answer.body else []
        )


class Notices(ClientsCase):
    def test_everybody_in_the_group_is_told_of_a_new_member_including_itself(self) -> None:
        self.beat(self.one)
        self.beat(self.two)
        self.assertEqual(self.notices(self.one), ["g", "g"])
        self.assertEqual(self.notices(self.two), ["g"])
        self.assertEqual(self.members(), ["id-1001", "id-1002"])

    def test_a_heartbeat_that_changes_nothing_tells_nobody(self) -> None:
        self.beat(self.one)
        self.notices(self.one)
        self.beat(self.one)
        self.assertEqual(self.notices(self.one), [])

    def test_the_rest_is_told_of_a_member_that_unregisters(self) -> None:
        self.beat(self.one)
        self.beat(self.two)
        self.notices(self.one)
        header = UnregisterClientRequestHeader(client_id="id-1002", consumer_group="g", producer_group="p")
        self.assertEqual(self.ask(self.two, RequestCode.UNREGISTER_CLIENT, header).ext_fields, {})
        self.assertEqual(self.notices(self.one), ["g"])
        self.assertEqual(self.members(), ["id-1001"])

    def test_the_rest_is_told_of_a_lost_connection_even_where_notices_are_off_for_the_group(self) -> None:
        quiet = SubscriptionGroupConfig(group_name="g", notify_consumer_ids_changed_enable=False)
        self.groups.put(quiet)
        self.beat(self.one)
        self.beat(self.two)
        self.assertEqual(self.notices(self.one), [])
        self.clients.connection_lost(self.two, "reset")
        self.assertEqual(self.notices(self.one), ["g"])

    def test_a_broker_with_notices_off_tells_nobody_anything(self) -> None:
        self.settings.broker.notify_consumer_ids_changed_enable = False
        self.beat(self.one)
        self.beat(self.two)
        self.clients.connection_lost(self.two, "reset")
        self.assertEqual(self.notices(self.one), [])

    def test_the_rest_is_told_of_a_member_that_fell_silent(self) -> None:
        self.beat(self.one)
        self.beat(self.two)
        self.notices(self.one)
        for _ in range(13):
            self.clock.advance(10.0)
            self.beat(self.one)
            self.clients.expire()
        self.assertEqual(self.notices(self.one), ["g"])
        self.assertEqual(self.members(), ["id-1001"])
        self.assertEqual((self.one.closed_for, self.two.closed_for), (None, "no heartbeat for 120 s"))


class Heartbeats(ClientsCase):
    def test_a_consumer_gets_its_group_and_a_retry_topic(self) -> None:
        self.groups.put(SubscriptionGroupConfig(group_name="g", retry_queue_nums=3))
        self.beat(self.one)
        topic = self.topics.get("%RETRY%g")
        assert topic is not None
        self.assertEqual((topic.read_queue_nums, topic.perm, topic.topic_sys_flag), (3, 6, 0))

    def test_the_retry_topic_of_a_client_in_unit_mode_says_so(self) -> None:
        self.beat(self.one, unit_mode=True)
        topic = self.topics.get("%RETRY%g")
        assert topic is not None
        self.assertEqual(topic.topic_sys_flag, 2)

    def test_a_group_that_may_not_be_made_is_a_member_list_without_a_retry_topic(self) -> None:
        self.settings.broker.auto_create_subscription_group = False
        self.beat(self.one)
        self.assertIsNone(self.groups.get("g"))
        self.assertIsNone(self.topics.get("%RETRY%g"))
        self.assertEqual(self.members(), ["id-1001"])

    def test_no_body_and_a_wrong_one_are_refused_and_an_empty_one_is_fine(self) -> None:
        for body, code in ((b"", 1), (b"garbage", 1), (b"{}", 0)):
            self.assertEqual(self.ask(self.one, RequestCode.HEART_BEAT, body=body).code, code)

    def test_a_group_without_members_has_no_list(self) -> None:
        header = GetConsumerListByGroupRequestHeader(consumer_group="g")
        answer = self.ask(self.one, RequestCode.GET_CONSUMER_LIST_BY_GROUP, header)
        self.assertEqual((answer.code, answer.remark), (1, "no consumer for this group, g"))


class Lists(ClientsCase):
    def test_consumers_of_a_group_are_shown_with_their_subscriptions(self) -> None:
        self.beat(self.one, "t", "u")
        header = GetConsumerConnectionListRequestHeader(consumer_group="g")
        answer = self.ask(self.one, RequestCode.GET_CONSUMER_CONNECTION_LIST, header)
        shown = ConsumerConnection.from_bytes(answer.body)
        self.assertEqual([c.client_addr for c in shown.connection_set], ["127.0.0.1:1001"])
        self.assertEqual(set(shown.subscription_table), {"t", "u"})

    def test_producers_are_shown_by_group_and_all_together(self) -> None:
        self.beat(self.one)
        header = GetProducerConnectionListRequestHeader(producer_group="p")
        answer = self.ask(self.one, RequestCode.GET_PRODUCER_CONNECTION_LIST, header)
        (connection,) = ProducerConnection.from_bytes(answer.body).connection_set
        self.assertEqual((connection.client_id, connection.version), ("id-1001", 407))
        everybody = ProducerTableInfo.from_bytes(self.ask(self.one, RequestCode.GET_ALL_PRODUCER_INFO).body)
        (producer,) = everybody.data["p"]
        self.assertEqual((producer.remote_ip, producer.last_update_timestamp), ("/127.0.0.1:1001", NOW_MS))

    def test_who_is_not_there_cannot_be_shown(self) -> None:
        for code, header, wanted in (
            (
                RequestCode.GET_CONSUMER_CONNECTION_LIST,
                GetConsumerConnectionListRequestHeader(consumer_group="x"),
                (206, "the consumer group[x] not online"),
            ),
            (
                RequestCode.GET_PRODUCER_CONNECTION_LIST,
                GetProducerConnectionListRequestHeader(producer_group="x"),
                (1, "the producer group[x] not exist"),
            ),
        ):
            answer = self.ask(self.one, code, header)
            self.assertEqual((answer.code, answer.remark), wanted)
