"""The messages of one queue that were pulled and are not done yet: flow control, and how far to commit.

Pure state without clock or network. Listeners may finish in any order; an offset is committed only when
everything before it is done, so that nothing is lost when another consumer takes over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs

from rocketmq_tx.client.message import ReceivedMessage
from rocketmq_tx.protocol.bodies import MessageQueue


@attrs.frozen
class FlowLimits:
    """How much of one queue may wait here before pulling pauses (Apache's defaults)."""

    messages: int = 1000
    size_bytes: int = 100 << 20
    span: int = 2000
    """Distance between the first and the last offset: one slow message holds back what may be committed."""


class ProcessQueue:
    """Messages of `queue` in progress; `is_dropped` when it is another consumer's: nothing counts then."""

    def __init__(self, queue: MessageQueue) -> None:
        self.queue = queue
        self.is_dropped = False
        self.size_bytes = 0
        self._pending: dict[int, int] = {}
        self._order: deque[int] = deque()
        self._end: int | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, messages: Sequence[ReceivedMessage]) -> None:
        """Takes in what was pulled, in the queue's order."""
        for message in messages:
            size = len(message.body)
            self._pending[message.queue_offset] = size
            self._order.append(message.queue_offset)
            self.size_bytes += size
            self._end = message.queue_offset + 1

    def done(self, messages: Sequence[ReceivedMessage]) -> int | None:
        """These were consumed, or handed back. Returns the offset to commit, None when dropped or empty."""
        for message in messages:
            self.size_bytes -= self._pending.pop(message.queue_offset, 0)
        return None if self.is_dropped else self.commit_offset

    @property
    def commit_offset(self) -> int | None:
        """The first offset that is not done; after the last one when all are. None before the first pull."""
        while self._order and self._order[0] not in self._pending:
            self._order.popleft()
        return self._order[0] if self._order else self._end

    @property
    def span(self) -> int:
        """How far apart the first and the last offset in progress are."""
        first = self.commit_offset
        return 0 if first is None or self._end is None or not self._order else self._order[-1] - first

    def is_full(self, limits: FlowLimits) -> bool:
        return (
            len(self._pending) > limits.messages
            or self.size_bytes > limits.size_bytes
            or self.span > limits.span
        )
