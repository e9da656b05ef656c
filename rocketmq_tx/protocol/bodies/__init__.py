"""Request and response bodies of RocketMQ 4.9.7 as attrs types, named as Apache names them.

Each has `from_bytes` and `to_bytes`; `fields.py` says how they are declared and what is tolerated.
`REQUEST_BODIES` and `RESPONSE_BODIES` say which commands carry which. Facts: `spec/bodies.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rocketmq_tx.protocol.bodies.acl import GetBrokerClusterAclConfigResponseBody, PlainAccessConfig
from rocketmq_tx.protocol.bodies.consume_queue import ConsumeQueueData, QueryConsumeQueueResponseBody
from rocketmq_tx.protocol.bodies.fields import Body
from rocketmq_tx.protocol.bodies.filter_data import (
    BloomFilterData,
    ConsumerFilterData,
    ConsumerFilterTable,
    FilterDataMapByTopic,
)
from rocketmq_tx.protocol.bodies.group import (
    Connection,
    ConsumerConnection,
    GetConsumerListByGroupResponseBody,
    GroupList,
    ProducerConnection,
    ProducerInfo,
    ProducerTableInfo,
    SubscriptionGroupConfig,
    SubscriptionGroupWrapper,
)
from rocketmq_tx.protocol.bodies.heartbeat import (
    EXPRESSION_SQL92,
    EXPRESSION_TAG,
    CheckClientRequestBody,
    ConsumeFromWhere,
    ConsumerData,
    ConsumeType,
    HeartbeatData,
    MessageModel,
    ProducerData,
    SubscriptionData,
)
from rocketmq_tx.protocol.bodies.kv_config import KVConfigSerializeWrapper
from rocketmq_tx.protocol.bodies.lock import (
    LockBatchRequestBody,
    LockBatchResponseBody,
    UnlockBatchRequestBody,
)
from rocketmq_tx.protocol.bodies.offsets import (
    ConsumerOffsetSerializeWrapper,
    DelayOffsetSerializeWrapper,
    GetConsumerStatusBody,
    LmqConsumerOffsetSerializeWrapper,
    MessageQueueForC,
    OffsetMovedEvent,
    OffsetSerializeWrapper,
    QueryCorrectionOffsetBody,
    ResetOffsetBody,
    ResetOffsetBodyForC,
)
from rocketmq_tx.protocol.bodies.queue import DataVersion, KVTable, MessageQueue
from rocketmq_tx.protocol.bodies.registration import RegisterBrokerBody
from rocketmq_tx.protocol.bodies.route import BrokerData, ClusterInfo, QueueData, TopicRouteData
from rocketmq_tx.protocol.bodies.running import (
    CMResult,
    ConsumeMessageDirectlyResult,
    ConsumerRunningInfo,
    ConsumeStatus,
    ProcessQueueInfo,
)
from rocketmq_tx.protocol.bodies.stats import (
    BrokerStatsData,
    BrokerStatsItem,
    ConsumeStats,
    ConsumeStatsList,
    OffsetWrapper,
    QueryConsumeTimeSpanBody,
    QueueTimeSpan,
)
from rocketmq_tx.protocol.bodies.topic import (
    TopicConfig,
    TopicConfigSerializeWrapper,
    TopicFilterType,
    TopicList,
    TopicOffset,
    TopicStatsTable,
)
from rocketmq_tx.protocol.bodies.transactions import OpenTransactionInfo, OpenTransactionList
from rocketmq_tx.protocol.codes import RequestCode

TopicConfigTable = TopicConfigSerializeWrapper

REQUEST_BODIES: Mapping[RequestCode, type[Body]] = MappingProxyType(
    {
        RequestCode.HEART_BEAT: HeartbeatData,
        RequestCode.LOCK_BATCH_MQ: LockBatchRequestBody,
        RequestCode.UNLOCK_BATCH_MQ: UnlockBatchRequestBody,
        RequestCode.CHECK_CLIENT_CONFIG: CheckClientRequestBody,
        RequestCode.REGISTER_BROKER: RegisterBrokerBody,
        RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: SubscriptionGroupConfig,
        RequestCode.RESET_CONSUMER_CLIENT_OFFSET: ResetOffsetBody,
        RequestCode.QUERY_DATA_VERSION: DataVersion,
    }
)
"""JSON bodies of requests. Registrations may be compressed, and resets for C++ are ResetOffsetBodyForC."""

RESPONSE_BODIES: Mapping[RequestCode, type[Body]] = MappingProxyType(
    {
        RequestCode.GET_ALL_TOPIC_CONFIG: TopicConfigSerializeWrapper,
        RequestCode.GET_BROKER_RUNTIME_INFO: KVTable,
        RequestCode.GET_CONSUMER_LIST_BY_GROUP: GetConsumerListByGroupResponseBody,
        RequestCode.LOCK_BATCH_MQ: LockBatchResponseBody,
        RequestCode.GET_ALL_CONSUMER_OFFSET: ConsumerOffsetSerializeWrapper,
        RequestCode.GET_ALL_DELAY_OFFSET: DelayOffsetSerializeWrapper,
        RequestCode.GET_BROKER_CLUSTER_ACL_CONFIG: GetBrokerClusterAclConfigResponseBody,
        RequestCode.REGISTER_BROKER: KVTable,
        RequestCode.GET_ROUTEINFO_BY_TOPIC: TopicRouteData,
        RequestCode.GET_BROKER_CLUSTER_INFO: ClusterInfo,
        RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: SubscriptionGroupWrapper,
        RequestCode.GET_TOPIC_STATS_INFO: TopicStatsTable,
        RequestCode.GET_CONSUMER_CONNECTION_LIST: ConsumerConnection,
        RequestCode.GET_PRODUCER_CONNECTION_LIST: ProducerConnection,
        RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER: TopicList,
        RequestCode.GET_CONSUME_STATS: ConsumeStats,
        RequestCode.GET_KVLIST_BY_NAMESPACE: KVTable,
        RequestCode.INVOKE_BROKER_TO_RESET_OFFSET: ResetOffsetBody,
        RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS: GetConsumerStatusBody,
        RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT: GetConsumerStatusBody,
        RequestCode.GET_TOPICS_BY_CLUSTER: TopicList,
        RequestCode.QUERY_TOPIC_CONSUME_BY_WHO: GroupList,
        RequestCode.QUERY_CONSUME_TIME_SPAN: QueryConsumeTimeSpanBody,
        RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS: TopicList,
        RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER: TopicList,
        RequestCode.GET_CONSUMER_RUNNING_INFO: ConsumerRunningInfo,
        RequestCode.QUERY_CORRECTION_OFFSET: QueryCorrectionOffsetBody,
        RequestCode.CONSUME_MESSAGE_DIRECTLY: ConsumeMessageDirectlyResult,
        RequestCode.GET_UNIT_TOPIC_LIST: TopicList,
        RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST: TopicList,
        RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: TopicList,
        RequestCode.VIEW_BROKER_STATS_DATA: BrokerStatsData,
        RequestCode.GET_BROKER_CONSUME_STATS: ConsumeStatsList,
        RequestCode.QUERY_CONSUME_QUEUE: QueryConsumeQueueResponseBody,
        RequestCode.QUERY_DATA_VERSION: DataVersion,
        RequestCode.GET_ALL_PRODUCER_INFO: ProducerTableInfo,
        RequestCode.GET_OPEN_TRANSACTIONS: OpenTransactionList,
    }
)
"""JSON bodies of successful answers by the code of their request."""

CONFIG_FILES: Mapping[str, type[Body]] = MappingProxyType(
    {
        "topics.json": TopicConfigSerializeWrapper,
        "subscriptionGroup.json": SubscriptionGroupWrapper,
        "consumerOffset.json": ConsumerOffsetSerializeWrapper,
        "lmqConsumerOffset.json": LmqConsumerOffsetSerializeWrapper,
        "delayOffset.json": DelayOffsetSerializeWrapper,
        "consumerFilter.json": ConsumerFilterTable,
        "kvConfig.json": KVConfigSerializeWrapper,
        "offsets.json": OffsetSerializeWrapper,
    }
)
"""Configuration files by name; all are written pretty but kvConfig.json."""

__all__ = [
    "CONFIG_FILES",
    "EXPRESSION_SQL92",
    "EXPRESSION_TAG",
    "REQUEST_BODIES",
    "RESPONSE_BODIES",
    "BloomFilterData",
    "Body",
    "BrokerData",
    "BrokerStatsData",
    "BrokerStatsItem",
    "CMResult",
    "CheckClientRequestBody",
    "ClusterInfo",
    "Connection",
    "ConsumeFromWhere",
    "ConsumeMessageDirectlyResult",
    "ConsumeQueueData",
    "ConsumeStats",
    "ConsumeStatsList",
    "ConsumeStatus",
    "ConsumeType",
    "ConsumerConnection",
    "ConsumerData",
    "ConsumerFilterData",
    "ConsumerFilterTable",
    "ConsumerOffsetSerializeWrapper",
    "ConsumerRunningInfo",
    "DataVersion",
    "DelayOffsetSerializeWrapper",
    "FilterDataMapByTopic",
    "GetBrokerClusterAclConfigResponseBody",
    "GetConsumerListByGroupResponseBody",
    "GetConsumerStatusBody",
    "GroupList",
    "HeartbeatData",
    "KVConfigSerializeWrapper",
    "KVTable",
    "LmqConsumerOffsetSerializeWrapper",
    "LockBatchRequestBody",
    "LockBatchResponseBody",
    "MessageModel",
    "MessageQueue",
    "MessageQueueForC",
    "OffsetMovedEvent",
    "OffsetSerializeWrapper",
    "OffsetWrapper",
    "OpenTransactionInfo",
    "OpenTransactionList",
    "PlainAccessConfig",
    "ProcessQueueInfo",
    "ProducerConnection",
    "ProducerData",
    "ProducerInfo",
    "ProducerTableInfo",
    "QueryConsumeQueueResponseBody",
    "QueryConsumeTimeSpanBody",
    "QueryCorrectionOffsetBody",
    "QueueData",
    "QueueTimeSpan",
    "RegisterBrokerBody",
    "ResetOffsetBody",
    "ResetOffsetBodyForC",
    "SubscriptionData",
    "SubscriptionGroupConfig",
    "SubscriptionGroupWrapper",
    "TopicConfig",
    "TopicConfigSerializeWrapper",
    "TopicConfigTable",
    "TopicFilterType",
    "TopicList",
    "TopicOffset",
    "TopicRouteData",
    "TopicStatsTable",
    "UnlockBatchRequestBody",
]
