"""SQL92 filters that a broker remembers: consumerFilter.json."""

from __future__ import annotations

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, Int, Long, body


@body
class BloomFilterData(Body):
    """The bits of a consumer in the bit maps of its topic."""

    bit_pos: tuple[int, ...] = ()
    bit_num: Int = 0


@body
class ConsumerFilterData(Body):
    """One group's expression for a topic; `dead_time` is 0 while it has consumers."""

    consumer_group: str = ""
    topic: str = ""
    expression: str | None = None
    expression_type: str | None = None
    born_time: Long = 0
    dead_time: Long = 0
    bloom_filter_data: BloomFilterData | None = None
    client_version: Long = 0
    dead: bool = False


@body
class FilterDataMapByTopic(Body):
    """The expressions of all groups for a topic."""

    group_filter_data: dict[str, ConsumerFilterData] = attrs.Factory(dict)
    topic: str = ""


@body
class ConsumerFilterTable(Body):
    """All expressions by topic: consumerFilter.json (pretty)."""

    filter_data_by_topic: dict[str, FilterDataMapByTopic] = attrs.Factory(dict)
