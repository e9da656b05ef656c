"""Prints the figures of a broker, a number a line, in the form that collectors of metrics read.

python examples/figures.py 127.0.0.1:10911
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.task import react

from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.caller import RemotingClient


def first_number(text: str) -> float | None:
    """Of rates over 10 s, a minute and ten minutes the first; None of a text, or of a size with its unit."""
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        return None
    return numbers[0] if numbers else None


async def main(reactor: Any, broker_address: str = "127.0.0.1:10911") -> None:
    client = RemotingClient(reactor)
    answer = await client.call(broker_address, Frame.request(RequestCode.GET_BROKER_RUNTIME_INFO), 3.0)
    for name, text in sorted(KVTable.from_bytes(answer.body).table.items()):
        number = first_number(text)
        if number is not None and name.isalnum():
            print(f"rocketmq_{name} {number:.15g}")
    await client.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
