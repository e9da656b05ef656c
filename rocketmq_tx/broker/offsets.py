"""How far each consumer group has come in each queue: the table behind `config/consumerOffset.json`.

A consumer says what it has consumed and is believed, also when it goes back (a reset does that on purpose).
Nothing else ever lowers an offset: loading merges, and a table that cannot be read is an error of the
operator's, not an empty table. Facts: spec/processors.yaml (ConsumerManageProcessor),
spec/bodies.yaml (ConsumerOffsetSerializeWrapper).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from rocketmq_tx.protocol.bodies import ConsumerOffsetSerializeWrapper

NO_OFFSET = -1
"""What a group has in a queue that it never committed."""

SEPARATOR = "@"


class ConsumerOffsets:
    """Offsets by topic, group and queue; each is the next one that the group wants."""

    def __init__(self) -> None:
        self._table: dict[tuple[str, str], dict[int, int]] = {}
        self._changes = 0

    # -- reading -------------------------------------------------------------------------------------------

    def query(self, group: str, topic: str, queue_id: int) -> int:
        """The stored offset, or NO_OFFSET."""
        return self._table.get((topic, group), {}).get(queue_id, NO_OFFSET)

    def queues(self, group: str, topic: str) -> Mapping[int, int]:
        """Offsets of a group in a topic, by queue id; for reading."""
        return self._table.get((topic, group), {})

    def topics_of(self, group: str) -> list[str]:
        return [topic for topic, its_group in self._table if its_group == group]

    def groups_of(self, topic: str) -> list[str]:
        return [group for its_topic, group in self._table if its_topic == topic]

    # -- changing ------------------------------------------------------------------------------------------

    def commit(self, group: str, topic: str, queue_id: int, offset: int) -> None:
        """Stores the offset as it is: lower, negative, or of an unknown topic, as Apache does."""
        key = (topic, group)
        queues = self._table.get(key)
        if queues is None:
            queues = self._table[key] = {}
        if queues.get(queue_id) != offset:
            queues[queue_id] = offset
            self._changes += 1

    def clone(self, source_group: str, target_group: str, topic: str) -> None:
        """Gives a group the offsets of another in a topic; without any, nothing happens."""
        offsets = self._table.get((topic, source_group))
        if offsets:
            self._table[topic, target_group] = dict(offsets)
            self._changes += 1

    def remove_topics(self, topics: AbstractSet[str]) -> None:
        """These topics are deleted; created again they start anew for everybody."""
        self._remove([key for key in self._table if key[0] in topics])

    def remove_group(self, group: str) -> None:
        self._remove([key for key in self._table if key[1] == group])

    def _remove(self, keys: Iterable[tuple[str, str]]) -> None:
        for key in keys:
            del self._table[key]
            self._changes += 1

    def lower_to(self, end_of: Callable[[str, int], int]) -> None:
        """The end of the log was cut off: nobody has come further than a queue (topic, queue id) reaches."""
        for (topic, group), queues in self._table.items():
            for queue_id, offset in queues.items():
                if offset > end_of(topic, queue_id):
                    self.commit(group, topic, queue_id, end_of(topic, queue_id))

    # -- keeping -------------------------------------------------------------------------------------------

    def merge_higher(self, others: ConsumerOffsetSerializeWrapper) -> int:
        """Takes what is further on in the table of a master, or of a slave; returns for how many queues."""
        before = self._changes
        for name, theirs in others.offset_table.items():
            topic, separator, group = name.partition(SEPARATOR)
            if not separator:
                continue
            for queue_id, offset in theirs.items():
                if offset > self.query(group, topic, queue_id):
                    self.commit(group, topic, queue_id, offset)
        return self._changes - before

    def merge(self, kept: ConsumerOffsetSerializeWrapper) -> None:
        """Takes the offsets of a file or of a master; entries of this table that are not among them stay."""
        for name, queues in kept.offset_table.items():
            topic, separator, group = name.partition(SEPARATOR)
            if separator:
                self._table.setdefault((topic, group), {}).update(queues)

    def snapshot(self) -> ConsumerOffsetSerializeWrapper:
        """The table as GET_ALL_CONSUMER_OFFSET answers it and the file holds it; a copy, for any thread."""
        return ConsumerOffsetSerializeWrapper(
            offset_table={
                f"{topic}{SEPARATOR}{group}": dict(queues) for (topic, group), queues in self._table.items()
            }
        )

    @property
    def changes(self) -> int:
        """Grows with every change, so that a writer knows whether there is anything to write."""
        return self._changes
