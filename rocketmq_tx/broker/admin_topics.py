"""Requests that make, delete and list topics: 17, 21, 215, 305.

Facts: `spec/processors.yaml` (AdminBrokerProcessor). Unlike Apache, an order flag survives a change of
the other settings, and deleting a topic takes its queues and its consumers' offsets with it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

from twisted.internet.defer import Deferred

from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import TopicConfig, TopicFilterType, TopicList
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    CreateTopicRequestHeader,
    DeleteTopicRequestHeader,
    GetAllTopicConfigRequestHeader,
    GetAllTopicConfigResponseHeader,
)
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import Reply, serves

FROM_SLAVE = (
    "Can't modify topic or subscription group from slave broker, please execute it from master broker."
)


QUEUES_MAX = 65_536
"""Tools and clients ask for each queue of a topic: two thousand million of them would stop both, and us."""


def check_is_master(store: MessageStoreConfig) -> None:
    """Refuses changes of topics and groups on a slave: it takes them over from its master."""
    if store.broker_role is BrokerRole.SLAVE:
        raise RequestRefused(ResponseCode.SYSTEM_ERROR, FROM_SLAVE)


class Deletions(Protocol):
    """What is needed of `broker.topic_deletions.TopicDeletions`."""

    def drop(self, topics: AbstractSet[str]) -> None: ...

    def known_to_slaves(self) -> Deferred[str | None]: ...


class TopicRequests:
    """`registered` is waited for before a new topic is answered: then its route can be asked for.

    `deleted_topics` tells slaves of topics and where the commit log ended when they were deleted; `is_slave`
    hears of each connection that is a slave's.
    """

    def __init__(
        self,
        store: MessageStoreConfig,
        topics: TopicTable,
        deletions: Deletions,
        registered: Callable[[], Deferred[object]],
        deleted_topics: Callable[[], dict[str, int]],
        is_slave: Callable[[Peer], object],
    ) -> None:
        self._store = store
        self._topics = topics
        self._deletions = deletions
        self._registered = registered
        self._deleted_topics = deleted_topics
        self._is_slave = is_slave

    @serves(RequestCode.UPDATE_AND_CREATE_TOPIC)
    def create(self, peer: Peer, frame: Frame, header: CreateTopicRequestHeader) -> Deferred[Reply]:
        check_is_master(self._store)
        topic = self._changeable(header.topic)
        _check_queue_numbers(header)
        known = self._topics.get(topic)
        self._topics.put(
            TopicConfig(
                topic_name=topic,
                read_queue_nums=header.read_queue_nums,
                write_queue_nums=header.write_queue_nums,
                perm=header.perm,
                topic_filter_type=TopicFilterType[header.topic_filter_type],
                topic_sys_flag=header.topic_sys_flag or 0,
                order=known is not None and known.order,
            )
        )
        return self._registered().addCallback(lambda _: Reply())

    @serves(RequestCode.DELETE_TOPIC_IN_BROKER)
    def delete(self, peer: Peer, frame: Frame, header: DeleteTopicRequestHeader) -> Deferred[Reply]:
        """An unknown topic is answered like a known one, and what may be left of it goes, too.

        It is gone then, but the answer waits for slaves; its remark says which of them do not know.
        """
        check_is_master(self._store)
        topic = self._changeable(header.topic)
        self._deletions.drop({topic})
        self._topics.delete(topic)
        return self._deletions.known_to_slaves().addCallback(lambda remark: Reply(remark=remark))

    @serves(RequestCode.GET_ALL_TOPIC_CONFIG)
    def list_all(self, peer: Peer, frame: Frame, header: GetAllTopicConfigRequestHeader) -> Reply:
        if header.follows:
            self._is_slave(peer)
        table = self._topics.snapshot()
        table.deleted_topics = self._deleted_topics() or None
        return Reply(header=GetAllTopicConfigResponseHeader(), body=table.to_bytes())

    @serves(RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER)
    def list_system(self, peer: Peer, frame: Frame, header: None) -> Reply:
        known = names.SYSTEM_TOPICS | set(self._topics.own_system_topics())
        return Reply(body=TopicList(topic_list=sorted(known)).to_bytes())

    def _changeable(self, topic: str | None) -> str:
        names.check_topic(topic)
        assert topic is not None  # a missing name counts as blank
        names.check_not_system_topic(topic, self._topics.own_system_topics())
        return topic


def _check_queue_numbers(header: CreateTopicRequestHeader) -> None:
    numbers = {"readQueueNums": header.read_queue_nums, "writeQueueNums": header.write_queue_nums}
    for key, number in numbers.items():
        if number > QUEUES_MAX:  # below zero are none, as in Apache
            remark = f"{key} {number} is illegal: a topic has at most {QUEUES_MAX} queues"
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, remark)
