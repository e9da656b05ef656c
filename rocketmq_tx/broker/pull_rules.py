"""May this pull be served, under which subscription, and what does its outcome mean? Values in, values out.

The checks stand in Apache's order (spec/processors.yaml, PullMessageProcessor.checks, whose numbers the
comments name): a client that breaks two rules must be told the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rocketmq_tx.broker.tag_filter import CACHED_CHARS_MAX, TAG_TYPES
from rocketmq_tx.errors import HeaderError, MessageError, RequestRefused
from rocketmq_tx.protocol.bodies import MessageModel
from rocketmq_tx.protocol.bodies.heartbeat import EXPRESSION_TAG
from rocketmq_tx.protocol.codes import FAQ_SUFFIX, ResponseCode
from rocketmq_tx.protocol.flags import Perm, PullSysFlag
from rocketmq_tx.protocol.subscription import build_subscription
from rocketmq_tx.store.pull import GetResult, GetStatus

if TYPE_CHECKING:
    from rocketmq_tx.broker.clients import ConsumerGroup
    from rocketmq_tx.broker.property_filters import PropertyFilters
    from rocketmq_tx.config.broker import BrokerConfig
    from rocketmq_tx.protocol.bodies import SubscriptionData, SubscriptionGroupConfig, TopicConfig
    from rocketmq_tx.protocol.headers import PullMessageRequestHeader
    from rocketmq_tx.store.property_scan import Wants

# Plain numbers: arithmetic with an IntFlag costs ten times as much, and every pull does it.
READ = int(Perm.READ)
COMMIT_OFFSET = int(PullSysFlag.COMMIT_OFFSET)
SUSPEND = int(PullSysFlag.SUSPEND)
SUBSCRIPTION = int(PullSysFlag.SUBSCRIPTION)

INLINE_SUBSCRIPTIONS_MAX = 1000


class Admission(NamedTuple):
    """A pull that passed every check: its group's settings, and what the group wants of the topic."""

    group: SubscriptionGroupConfig
    subscription: SubscriptionData
    wants: Wants | None = None
    """By stored properties; None when those play no part."""


class PullRules:
    """The checks of a pull, in order; `admit` raises RequestRefused with the answer of the first that fails.

    The finders return None for what does not exist; `find_group` may create the group on the way
    (`autoCreateSubscriptionGroup`), which is why it is asked only after the broker's own check.
    """

    def __init__(
        self,
        config: BrokerConfig,
        find_group: Callable[[str], SubscriptionGroupConfig | None],
        find_topic: Callable[[str], TopicConfig | None],
        find_consumers: Callable[[str], ConsumerGroup | None],
        property_filters: PropertyFilters,
    ) -> None:
        self._config = config
        self._find_group = find_group
        self._find_topic = find_topic
        self._find_consumers = find_consumers
        self._property_filters = property_filters
        self._inline = InlineSubscriptions()

    def admit(self, header: PullMessageRequestHeader, consumer_host: str, consumer_port: int) -> Admission:
        config = self._config
        if not config.broker_permission & READ:  # 1
            raise _no_permission(f"the broker[{config.broker_ip1}] pulling message is forbidden")
        group = self._find_group(header.consumer_group)
        if group is None:  # 2
            raise RequestRefused(
                ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST,
                f"subscription group [{header.consumer_group}] does not exist, {FAQ_SUFFIX}",
            )
        if not group.consume_enable:  # 3
            raise _no_permission(f"subscription group no permission, {header.consumer_group}")
        topic = self._find_topic(header.topic)
        check_topic(header, topic, consumer_host, consumer_port)
        is_inline = header.sys_flag & SUBSCRIPTION
        if is_inline:
            subscription = self._inline.of(header)
        else:
            subscription = registered_subscription(header, group, self._find_consumers(header.consumer_group))
        wants = None
        if subscription.expression_type not in TAG_TYPES or subscription.class_filter_mode:  # 12 - 14
            filters = self._property_filters
            wants = (
                filters.of_inline(subscription) if is_inline else filters.of_registered(header, subscription)
            )
        elif config.filter_support_retry:
            wants = self._property_filters.of_retries(header.topic)
        return Admission(group, subscription, wants)


