"""Keys that guides and older versions name although no version of Apache RocketMQ 4.x reads them.

They stand in many files, so they are known: paths that follow from storePathRootDir are compared with
what follows, the rest is without effect.
"""

from __future__ import annotations

import os.path

from rocketmq_tx.config.store import MessageStoreConfig

#: Key -> name of the file or folder below storePathRootDir.
DERIVED_PATHS = {
    "storePathConsumeQueue": "consumequeue",
    "storePathIndex": "index",
    "storeCheckpoint": "checkpoint",
    "storeCheckPoint": "checkpoint",
    "abortFile": "abort",
}

#: Key -> why it does nothing, with the value that asks for nothing else.
WITHOUT_EFFECT = {
    "checkTransactionMessageEnable": (
        "true",
        "half messages are always checked while their group has a producer",
    ),
    "rocketmq.remoting.version": ("407", "the version in our frames is fixed"),
}

NAMES = frozenset(DERIVED_PATHS) | frozenset(WITHOUT_EFFECT)


def objection(name: str, value: str, store: MessageStoreConfig) -> str | None:
    """What to warn of when a file sets one of `NAMES`; None when the value changes nothing."""
    if name in DERIVED_PATHS:
        real = store.below_root(DERIVED_PATHS[name])
        same = not value or os.path.normpath(value) == os.path.normpath(real)
        return None if same else f"it follows from storePathRootDir and is {real}"
    harmless, reason = WITHOUT_EFFECT[name]
    return None if value.lower() == harmless else reason
