"""Which command is which: one row per request code with its headers and the roles that serve it.

The registry of handlers, the client and the tools all read this table; facts in spec/request_codes.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from rocketmq_tx.protocol import headers as h
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.header_fields import Header

Role = Literal["broker", "namesrv", "client"]

BROKER: Final[frozenset[Role]] = frozenset(["broker"])
NAMESRV: Final[frozenset[Role]] = frozenset(["namesrv"])
CLIENT: Final[frozenset[Role]] = frozenset(["client"])
BROKER_AND_CLIENT: Final[frozenset[Role]] = frozenset(["broker", "client"])
NOBODY: Final[frozenset[Role]] = frozenset()


class Command(NamedTuple):
    """A request code, the headers of its request and its successful answer (None = none), who serves it."""

    code: RequestCode
    name: str
    request_header: type[Header] | None
    response_header: type[Header] | None
    served_by: frozenset[Role]


_HeaderClass = type[Header] | None
_C = RequestCode
_ROWS: tuple[tuple[RequestCode, frozenset[Role], _HeaderClass, _HeaderClass], ...] = (
    (_C.SEND_MESSAGE, BROKER, h.SendMessageRequestHeader, h.SendMessageResponseHeader),
    (_C.PULL_MESSAGE, BROKER, h.PullMessageRequestHeader, h.PullMessageResponseHeader),
    (_C.QUERY_MESSAGE, BROKER, h.QueryMessageRequestHeader, h.QueryMessageResponseHeader),
    (_C.QUERY_BROKER_OFFSET, NOBODY, None, None),
    (
        _C.QUERY_CONSUMER_OFFSET,
        BROKER,
        h.QueryConsumerOffsetRequestHeader,
        h.QueryConsumerOffsetResponseHeader,
    ),
    (
        _C.UPDATE_CONSUMER_OFFSET,
        BROKER,
        h.UpdateConsumerOffsetRequestHeader,
        h.UpdateConsumerOffsetResponseHeader,
    ),
    (_C.UPDATE_AND_CREATE_TOPIC, BROKER, h.CreateTopicRequestHeader, None),
    (_C.GET_ALL_TOPIC_CONFIG, BROKER, h.GetAllTopicConfigRequestHeader, h.GetAllTopicConfigResponseHeader),
    (_C.GET_TOPIC_CONFIG_LIST, NOBODY, None, None),
    (_C.GET_TOPIC_NAME_LIST, NOBODY, None, None),
    (_C.UPDATE_BROKER_CONFIG, BROKER, None, None),
    (_C.GET_BROKER_CONFIG, BROKER, None, h.GetBrokerConfigResponseHeader),
    (_C.TRIGGER_DELETE_FILES, NOBODY, None, None),
    (_C.GET_BROKER_RUNTIME_INFO, BROKER, None, None),
    (_C.SEARCH_OFFSET_BY_TIMESTAMP, BROKER, h.SearchOffsetRequestHeader, h.SearchOffsetResponseHeader),
    (_C.GET_MAX_OFFSET, BROKER, h.GetMaxOffsetRequestHeader, h.GetMaxOffsetResponseHeader),
    (_C.GET_MIN_OFFSET, BROKER, h.GetMinOffsetRequestHeader, h.GetMinOffsetResponseHeader),
    (
        _C.GET_EARLIEST_MSG_STORETIME,
        BROKER,
        h.GetEarliestMsgStoretimeRequestHeader,
        h.GetEarliestMsgStoretimeResponseHeader,
    ),
    (_C.VIEW_MESSAGE_BY_ID, BROKER, h.ViewMessageRequestHeader, None),
    (_C.HEART_BEAT, BROKER, None, None),
    (_C.UNREGISTER_CLIENT, BROKER, h.UnregisterClientRequestHeader, h.UnregisterClientResponseHeader),
    (_C.CONSUMER_SEND_MSG_BACK, BROKER, h.ConsumerSendMsgBackRequestHeader, None),
    (_C.END_TRANSACTION, BROKER, h.EndTransactionRequestHeader, None),
    (
        _C.GET_CONSUMER_LIST_BY_GROUP,
        BROKER,
        h.GetConsumerListByGroupRequestHeader,
        h.GetConsumerListByGroupResponseHeader,
    ),
    (_C.CHECK_TRANSACTION_STATE, CLIENT, h.CheckTransactionStateRequestHeader, None),
    (_C.NOTIFY_CONSUMER_IDS_CHANGED, CLIENT, h.NotifyConsumerIdsChangedRequestHeader, None),
    (_C.LOCK_BATCH_MQ, BROKER, None, None),
    (_C.UNLOCK_BATCH_MQ, BROKER, None, None),
    (_C.GET_ALL_CONSUMER_OFFSET, BROKER, None, None),
    (_C.GET_ALL_DELAY_OFFSET, BROKER, None, None),
    (_C.CHECK_CLIENT_CONFIG, BROKER, None, None),
    (_C.UPDATE_AND_CREATE_ACL_CONFIG, BROKER, h.CreateAccessConfigRequestHeader, None),
    (_C.DELETE_ACL_CONFIG, BROKER, h.DeleteAccessConfigRequestHeader, None),
    (_C.GET_BROKER_CLUSTER_ACL_INFO, BROKER, None, h.GetBrokerAclConfigResponseHeader),
    (_C.UPDATE_GLOBAL_WHITE_ADDRS_CONFIG, BROKER, h.UpdateGlobalWhiteAddrsConfigRequestHeader, None),
    (_C.GET_BROKER_CLUSTER_ACL_CONFIG, BROKER, None, h.GetBrokerClusterAclConfigResponseHeader),
    (_C.PUT_KV_CONFIG, NAMESRV, h.PutKVConfigRequestHeader, None),
    (_C.GET_KV_CONFIG, NAMESRV, h.GetKVConfigRequestHeader, h.GetKVConfigResponseHeader),
    (_C.DELETE_KV_CONFIG, NAMESRV, h.DeleteKVConfigRequestHeader, None),
    (_C.REGISTER_BROKER, NAMESRV, h.RegisterBrokerRequestHeader, h.RegisterBrokerResponseHeader),
    (_C.UNREGISTER_BROKER, NAMESRV, h.UnRegisterBrokerRequestHeader, None),
    (_C.GET_ROUTEINFO_BY_TOPIC, NAMESRV, h.GetRouteInfoRequestHeader, None),
    (_C.GET_BROKER_CLUSTER_INFO, NAMESRV, None, None),
    (_C.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, BROKER, None, None),
    (_C.GET_ALL_SUBSCRIPTIONGROUP_CONFIG, BROKER, None, None),
    (_C.GET_TOPIC_STATS_INFO, BROKER, h.GetTopicStatsInfoRequestHeader, None),
    (_C.GET_CONSUMER_CONNECTION_LIST, BROKER, h.GetConsumerConnectionListRequestHeader, None),
    (_C.GET_PRODUCER_CONNECTION_LIST, BROKER, h.GetProducerConnectionListRequestHeader, None),
    (
        _C.WIPE_WRITE_PERM_OF_BROKER,
        NAMESRV,
        h.WipeWritePermOfBrokerRequestHeader,
        h.WipeWritePermOfBrokerResponseHeader,
    ),
    (_C.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, NAMESRV, None, None),
    (_C.DELETE_SUBSCRIPTIONGROUP, BROKER, h.DeleteSubscriptionGroupRequestHeader, None),
    (_C.GET_CONSUME_STATS, BROKER, h.GetConsumeStatsRequestHeader, None),
    (_C.SUSPEND_CONSUMER, NOBODY, None, None),
    (_C.RESUME_CONSUMER, NOBODY, None, None),
    (_C.RESET_CONSUMER_OFFSET_IN_CONSUMER, NOBODY, None, None),
    (_C.RESET_CONSUMER_OFFSET_IN_BROKER, NOBODY, None, None),
    (_C.ADJUST_CONSUMER_THREAD_POOL, NOBODY, None, None),
    (_C.WHO_CONSUME_THE_MESSAGE, NOBODY, None, None),
    (_C.DELETE_TOPIC_IN_BROKER, BROKER, h.DeleteTopicRequestHeader, None),
    (_C.DELETE_TOPIC_IN_NAMESRV, NAMESRV, h.DeleteTopicFromNamesrvRequestHeader, None),
    (_C.GET_KVLIST_BY_NAMESPACE, NAMESRV, h.GetKVListByNamespaceRequestHeader, None),
    (_C.RESET_CONSUMER_CLIENT_OFFSET, CLIENT, h.ResetOffsetRequestHeader, None),
    (_C.GET_CONSUMER_STATUS_FROM_CLIENT, CLIENT, h.GetConsumerStatusRequestHeader, None),
    (_C.INVOKE_BROKER_TO_RESET_OFFSET, BROKER, h.ResetOffsetRequestHeader, None),
    (_C.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, BROKER, h.GetConsumerStatusRequestHeader, None),
    (_C.GET_TOPICS_BY_CLUSTER, NAMESRV, h.GetTopicsByClusterRequestHeader, None),
    (_C.QUERY_TOPIC_CONSUME_BY_WHO, BROKER, h.QueryTopicConsumeByWhoRequestHeader, None),
    (
        _C.REGISTER_FILTER_SERVER,
        NOBODY,
        h.RegisterFilterServerRequestHeader,
        h.RegisterFilterServerResponseHeader,
    ),
    (_C.REGISTER_MESSAGE_FILTER_CLASS, NOBODY, h.RegisterMessageFilterClassRequestHeader, None),
    (_C.QUERY_CONSUME_TIME_SPAN, BROKER, h.QueryConsumeTimeSpanRequestHeader, None),
    (_C.GET_SYSTEM_TOPIC_LIST_FROM_NS, NAMESRV, None, None),
    (_C.GET_SYSTEM_TOPIC_LIST_FROM_BROKER, BROKER, None, None),
    (_C.CLEAN_EXPIRED_CONSUMEQUEUE, BROKER, None, None),
    (_C.GET_CONSUMER_RUNNING_INFO, BROKER_AND_CLIENT, h.GetConsumerRunningInfoRequestHeader, None),
    (_C.QUERY_CORRECTION_OFFSET, BROKER, h.QueryCorrectionOffsetHeader, None),
    (_C.CONSUME_MESSAGE_DIRECTLY, BROKER_AND_CLIENT, h.ConsumeMessageDirectlyResultRequestHeader, None),
    (_C.SEND_MESSAGE_V2, BROKER, h.SendMessageRequestHeaderV2, h.SendMessageResponseHeader),
    (_C.GET_UNIT_TOPIC_LIST, NAMESRV, None, None),
    (_C.GET_HAS_UNIT_SUB_TOPIC_LIST, NAMESRV, None, None),
    (_C.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, NAMESRV, None, None),
    (_C.CLONE_GROUP_OFFSET, BROKER, h.CloneGroupOffsetRequestHeader, None),
    (_C.VIEW_BROKER_STATS_DATA, BROKER, h.ViewBrokerStatsDataRequestHeader, None),
    (_C.CLEAN_UNUSED_TOPIC, BROKER, None, None),
    (_C.GET_BROKER_CONSUME_STATS, BROKER, h.GetConsumeStatsInBrokerHeader, None),
    (_C.UPDATE_NAMESRV_CONFIG, NAMESRV, None, None),
    (_C.GET_NAMESRV_CONFIG, NAMESRV, None, None),
    (_C.SEND_BATCH_MESSAGE, BROKER, h.SendMessageRequestHeaderV2, h.SendMessageResponseHeader),
    (_C.QUERY_CONSUME_QUEUE, BROKER, h.QueryConsumeQueueRequestHeader, None),
    (_C.QUERY_DATA_VERSION, NAMESRV, h.QueryDataVersionRequestHeader, h.QueryDataVersionResponseHeader),
    (_C.RESUME_CHECK_HALF_MESSAGE, BROKER, h.ResumeCheckHalfMessageRequestHeader, None),
    (_C.SEND_REPLY_MESSAGE, BROKER, h.SendMessageRequestHeader, h.SendMessageResponseHeader),
    (_C.SEND_REPLY_MESSAGE_V2, BROKER, h.SendMessageRequestHeaderV2, h.SendMessageResponseHeader),
    (_C.PUSH_REPLY_MESSAGE_TO_CLIENT, CLIENT, h.ReplyMessageRequestHeader, None),
    (
        _C.ADD_WRITE_PERM_OF_BROKER,
        NAMESRV,
        h.AddWritePermOfBrokerRequestHeader,
        h.AddWritePermOfBrokerResponseHeader,
    ),
    (_C.GET_ALL_PRODUCER_INFO, BROKER, h.GetAllProducerInfoRequestHeader, None),
    (_C.DELETE_EXPIRED_COMMITLOG, BROKER, None, None),
    # requests of ours
    (_C.COMPARE_LOG, BROKER, h.CompareLogRequestHeader, h.CompareLogResponseHeader),
    (_C.TABLES_CHANGED, BROKER, None, None),
    (_C.TAKE_TABLES, BROKER, None, None),
    (_C.GET_OPEN_TRANSACTIONS, BROKER, h.GetOpenTransactionsRequestHeader, None),
    (_C.GET_FAILOVER_STATE, BROKER, None, h.FailoverStateResponseHeader),
    (_C.PROMOTE, BROKER, h.PromoteRequestHeader, h.PromoteResponseHeader),
    (_C.HAND_OVER, BROKER, h.HandOverRequestHeader, h.HandOverResponseHeader),
    (_C.FOLLOW, BROKER, h.FollowRequestHeader, None),
)

#: Every known command by its code.
COMMANDS: Final[Mapping[int, Command]] = MappingProxyType(
    {
        int(code): Command(code, code.name, request_header, response_header, served_by)
        for code, served_by, request_header, response_header in _ROWS
    }
)


def command_name(code: int) -> str:
    """`PULL_MESSAGE` for 11; for an unknown code its number, for logs and error texts."""
    command = COMMANDS.get(code)
    return str(code) if command is None else command.name
