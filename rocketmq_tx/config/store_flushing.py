"""Keys of flushing: when messages, queue entries and checkpoints reach the device."""

from __future__ import annotations

from rocketmq_tx.config.keys import LIVE, Keys, key
from rocketmq_tx.config.values import FlushDiskType


class Flushing(Keys):
    """What is on the device when."""

    __slots__ = ()

    flush_disk_type: FlushDiskType = key(
        "flushDiskType",
        FlushDiskType.ASYNC_FLUSH,
        "SYNC_FLUSH answers a send when it is on disk; ASYNC_FLUSH flushes behind the answer.",
        important=True,
    )
    sync_flush_timeout: int = key(
        "syncFlushTimeout",
        5000,
        "After so long a send is answered FLUSH_DISK_TIMEOUT.",
        unit="ms",
        low=1,
        runtime=LIVE,
    )
    flush_interval_commit_log: int = key(
        "flushIntervalCommitLog",
        500,
        "How often is looked whether so much waits under ASYNC_FLUSH that the commit log goes to disk.",
        unit="ms",
        low=1,
        important=True,
        runtime=LIVE,
    )
    flush_commit_log_least_pages: int = key(
        "flushCommitLogLeastPages",
        4,
        "Flush under ASYNC_FLUSH when so much is waiting; with 0 whatever is waiting.",
        unit="4 KiB pages",
        runtime=LIVE,
    )
    flush_commit_log_thorough_interval: int = key(
        "flushCommitLogThoroughInterval",
        10000,
        "Flush under ASYNC_FLUSH at least so often, however little is waiting: what a power cut can cost.",
        unit="ms",
        runtime=LIVE,
    )
    flush_interval_consume_queue: int = key(
        "flushIntervalConsumeQueue",
        1000,
        "How often queue entries are written to their files.",
        unit="ms",
        low=1,
        runtime=LIVE,
    )
    flush_consume_queue_least_pages: int = key(
        "flushConsumeQueueLeastPages",
        2,
        "Where more than 64 queues wait, write those of which so much is waiting, or all when that is 8 MiB; "
        "checkpoints write the rest.",
        unit="4 KiB pages",
        runtime=LIVE,
    )
    flush_consume_queue_thorough_interval: int = key(
        "flushConsumeQueueThoroughInterval",
        60000,
        "How often all queues are flushed and a checkpoint is written: what a start after a crash goes back.",
        unit="ms",
        runtime=LIVE,
    )