def check_topic(
    header: PullMessageRequestHeader, topic: TopicConfig | None, consumer_host: str, consumer_port: int
) -> None:
    if topic is None:  # 4
        raise RequestRefused(
            ResponseCode.TOPIC_NOT_EXIST,
            f"topic[{header.topic}] not exist, apply first please! {FAQ_SUFFIX}",
        )
    if not topic.perm & READ:  # 5
        raise _no_permission(f"the topic[{header.topic}] pulling message is forbidden")
    if not 0 <= header.queue_id < topic.read_queue_nums:  # 6
        raise RequestRefused(
            ResponseCode.SYSTEM_ERROR,
            f"queueId[{header.queue_id}] is illegal, topic:[{header.topic}] topicConfig.readQueueNums:"
            f"[{topic.read_queue_nums}] consumer:[/{consumer_host}:{consumer_port}]",
        )


class InlineSubscriptions:
    """Subscriptions that come with the pull itself (7), each built once for all the pulls that repeat it."""

    def __init__(self) -> None:
        self._built: dict[tuple[str, str | None, str | None], SubscriptionData] = {}

    def of(self, header: PullMessageRequestHeader) -> SubscriptionData:
        key = (header.topic, header.subscription, header.expression_type)
        subscription = self._built.get(key)
        if subscription is None:
            subscription = _build(header)
            if len(self._built) >= INLINE_SUBSCRIPTIONS_MAX:
                self._built.clear()
            if len(header.subscription or "") <= CACHED_CHARS_MAX:
                self._built[key] = subscription
        return subscription


def _build(header: PullMessageRequestHeader) -> SubscriptionData:
    try:
        return build_subscription(header.topic, header.subscription, header.expression_type or EXPRESSION_TAG)
    except MessageError as error:
        raise RequestRefused(
            ResponseCode.SUBSCRIPTION_PARSE_FAILED, "parse the consumer's subscription failed"
        ) from error


