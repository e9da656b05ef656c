"""Serves CONSUMER_SEND_MSG_BACK: a consumer could not deal with a message and wants it again later.

The answer means that the message is stored again, under SYNC_FLUSH on disk: the consumer goes on to commit
its offset, after which nobody else would bring it back. Decisions: `retry_rules`. Facts:
`spec/processors.yaml` (CONSUMER_SEND_MSG_BACK).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.broker import retry_rules, send_rules
from rocketmq_tx.broker.topic_rules import unit_flag
from rocketmq_tx.errors import MessageError, RequestRefused, StoreError
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.flags import Perm
from rocketmq_tx.protocol.headers import ConsumerSendMsgBackRequestHeader
from rocketmq_tx.protocol.message import MessageRecord, decode_record
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.groups import SubscriptionGroupTable
    from rocketmq_tx.broker.statistics import BrokerStatistics
    from rocketmq_tx.broker.topics import TopicTable
    from rocketmq_tx.broker.warm_reads import WarmReads
    from rocketmq_tx.config.settings import BrokerSettings
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.append import NewMessage
    from rocketmq_tx.store.stored_messages import StoredMessages

DEAD_LETTER_QUEUES = 1
_NOT_SURE = (ResponseCode.FLUSH_DISK_TIMEOUT,)
"""Statuses that are no success: the consumer keeps the message, at worst it comes twice."""


class SendBack:
    """Stores a copy of the message for the group's retry topic, or its dead letter queue."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: StoredMessages,
        reads: WarmReads,
        appending: Appending,
        topics: TopicTable,
        groups: SubscriptionGroupTable,
        now_ms: Callable[[], int],
        statistics: BrokerStatistics | None = None,
    ) -> None:
        self._statistics = statistics
        self._broker = settings.broker
        self._store_config = settings.store
        self._store = store
        self._reads = reads
        self._appending = appending
        self._topics = topics
        self._groups = groups
        self._now_ms = now_ms

    @serves(RequestCode.CONSUMER_SEND_MSG_BACK)
    async def send_back(self, peer: Peer, frame: Frame, header: ConsumerSendMsgBackRequestHeader) -> Reply:
        self._check_role()
        group = self._groups.find(header.group)
        if group is None:
            raise send_rules.group_missing(header.group)
        if not self._broker.broker_permission & Perm.WRITE:
            remark = f"the broker[{self._broker.broker_ip1}] sending message is forbidden"
            raise RequestRefused(ResponseCode.NO_PERMISSION, remark)
        if group.retry_queue_nums <= 0:
            return Reply()  # this group's messages are not tried again, so its settings say
        retry_name = names.retry_topic(header.group)
        retry_topic = self._topics.ensure(
            retry_name, group.retry_queue_nums, sys_flag=unit_flag(retry_name, header.unit_mode)
        )
        retry_rules.check_retry_topic(retry_topic)
        record = await self._record(header.offset)
        if retry_rules.is_dead_letter(record, header, group, frame.version):
            dead_letters = self._topics.ensure(names.dlq_topic(header.group), DEAD_LETTER_QUEUES)
            target, queue_id, level = dead_letters.topic_name, 0, 0
        else:
            target, queue_id = retry_name, random.randrange(retry_rules.retry_queues(group, retry_topic))
            level = retry_rules.retry_level(record, header.delay_level)
        now_ms = self._now_ms()
        await self._store_again(
            retry_rules.handed_back(
                record, target, queue_id, level, now_ms, self._store_config.delay_levels_ms
            ),
            now_ms,
        )
        if self._statistics is not None:
            first_topic = record.property_map.get(prop.RETRY_TOPIC, record.topic)
            self._statistics.sent_back(first_topic, header.group)
        return Reply()

    def _check_role(self) -> None:
        """First of all: a slave's tables are its master's, and get neither a group nor a retry topic here."""
        try:
            self._appending.check_role()
        except RequestRefused as refusal:
            raise _by_its_name(refusal) from refusal

    async def _record(self, commit_log_offset: int) -> MessageRecord:
        try:
            data = await self._reads.read(
                lambda may_block: self._store.record_at(commit_log_offset, may_block)
            )
            return decode_record(data)
        except (StoreError, MessageError) as error:
            raise retry_rules.record_missing(commit_log_offset) from error

    async def _store_again(self, message: NewMessage, now_ms: int) -> None:
        """Refusals carry code 1 and the status by its name, as in Apache; ours say why as well."""
        try:
            placed = self._appending.append([message], now_ms)
            status = await self._appending.settle(placed)
        except RequestRefused as refusal:
            raise _by_its_name(refusal) from refusal
        except MessageError as error:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, f"MESSAGE_ILLEGAL: {error}") from error
        if status in _NOT_SURE:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, status.name)


def _by_its_name(refusal: RequestRefused) -> RequestRefused:
    remark = f"{ResponseCode(refusal.code).name}: {refusal.remark}"
    return RequestRefused(ResponseCode.SYSTEM_ERROR, remark)
