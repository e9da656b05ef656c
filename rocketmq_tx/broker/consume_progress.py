"""Serves how far consumers have come: per queue, per topic, per group, for the whole broker.

    202 topic: offsets of its queues           208 group: offsets against the queues' ends
    300 topic: which groups consume it         303 group in a topic: the same as times
    43  all stored offsets                     317 208 for every group of the broker
    308 lowest offsets over groups             314 let a group stand where another one stands

Facts: spec/processors.yaml (AdminBrokerProcessor).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol.bodies import (
    ConsumeStats,
    ConsumeStatsList,
    GroupList,
    MessageQueue,
    OffsetWrapper,
    QueryConsumeTimeSpanBody,
    QueryCorrectionOffsetBody,
    QueueTimeSpan,
    TopicConfig,
    TopicOffset,
    TopicStatsTable,
)
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    CloneGroupOffsetRequestHeader,
    GetConsumeStatsInBrokerHeader,
    GetConsumeStatsRequestHeader,
    GetTopicStatsInfoRequestHeader,
    QueryConsumeTimeSpanRequestHeader,
    QueryCorrectionOffsetHeader,
    QueryTopicConsumeByWhoRequestHeader,
)
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.clients import Consumers
    from rocketmq_tx.broker.store_times import StoreTimeOf, StoreTimes
    from rocketmq_tx.broker.tables import Tables
    from rocketmq_tx.config.settings import BrokerSettings
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.stored_messages import StoredMessages


class ConsumeProgress:
    """Compares the offset table with the queues.

    `now_ms` is the wall clock, `get_rate` how many messages a second of a topic a group consumes.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        store: StoredMessages,
        tables: Tables,
        consumers: Consumers,
        times: StoreTimes,
        now_ms: Callable[[], int],
        get_rate: Callable[[str, str], float],
    ) -> None:
        self._get_rate = get_rate
        self._settings = settings
        self._store = store
        self._topics, self._groups, self._offsets = tables.topics, tables.groups, tables.offsets
        self._consumers = consumers
        self._times = times
        self._now_ms = now_ms

    # -- one topic -------------------------------------------------------------------------------------------

    @serves(RequestCode.GET_TOPIC_STATS_INFO)
    async def topic_stats(self, peer: Peer, frame: Frame, header: GetTopicStatsInfoRequestHeader) -> Reply:
        topic = self._known_topic(header.topic)
        table = await self._times.answer(
            lambda store_time: self._topic_stats(topic.topic_name, topic.write_queue_nums, store_time)
        )
        return Reply(body=TopicStatsTable(offset_table=table).to_bytes())

    def _topic_stats(
        self, topic: str, queues: int, store_time: StoreTimeOf
    ) -> dict[MessageQueue, TopicOffset]:
        table = {}
        for queue_id in range(queues):
            first, end = self._store.queue_offsets(topic, queue_id)
            last_ms = store_time(topic, queue_id, end - 1)
            table[self._queue(topic, queue_id)] = TopicOffset(
                min_offset=first, max_offset=end, last_update_timestamp=max(last_ms, 0)
            )
        return table

    @serves(RequestCode.QUERY_TOPIC_CONSUME_BY_WHO)
    def consumed_by(self, peer: Peer, frame: Frame, header: QueryTopicConsumeByWhoRequestHeader) -> Reply:
        """Groups online first, then those that only left offsets."""
        online = self._consumers.groups_subscribed_to(header.topic)
        known = dict.fromkeys((*online, *self._offsets.groups_of(header.topic)))
        return Reply(body=GroupList(group_list=list(known)).to_bytes())

    @serves(RequestCode.QUERY_CONSUME_TIME_SPAN)
    async def time_span(self, peer: Peer, frame: Frame, header: QueryConsumeTimeSpanRequestHeader) -> Reply:
        queue_ids = range(self._known_topic(header.topic).write_queue_nums)
        spans = await self._times.answer(
            lambda store_time: [
                self._time_span(header.group, header.topic, queue_id, store_time) for queue_id in queue_ids
            ]
        )
        return Reply(body=QueryConsumeTimeSpanBody(consume_time_span_set=spans).to_bytes())

    def _time_span(self, group: str, topic: str, queue_id: int, store_time: StoreTimeOf) -> QueueTimeSpan:
        """Times of the queue's ends and of what was consumed last; the delay is that of the next message."""
        first, end = self._store.queue_offsets(topic, queue_id)
        oldest_ms = store_time(topic, queue_id, first)
        offset = max(self._offsets.query(group, topic, queue_id), 0)
        consumed_ms = store_time(topic, queue_id, offset - 1) if offset else oldest_ms
        next_ms = store_time(topic, queue_id, offset) if offset < end else -1
        return QueueTimeSpan(
            message_queue=self._queue(topic, queue_id),
            min_time_stamp=oldest_ms,
            max_time_stamp=store_time(topic, queue_id, end - 1),
            consume_time_stamp=consumed_ms,
            delay_time=self._now_ms() - next_ms if next_ms >= 0 else 0,
        )

    # -- groups ----------------------------------------------------------------------------------------------

    @serves(RequestCode.GET_CONSUME_STATS)
    async def group_stats(self, peer: Peer, frame: Frame, header: GetConsumeStatsRequestHeader) -> Reply:
        """All topics with stored offsets, or the one that is named; an unknown group has an empty table."""
        group = header.consumer_group
        named = header.topic is not None and not header.topic.isspace() and header.topic
        wanted = [named] if named else self._offsets.topics_of(group)
        topics = list(self._consumed_topics(group, wanted))

        def stats(store_time: StoreTimeOf) -> ConsumeStats:
            table: dict[MessageQueue, OffsetWrapper] = {}
            for topic in topics:
                table.update(self._progress(group, topic.topic_name, topic.read_queue_nums, store_time))
            rates = [self._get_rate(topic.topic_name, group) for topic in topics]
            return ConsumeStats(offset_table=table, consume_tps=sum(rates, 0.0))

        return Reply(body=(await self._times.answer(stats)).to_bytes())

    @serves(RequestCode.GET_BROKER_CONSUME_STATS)
    async def all_group_stats(self, peer: Peer, frame: Frame, header: GetConsumeStatsInBrokerHeader) -> Reply:
        """One entry per topic of each group; with `is_order` only of order topics."""
        is_order = bool(header.is_order)
        body = await self._times.answer(lambda store_time: self._all_group_stats(is_order, store_time))
        return Reply(body=body.to_bytes())

    def _all_group_stats(self, is_order: bool, store_time: StoreTimeOf) -> ConsumeStatsList:
        lists: list[dict[str, list[ConsumeStats]]] = []
        behind = 0
        for group in self._groups.configs():
            of_group = []
            for topic in self._consumed_topics(group, self._offsets.topics_of(group)):
                if is_order and not topic.order:
                    continue
                table = self._progress(group, topic.topic_name, topic.write_queue_nums, store_time)
                behind += sum(queue.broker_offset - queue.consumer_offset for queue in table.values())
                rate = self._get_rate(topic.topic_name, group)
                of_group.append(ConsumeStats(offset_table=table, consume_tps=rate))
            lists.append({group: of_group})
        return ConsumeStatsList(
            consume_stats_list=lists, broker_addr=self._settings.broker_address, total_diff=behind
        )

    def _progress(
        self, group: str, topic: str, queues: int, store_time: StoreTimeOf
    ) -> dict[MessageQueue, OffsetWrapper]:
        table = {}
        for queue_id in range(queues):
            _, end = self._store.queue_offsets(topic, queue_id)
            offset = max(self._offsets.query(group, topic, queue_id), 0)
            consumed_ms = store_time(topic, queue_id, offset - 1) if offset else 0
            table[self._queue(topic, queue_id)] = OffsetWrapper(
                broker_offset=end, consumer_offset=offset, last_timestamp=max(consumed_ms, 0)
            )
        return table

    def _consumed_topics(self, group: str, names: Iterable[str]) -> Iterator[TopicConfig]:
        """Topics that exist, without those that an online group no longer subscribes to."""
        consumers = self._consumers.find(group)
        for name in names:
            topic = self._topics.get(name)
            if topic is None:
                continue
            if consumers is not None and consumers.subscriptions and name not in consumers.subscriptions:
                continue
            yield topic

    # -- stored offsets --------------------------------------------------------------------------------------

    @serves(RequestCode.GET_ALL_CONSUMER_OFFSET)
    def all_offsets(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return Reply(body=self._offsets.snapshot().to_bytes())

    @serves(RequestCode.QUERY_CORRECTION_OFFSET)
    def lowest_offsets(self, peer: Peer, frame: Frame, header: QueryCorrectionOffsetHeader) -> Reply:
        """Offsets below a queue's beginning do not count. (Apache loses those of the groups left out.)"""
        left_out = set((header.filter_groups or "").split(","))
        lowest: dict[int, int] = {}
        for group in self._offsets.groups_of(header.topic):
            if group in left_out:
                continue
            for queue_id, offset in self._offsets.queues(group, header.topic).items():
                if offset >= self._store.queue_offsets(header.topic, queue_id)[0]:
                    lowest[queue_id] = min(offset, lowest.get(queue_id, offset))
        return Reply(body=QueryCorrectionOffsetBody(correction_offsets=lowest).to_bytes())

    @serves(RequestCode.CLONE_GROUP_OFFSET)
    def clone_offsets(self, peer: Peer, frame: Frame, header: CloneGroupOffsetRequestHeader) -> Reply:
        """Without a topic all of them; with `offline` also those that the group no longer subscribes to."""
        source = header.src_group
        wanted = [header.topic] if header.topic else self._offsets.topics_of(source)
        if not header.offline:
            wanted = [topic.topic_name for topic in self._consumed_topics(source, wanted)]
        for topic in wanted:
            if self._topics.get(topic) is not None:
                self._offsets.clone(source, header.dest_group, topic)
        return Reply()

    # -- parts -----------------------------------------------------------------------------------------------

    def _known_topic(self, name: str) -> TopicConfig:
        topic = self._topics.get(name)
        if topic is None:
            raise RequestRefused(ResponseCode.TOPIC_NOT_EXIST, f"topic[{name}] not exist")
        return topic

    def _queue(self, topic: str, queue_id: int) -> MessageQueue:
        return MessageQueue(topic, self._settings.broker.broker_name, queue_id)