def registered_subscription(
    header: PullMessageRequestHeader, group: SubscriptionGroupConfig, consumers: ConsumerGroup | None
) -> SubscriptionData:
    """What the group's heartbeats said about the topic."""
    if consumers is None:  # 8
        raise RequestRefused(
            ResponseCode.SUBSCRIPTION_NOT_EXIST, f"the consumer's group info not exist{FAQ_SUFFIX}"
        )
    if not group.consume_broadcast_enable and consumers.message_model is MessageModel.BROADCASTING:  # 9
        raise _no_permission(f"the consumer group[{header.consumer_group}] can not consume by broadcast way")
    subscription = consumers.subscriptions.get(header.topic)
    if subscription is None:  # 10
        raise RequestRefused(
            ResponseCode.SUBSCRIPTION_NOT_EXIST, f"the consumer's subscription not exist{FAQ_SUFFIX}"
        )
    if header.sub_version is not None and subscription.sub_version < header.sub_version:  # 11
        raise RequestRefused(ResponseCode.SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest")
    return subscription


class ReaderRole(NamedTuple):
    """What this broker's place in its set means for reads."""

    slave_read_enable: bool
    """Readers may be sent to a slave, or back."""
    corrects_offsets: bool
    """A master does; a slave only with `offsetCheckInSlave`, since it may be behind."""


class Outcome(NamedTuple):
    """The answer to a pull but for its body: response code, remark, and the broker to ask next."""

    code: ResponseCode
    remark: str
    suggested_broker_id: int


def response_code(status: GetStatus, queue_offset: int) -> ResponseCode:
    """What the outcome of a read at `queue_offset` means (PullMessageProcessor.status_to_code)."""
    if status in _CODES_OF_EMPTY_QUEUE:
        return ResponseCode.PULL_OFFSET_MOVED if queue_offset else ResponseCode.PULL_NOT_FOUND
    return _CODES[status]


def suggested_broker_id(result: GetResult, admission: Admission, reader: ReaderRole) -> int:
    """Whom to ask next: a slave may serve what left this machine's memory long ago."""
    if not reader.slave_read_enable:
        return 0
    group = admission.group
    return group.which_broker_when_consume_slowly if result.suggest_slave else group.broker_id


def conclude(
    result: GetResult, asked_offset: int, tested_to: int, admission: Admission, reader: ReaderRole
) -> Outcome:
    """The answer to a read that began at `tested_to` for a consumer that asked from `asked_offset`.

    The two differ after non-matching messages passed a held pull: nothing new then still means progress,
    so the consumer is told to go on behind them instead of asking for them again.
    """
    status = result.status
    suggested = suggested_broker_id(result, admission, reader)
    if status is GetStatus.FOUND:
        return _FOUND if not suggested else _FOUND._replace(suggested_broker_id=suggested)
    code = response_code(status, tested_to)
    if code is ResponseCode.PULL_NOT_FOUND and tested_to != asked_offset:
        return Outcome(ResponseCode.PULL_RETRY_IMMEDIATELY, GetStatus.NO_MATCHED_MESSAGE.name, suggested)
    if code is ResponseCode.PULL_OFFSET_MOVED and not reader.corrects_offsets:
        return Outcome(ResponseCode.PULL_RETRY_IMMEDIATELY, status.name, admission.group.broker_id)
    return Outcome(code, status.name, suggested)


def may_wait(status: GetStatus, sys_flag: int, queue_offset: int) -> bool:
    """True when a pull wants to be held: it is at the end of its queue, and says that it can wait.

    One that saw only messages of other tags asks again, further on, at once.
    """
    return bool(sys_flag & SUSPEND) and response_code(status, queue_offset) is ResponseCode.PULL_NOT_FOUND


def is_nothing_new(result: GetResult, tested_to: int) -> bool:
    """True when a held pull stays held: no message it could get lies between `tested_to` and the queue's end.

    A stretch of non-matching entries longer than one read is no end: that consumer asks again at once.
    """
    if result.status is GetStatus.NO_MATCHED_MESSAGE:
        return result.next_offset >= result.max_offset
    return response_code(result.status, tested_to) is ResponseCode.PULL_NOT_FOUND


def require_numbers(header: PullMessageRequestHeader) -> None:
    """Fields that a flag makes necessary although the header as such may lack them."""
    if header.sys_flag & COMMIT_OFFSET and header.commit_offset is None:
        raise _header_error("commitOffset", "is missing, but the commit flag is set")
    if header.sys_flag & SUSPEND and header.suspend_timeout_millis is None:
        raise _header_error("suspendTimeoutMillis", "is missing, but the suspend flag is set")
    if header.max_msg_nums < 0:
        raise _header_error("maxMsgNums", f"{header.max_msg_nums} is negative")


def _header_error(field: str, problem: str) -> HeaderError:
    return HeaderError("PullMessageRequestHeader", field, problem)


_FOUND = Outcome(ResponseCode.SUCCESS, GetStatus.FOUND.name, 0)
_CODES_OF_EMPTY_QUEUE = frozenset((GetStatus.NO_MATCHED_LOGIC_QUEUE, GetStatus.NO_MESSAGE_IN_QUEUE))
_CODES = {
    GetStatus.FOUND: ResponseCode.SUCCESS,
    GetStatus.MESSAGE_WAS_REMOVING: ResponseCode.PULL_RETRY_IMMEDIATELY,
    GetStatus.NO_MATCHED_MESSAGE: ResponseCode.PULL_RETRY_IMMEDIATELY,
    GetStatus.OFFSET_FOUND_NULL: ResponseCode.PULL_NOT_FOUND,
    GetStatus.OFFSET_OVERFLOW_BADLY: ResponseCode.PULL_OFFSET_MOVED,
    GetStatus.OFFSET_OVERFLOW_ONE: ResponseCode.PULL_NOT_FOUND,
    GetStatus.OFFSET_TOO_SMALL: ResponseCode.PULL_OFFSET_MOVED,
}


def _no_permission(remark: str) -> RequestRefused:
    return RequestRefused(ResponseCode.NO_PERMISSION, remark)
