"""Topics: their configuration, the table of it (topics.json), lists of names, and offsets by queue."""

from __future__ import annotations

import enum

import attrs

from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol.bodies.fields import Body, Int, Long, body
from rocketmq_tx.protocol.bodies.queue import DataVersion, MessageQueue
from rocketmq_tx.protocol.flags import Perm


class TopicFilterType(enum.Enum):
    """Does the TAGS property hold one tag or many? Nothing in 4.9.7 depends on it."""

    SINGLE_TAG = "SINGLE_TAG"
    MULTI_TAG = "MULTI_TAG"


@attrs.define
class TopicConfig(Body):
    """One topic of a broker."""

    topic_name: str = ""
    read_queue_nums: Int = 16
    write_queue_nums: Int = 16
    perm: Int = int(Perm.READ | Perm.WRITE)
    topic_filter_type: TopicFilterType | None = TopicFilterType.SINGLE_TAG
    topic_sys_flag: Int = 0
    order: bool = False

    def to_text(self) -> str:
        """`name read write perm filterType`, the form in compressed registrations; drops flags and order."""
        kind = (self.topic_filter_type or TopicFilterType.SINGLE_TAG).name
        return f"{self.topic_name} {self.read_queue_nums} {self.write_queue_nums} {self.perm} {kind}"

    @classmethod
    def from_text(cls, text: str) -> TopicConfig:
        """Reads `to_text`'s form; BodyError when it is another."""
        try:
            name, read, write, perm, kind = text.split(" ")
            return cls.from_json(
                {
                    "topicName": name,
                    "readQueueNums": read,
                    "writeQueueNums": write,
                    "perm": perm,
                    "topicFilterType": kind,
                }
            )
        except (ValueError, BodyError) as error:
            raise BodyError(f"TopicConfig: {text[:200]!r} cannot be read: {error}") from error


@body
class TopicConfigSerializeWrapper(Body):
    """All topics of a broker with the table's version: topics.json (pretty) and part of a registration."""

    topic_config_table: dict[str, TopicConfig] = attrs.Factory(dict)
    data_version: DataVersion = attrs.Factory(DataVersion)
    deleted_topics: dict[str, Long] | None = None
    """For slaves of this project: where the commit log ended when each of these was deleted."""


@body
class TopicList(Body):
    """Names of topics; `broker_addr` only in answers about system topics."""

    topic_list: list[str] = attrs.Factory(list)
    broker_addr: str | None = None


@body
class TopicOffset(Body):
    """The range of one queue, and when its last message was stored (0 when it is empty)."""

    min_offset: Long = 0
    max_offset: Long = 0
    last_update_timestamp: Long = 0


@body
class TopicStatsTable(Body):
    """The range of each queue of a topic."""

    offset_table: dict[MessageQueue, TopicOffset] = attrs.Factory(dict)
