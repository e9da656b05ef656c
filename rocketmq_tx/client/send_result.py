"""What became of a message that was sent."""

from __future__ import annotations

import enum

import attrs

from rocketmq_tx.protocol.bodies import MessageQueue
from rocketmq_tx.protocol.codes import ResponseCode


class SendStatus(enum.Enum):
    """How safe the broker says the message is; all but SEND_OK: stored, but less safe than wanted."""

    SEND_OK = ResponseCode.SUCCESS
    FLUSH_DISK_TIMEOUT = ResponseCode.FLUSH_DISK_TIMEOUT
    FLUSH_SLAVE_TIMEOUT = ResponseCode.FLUSH_SLAVE_TIMEOUT
    SLAVE_NOT_AVAILABLE = ResponseCode.SLAVE_NOT_AVAILABLE


@attrs.frozen
class SendResult:
    """Where a message is. Ids of a batch are joined by commas, `queue_offset` is its first one's."""

    status: SendStatus
    message_id: str
    offset_message_id: str
    queue: MessageQueue
    queue_offset: int

    def __str__(self) -> str:
        """Java's print-out, as the quickstart shows it."""
        return (
            f"SendResult [sendStatus={self.status.name}, msgId={self.message_id}, "
            f"offsetMsgId={self.offset_message_id}, messageQueue={self.queue}, "
            f"queueOffset={self.queue_offset}]"
        )
