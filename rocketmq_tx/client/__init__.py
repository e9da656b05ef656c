"""A Twisted client: producer and rebalancing push consumer."""

from rocketmq_tx.client.message import Message, ReceivedMessage
from rocketmq_tx.client.producer import Producer, ProducerSettings
from rocketmq_tx.client.push_consumer import ConsumerSettings, PushConsumer
from rocketmq_tx.client.send_result import SendResult, SendStatus

__all__ = [
    "ConsumerSettings",
    "Message",
    "Producer",
    "ProducerSettings",
    "PushConsumer",
    "ReceivedMessage",
    "SendResult",
    "SendStatus",
]
