"""What every pull has in common, whichever way it is served: commit, read, answer, count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from rocketmq_tx.broker.pull_rules import COMMIT_OFFSET, Admission, Outcome, ReaderRole
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.answers import PullAnswers

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocketmq_tx.broker.offsets import ConsumerOffsets
    from rocketmq_tx.broker.statistics import BrokerStatistics
    from rocketmq_tx.broker.tag_filter import TagFilters
    from rocketmq_tx.config.settings import BrokerSettings
    from rocketmq_tx.protocol.codes import SerializeType
    from rocketmq_tx.protocol.headers import PullMessageRequestHeader
    from rocketmq_tx.store.message_store import MessageStore
    from rocketmq_tx.store.pull import GetResult

Pieces = tuple[bytes, ...]
"""An answer that is known: bytes to be written one after the other. A body is joined once, by the writer."""


@attrs.define
class PullTraffic:
    """What was pulled since the start, for the runtime figures."""

    found: int = 0
    """Pulls that got messages."""
    missed: int = 0
    messages: int = 0
    bytes: int = 0


class PullSteps:
    """The steps of an admitted pull, of one broker. `traffic` and `statistics` count what was pulled."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: MessageStore,
        filters: TagFilters,
        offsets: ConsumerOffsets,
        statistics: BrokerStatistics | None,
    ) -> None:
        self._broker_config = settings.broker
        self._store_config = settings.store
        self._store = store
        self._filters = filters
        self._offsets = offsets
        self._statistics = statistics
        self._answers = PullAnswers()
        self.traffic = PullTraffic()

    def commit(self, header: PullMessageRequestHeader, commit_offset: int | None) -> None:
        """The consumer says on the way how far it has come; a slave's table is its master's."""
        if header.sys_flag & COMMIT_OFFSET and self._store_config.broker_role is not BrokerRole.SLAVE:
            assert commit_offset is not None  # require_numbers
            self._offsets.commit(header.consumer_group, header.topic, header.queue_id, commit_offset)

    def reader(
        self, header: PullMessageRequestHeader, admission: Admission
    ) -> Callable[[int, bool], GetResult]:
        """Reads for an admitted pull: (queue offset, may it block). StoreError or WouldBlock."""
        get_messages = self._store.get_messages
        topic, queue_id, count = header.topic, header.queue_id, header.max_msg_nums
        matches, wants = self._filters.of(admission.subscription), admission.wants
        return lambda queue_offset, may_block: get_messages(
            topic, queue_id, queue_offset, count, matches, may_block, wants
        )

    def encoded(
        self,
        header: PullMessageRequestHeader,
        serialize: SerializeType,
        opaque: int,
        outcome: Outcome,
        result: GetResult,
        took_ms: int,
    ) -> Pieces:
        """The answer as bytes, and counted; `took_ms` is how long the disk was waited for."""
        body, count = result.body, result.count
        size_bytes = len(body)
        if count:
            self.count_found(header, 1, count, size_bytes, took_ms)
        else:
            self.traffic.missed += 1
        code, remark, suggested_broker_id = outcome
        head = self._answers.head(
            serialize,
            code,
            remark,
            opaque,
            suggested_broker_id,
            result.next_offset,
            result.min_offset,
            result.max_offset,
            size_bytes,
        )
        return head, body

    def count_found(
        self, header: PullMessageRequestHeader, pulls: int, messages: int, size_bytes: int, took_ms: int
    ) -> None:
        """Counts pulls of one consumer from one queue that got messages."""
        traffic = self.traffic
        traffic.found += pulls
        traffic.messages += messages
        traffic.bytes += size_bytes
        if self._statistics is not None:
            self._statistics.got(
                header.topic, header.queue_id, header.consumer_group, messages, size_bytes, took_ms, pulls
            )

    def role(self) -> ReaderRole:
        """This broker's place in its set, which may change."""
        store = self._store_config
        is_master = store.broker_role is not BrokerRole.SLAVE
        return ReaderRole(self._broker_config.slave_read_enable, is_master or store.offset_check_in_slave)
