"""Keeps consumer offsets in `lmqConsumerOffset.json`, the file of a broker with `enableLmq`.

Light groups have one offset for each topic in it, without a queue id. A store that never had the file begins
with what `consumerOffset.json` says. Facts: Apache's LmqConsumerOffsetManager.
"""

from __future__ import annotations

from rocketmq_tx.broker.kept_table import TableFile
from rocketmq_tx.broker.offset_file import OffsetFile
from rocketmq_tx.broker.offsets import SEPARATOR, ConsumerOffsets
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import ConsumerOffsetSerializeWrapper, LmqConsumerOffsetSerializeWrapper
from rocketmq_tx.runtime.threads import OffReactor

LIGHT_QUEUE = 0
_LIGHT_GROUP = SEPARATOR + names.LMQ_PREFIX


class LightOffsetFile(OffsetFile):
    """`usual` is the file of a broker without `enableLmq`; it is read once and never written."""

    def __init__(
        self, offsets: ConsumerOffsets, file: TableFile, usual: TableFile, off_reactor: OffReactor
    ) -> None:
        super().__init__(offsets, file, off_reactor)
        self._usual = OffsetFile(offsets, usual, off_reactor)

    def load(self) -> None:
        """Takes what was kept; raises when a file exists but neither it nor its copy can be read."""
        kept = self._file.load(LmqConsumerOffsetSerializeWrapper.from_bytes)
        if kept is None:
            self._usual.load()
            return
        self._offsets.merge(ConsumerOffsetSerializeWrapper(offset_table=kept.offset_table))
        for name, offset in kept.lmq_offset_table.items():
            topic, separator, rest = name.rpartition(_LIGHT_GROUP)
            if separator:
                self._offsets.commit(names.LMQ_PREFIX + rest, topic, LIGHT_QUEUE, offset)

    def _write(self, snapshot: ConsumerOffsetSerializeWrapper) -> None:
        self._file.save(with_light_groups_apart(snapshot).to_bytes(pretty=True))


def with_light_groups_apart(snapshot: ConsumerOffsetSerializeWrapper) -> LmqConsumerOffsetSerializeWrapper:
    """The table as the file holds it; a light group's offsets in other queues than 0 stand with the rest."""
    apart = LmqConsumerOffsetSerializeWrapper()
    for name, queues in snapshot.offset_table.items():
        rest = queues
        if _LIGHT_GROUP in name and LIGHT_QUEUE in queues:
            apart.lmq_offset_table[name] = queues[LIGHT_QUEUE]
            rest = {queue_id: offset for queue_id, offset in queues.items() if queue_id != LIGHT_QUEUE}
        if rest:
            apart.offset_table[name] = rest
    return apart
