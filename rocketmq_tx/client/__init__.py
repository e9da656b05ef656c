"""A Twisted client: producers, also of transactions, and rebalancing push consumer."""

from rocketmq_tx.client.message import Message, ReceivedMessage
from rocketmq_tx.client.producer import Producer, ProducerSettings
from rocketmq_tx.client.push_consumer import ConsumerSettings, PushConsumer
from rocketmq_tx.client.send_result import SendResult, SendStatus
from rocketmq_tx.client.transactions import (
    LocalState,
    TransactionListener,
    TransactionProducer,
    TransactionResult,
)

__all__ = [
    "ConsumerSettings",
    "LocalState",
    "Message",
    "Producer",
    "ProducerSettings",
    "PushConsumer",
    "ReceivedMessage",
    "SendResult",
    "SendStatus",
    "TransactionListener",
    "TransactionProducer",
    "TransactionResult",
]
