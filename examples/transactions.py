"""Sends messages in transactions: consumers see an order only if it was written down.

python examples/transactions.py 127.0.0.1:9876
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from rocketmq_tx.client import LocalState, Message, ReceivedMessage, TransactionProducer


class Orders:
    """The local work; a dictionary stands for the database."""

    def __init__(self) -> None:
        self.written: dict[str, LocalState] = {}
        self.was_asked: Deferred[None] = Deferred()

    async def execute(self, message: Message, message_id: str) -> LocalState:
        """Called once for each message, when the broker has it."""
        amount = int(message.body)
        if amount <= 0:
            return LocalState.ROLLBACK
        self.written[message_id] = LocalState.COMMIT
        if amount > 1000:
            return LocalState.UNKNOWN  # written, but let the broker ask: see `check`
        return LocalState.COMMIT

    async def check(self, message: ReceivedMessage) -> LocalState:
        """Called when the broker has heard nothing: after a crash perhaps, then in another process."""
        state = self.written.get(message.message_id, LocalState.ROLLBACK)
        print(f"asked about {message.keys}: {state.name}")
        if not self.was_asked.called:
            self.was_asked.callback(None)
        return state


async def main(reactor: Any, namesrv_address: str = "127.0.0.1:9876") -> None:
    orders = Orders()
    producer = TransactionProducer("example_orders", namesrv_address, orders, reactor)
    producer.startService()
    for number, amount in enumerate((100, -5, 2000)):
        message = Message("ExampleOrders", b"%d" % amount, keys=f"order-{number}")
        result = await producer.send_in_transaction(message)
        print(f"order-{number} of {amount}: {result.state.name}")
    print("waiting for the broker's question, which comes every transactionCheckInterval, 60 s", flush=True)
    await orders.was_asked
    await producer.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
