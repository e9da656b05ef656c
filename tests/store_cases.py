"""What the tests of the store share: configurations with small files, messages, stores on some disk."""

from __future__ import annotations

from typing import Any

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.protocol.java import crc32, tags_code
from rocketmq_tx.protocol.properties import pack_properties
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.message_store import MessageStore

STORE_HOST = bytes((127, 0, 0, 1)) + (10911).to_bytes(4, "big")
BORN_HOST = bytes((192, 0, 2, 10)) + (50000).to_bytes(4, "big")
NOW = 1_700_000_000_000
SEGMENT = 65536


def small_config(root: str, **changes: Any) -> MessageStoreConfig:
    """The configuration under which the recorded stores were written."""
    config = MessageStoreConfig()
    config.store_path_root_dir = root
    config.mapped_file_size_commit_log = SEGMENT
    config.mapped_file_size_consume_queue = 6000
    config.max_hash_slot_num = 500
    config.max_index_num = 2000
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def message(topic: str = "TopicTest", queue_id: int = 0, body: bytes = b"hello", **more: Any) -> NewMessage:
    """A message as the broker hands it over; `tags`, `keys` and `unique` end up in its properties."""
    properties = {}
    if more.get("unique"):
        properties["UNIQ_KEY"] = more["unique"]
    if more.get("keys"):
        properties["KEYS"] = more["keys"]
    if more.get("tags"):
        properties["TAGS"] = more["tags"]
    keys = ([more["unique"]] if more.get("unique") else []) + more.get("keys", "").split()
    return NewMessage(
        topic,
        queue_id,
        body,
        crc32(body),
        pack_properties(properties),
        0,
        more.get("sys_flag", 0),
        NOW - 5,
        more.get("born_host", BORN_HOST),
        0,
        0,
        more.get("tags_code", tags_code(more.get("tags"))),
        tuple(keys),
    )


def open_store(
    disk: Disk, root: str = "/store", notices: list[str] | None = None, **changes: Any
) -> MessageStore:
    """A store that is open; what it has to say goes to `notices`."""
    said = notices if notices is not None else []
    store = MessageStore(small_config(root, **changes), disk, STORE_HOST, notice=said.append)
    store.open(NOW)
    return store
