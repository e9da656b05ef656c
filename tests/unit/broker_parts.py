"""Parts for tests of the broker: settings with defaults, files that only remember, made without a disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.settings import BrokerSettings, load_broker
from rocketmq_tx.errors import StoreError

BROKER_PORT = 28911


def broker_settings(**keys: Any) -> BrokerSettings:
    """Settings of `broker-a` in `GoldenCluster`, with the given keys besides."""
    given = {
        "brokerName": "broker-a",
        "brokerClusterName": "GoldenCluster",
        "brokerIP1": "127.0.0.1",
        "listenPort": BROKER_PORT,
        **keys,
    }
    texts = {
        name: str(value).lower() if value in (True, False) else str(value) for name, value in given.items()
    }
    return load_broker(overrides=texts, facts=HostFacts(host_name="golden-host"))


class MemoryFile:
    """A table's file that keeps every content that was saved; `broken` makes the next saves fail."""

    def __init__(self, content: bytes | None = None) -> None:
        self.saved: list[bytes] = [] if content is None else [content]
        self.broken = False

    def load(self, parse: Callable[[bytes], Any]) -> Any:
        return parse(self.saved[-1]) if self.saved else None

    def save(self, data: bytes) -> None:
        if self.broken:
            raise StoreError("no room for topics.json")
        self.saved.append(data)
