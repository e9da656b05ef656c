"""What clients and tools ask of a NameServer: where a topic is, which brokers and topics there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.config.namesrv import NamesrvConfig
from rocketmq_tx.namesrv.kv_config import KVConfig
from rocketmq_tx.namesrv.route_table import RouteTable
from rocketmq_tx.protocol.bodies import TopicList, TopicRouteData
from rocketmq_tx.protocol.codes import FAQ_SUFFIX, QUOTED_KEYS_VERSION, RequestCode, ResponseCode
from rocketmq_tx.protocol.flags import TopicSysFlag
from rocketmq_tx.protocol.headers import (
    AddWritePermOfBrokerRequestHeader,
    AddWritePermOfBrokerResponseHeader,
    DeleteTopicFromNamesrvRequestHeader,
    GetRouteInfoRequestHeader,
    GetTopicsByClusterRequestHeader,
    WipeWritePermOfBrokerRequestHeader,
    WipeWritePermOfBrokerResponseHeader,
)
from rocketmq_tx.protocol.names import ORDER_TOPIC_NAMESPACE
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer


class RouteHandlers:
    """Answers from the route table."""

    def __init__(self, routes: RouteTable, kv_config: KVConfig, config: NamesrvConfig) -> None:
        self._routes = routes
        self._kv_config = kv_config
        self._config = config

    @serves(RequestCode.GET_ROUTEINFO_BY_TOPIC)
    def route(self, peer: Peer, frame: Frame, header: GetRouteInfoRequestHeader) -> Reply:
        """Clients before 4.9.4 get numeric keys without quotes: their parser takes nothing else."""
        topic = header.topic
        found = None if topic is None else self._routes.route(topic)
        if topic is None or found is None:
            shown = "null" if topic is None else topic
            remark = f"No topic route info in name server for the topic: {shown}{FAQ_SUFFIX}"
            return Reply(ResponseCode.TOPIC_NOT_EXIST, remark)
        brokers, queues = found
        order = None
        if self._config.order_message_enable:
            order = self._kv_config.get(ORDER_TOPIC_NAMESPACE, topic)
        data = TopicRouteData(brokers, queues, order_topic_conf=order)
        quoted = frame.version >= QUOTED_KEYS_VERSION or bool(header.accept_standard_json_only)
        return Reply(body=data.to_bytes(quoted_keys=quoted))

    @serves(RequestCode.GET_BROKER_CLUSTER_INFO)
    def cluster_info(self, peer: Peer, frame: Frame, header: None) -> Reply:
        """Keys are never quoted here, whoever asks."""
        return Reply(body=self._routes.cluster_info().to_bytes())

    @serves(RequestCode.DELETE_TOPIC_IN_NAMESRV)
    def delete_topic(self, peer: Peer, frame: Frame, header: DeleteTopicFromNamesrvRequestHeader) -> Reply:
        self._routes.delete_topic(header.topic, header.cluster_name or None)
        return Reply()

    # -- write permission of a broker ----------------------------------------------------------------------

    @serves(RequestCode.WIPE_WRITE_PERM_OF_BROKER)
    def wipe_write(self, peer: Peer, frame: Frame, header: WipeWritePermOfBrokerRequestHeader) -> Reply:
        count = self._routes.wipe_write_permission(header.broker_name)
        return Reply(header=WipeWritePermOfBrokerResponseHeader(wipe_topic_count=count))

    @serves(RequestCode.ADD_WRITE_PERM_OF_BROKER)
    def add_write(self, peer: Peer, frame: Frame, header: AddWritePermOfBrokerRequestHeader) -> Reply:
        count = self._routes.add_write_permission(header.broker_name)
        return Reply(header=AddWritePermOfBrokerResponseHeader(add_topic_count=count))

    # -- lists of topics -----------------------------------------------------------------------------------

    @serves(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
    def all_topics(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return _list(self._routes.topics())

    @serves(RequestCode.GET_TOPICS_BY_CLUSTER)
    def topics_of_cluster(self, peer: Peer, frame: Frame, header: GetTopicsByClusterRequestHeader) -> Reply:
        return _list(self._routes.topics_of_cluster(header.cluster))

    @serves(RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS)
    def system_topics(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return _list(*self._routes.system_topics())

    @serves(RequestCode.GET_UNIT_TOPIC_LIST)
    def unit_topics(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return _list(self._routes.topics_flagged(TopicSysFlag.UNIT))

    @serves(RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST)
    def unit_sub_topics(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return _list(self._routes.topics_flagged(TopicSysFlag.UNIT_SUB))

    @serves(RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST)
    def unit_sub_not_unit_topics(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return _list(self._routes.topics_flagged(TopicSysFlag.UNIT_SUB, TopicSysFlag.UNIT))


def _list(topics: list[str], broker_address: str | None = None) -> Reply:
    return Reply(body=TopicList(topics, broker_address).to_bytes())
