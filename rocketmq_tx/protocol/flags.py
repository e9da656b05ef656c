"""Bit fields of the protocol: topic permissions and the flags of messages, pulls, topics, subscriptions."""

from __future__ import annotations

import enum


class Perm(enum.IntFlag):
    """What a topic or broker allows (PermName). INHERIT lets new topics be made after it."""

    INHERIT = 1
    WRITE = 2
    READ = 4
    PRIORITY = 8


def perm_text(perm: int) -> str:
    """`RW-`, `R--`, `RWX`: how tools show a permission."""
    return "".join(letter if perm & bit else "-" for letter, bit in (("R", 4), ("W", 2), ("X", 1)))


class SysFlag(enum.IntFlag):
    """The sysFlag of a message (MessageSysFlag)."""

    COMPRESSED = 0x1
    MULTI_TAGS = 0x2
    TRANSACTION_PREPARED = 0x4
    TRANSACTION_COMMIT = 0x8
    TRANSACTION_ROLLBACK = 0xC
    BORNHOST_V6 = 0x10
    STOREHOST_V6 = 0x20
    NEED_UNWRAP = 0x40
    INNER_BATCH = 0x80
    COMPRESSION_LZ4 = 0x100
    COMPRESSION_ZSTD = 0x200
    COMPRESSION_ZLIB = 0x300


TRANSACTION_NOT = 0
TRANSACTION_MASK = 0xC
COMPRESSION_MASK = 0x700


def transaction_type(sys_flag: int) -> int:
    """One of 0 (none), TRANSACTION_PREPARED, _COMMIT, _ROLLBACK."""
    return sys_flag & TRANSACTION_MASK


def with_transaction_type(sys_flag: int, kind: int) -> int:
    """`sys_flag` with its two transaction bits replaced."""
    return (sys_flag & ~TRANSACTION_MASK) | kind


class PullSysFlag(enum.IntFlag):
    """The sysFlag of a pull request (PullSysFlag)."""

    COMMIT_OFFSET = 1
    SUSPEND = 2
    SUBSCRIPTION = 4
    CLASS_FILTER = 8
    LITE_PULL = 16


class TopicSysFlag(enum.IntFlag):
    """The topicSysFlag of a topic (TopicSysFlag)."""

    UNIT = 1
    UNIT_SUB = 2


class SubscriptionSysFlag(enum.IntFlag):
    """The flag of a subscription group (SubscriptionSysFlag)."""

    UNIT = 1
