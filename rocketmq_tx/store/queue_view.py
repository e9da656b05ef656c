"""A consume queue as it is shown to readers who must not see its newest messages yet."""

from __future__ import annotations

from rocketmq_tx.store.consume_queue import ConsumeQueue


class QueueView(ConsumeQueue):
    """Ends at `end`. For one reading: it does not follow the queue."""

    __slots__ = ("_shown",)

    def __init__(self, queue: ConsumeQueue, end: int) -> None:
        self._shown = queue
        self.topic, self.queue_id, self.topic_field = queue.topic, queue.queue_id, queue.topic_field
        self.min_offset, self.max_offset = queue.min_offset, end
        self.files_state = queue.files_state

    @property
    def directory(self) -> str:
        return self._shown.directory

    def read(self, queue_offset: int, count: int, may_block: bool = True) -> bytes:
        """As the queue's, up to the end."""
        return self._shown.read(queue_offset, min(count, self.max_offset - queue_offset), may_block)

    def read_written(self, queue_offset: int, count: int, may_block: bool = True) -> bytes | None:
        """As the queue's: whoever asks knows where the end is."""
        return self._shown.read_written(queue_offset, count, may_block)
