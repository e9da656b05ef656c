"""Keys of Apache's store that are known and do nothing here, each with the reason."""

from __future__ import annotations

from rocketmq_tx.config.broker_idle import NO_BIT_MAPS, NOT_EVEN_APACHE
from rocketmq_tx.config.keys import Keys, key

NO_EXT_FILES = "no consumequeue_ext files are written"
NO_POOL = "there is no off-heap pool; a message goes straight to its file"
NO_MAPPED_FILES = "files are written and read, not mapped into memory"
NO_LOCK = "one event loop appends; there is no lock to wait for"
NO_DLEDGER = "there is no DLedger here"
NO_ASYNC_DELIVERY = "delayed messages of a level are delivered in order, as fast as they are stored"


class IdleStoreKeys(Keys):
    """A file that names them is read; asking for other than the default warns."""

    __slots__ = ()

    store_path_dledger_commit_log: str | None = key(
        "storePathDLedgerCommitLog", None, "Folder of a DLedger log.", important=True, no_effect=NO_DLEDGER
    )
    enable_consume_queue_ext: bool = key(
        "enableConsumeQueueExt", False, "Write extended queue entries.", no_effect=NO_EXT_FILES
    )
    mapped_file_size_consume_queue_ext: int = key(
        "mappedFileSizeConsumeQueueExt",
        50331648,
        "Size of an extended queue file.",
        unit="bytes",
        no_effect=NO_EXT_FILES,
        aliases=("mapedFileSizeConsumeQueueExt",),
    )
    bit_map_length_consume_queue_ext: int = key(
        "bitMapLengthConsumeQueueExt", 64, "Length of a bit map.", unit="bits", no_effect=NO_BIT_MAPS
    )
    commit_interval_commit_log: int = key(
        "commitIntervalCommitLog",
        200,
        "How often the pool is written to the file.",
        unit="ms",
        important=True,
        no_effect=NO_POOL,
    )
    use_reentrant_lock_when_put_message: bool = key(
        "useReentrantLockWhenPutMessage", True, "Which lock guards appending.", no_effect=NO_LOCK
    )
    flush_commit_log_timed: bool = key(
        "flushCommitLogTimed",
        True,
        "Keep the period of flushIntervalCommitLog instead of flushing at once on each send.",
        important=True,
        no_effect="under ASYNC_FLUSH the period is always kept",
    )
    destroy_maped_file_interval_forcibly: int = key(
        "destroyMapedFileIntervalForcibly",
        120000,
        "How long a deleted file may still be in use.",
        unit="ms",
        no_effect=NO_MAPPED_FILES,
    )
    redelete_hanged_file_interval: int = key(
        "redeleteHangedFileInterval",
        120000,
        "When to try again to delete a file in use.",
        unit="ms",
        no_effect=NO_MAPPED_FILES,
    )
    put_msg_index_hight_water: int = key(
        "putMsgIndexHightWater", 600000, "Unused.", no_effect=NOT_EVEN_APACHE
    )
    commit_commit_log_least_pages: int = key(
        "commitCommitLogLeastPages",
        4,
        "Write the pool only when so much is waiting.",
        unit="4 KiB pages",
        no_effect=NO_POOL,
    )
    flush_least_pages_when_warm_maped_file: int = key(
        "flushLeastPagesWhenWarmMapedFile",
        4096,
        "Flush step while a new file is warmed.",
        unit="4 KiB pages",
        no_effect=NO_MAPPED_FILES,
    )
    commit_commit_log_thorough_interval: int = key(
        "commitCommitLogThoroughInterval",
        200,
        "Write the pool at least so often.",
        unit="ms",
        no_effect=NO_POOL,
    )
    warm_maped_file_enable: bool = key(
        "warmMapedFileEnable", False, "Touch the pages of new files.", no_effect=NO_MAPPED_FILES
    )
    debug_lock_enable: bool = key(
        "debugLockEnable", False, "Dump stacks when appending waits long.", no_effect=NO_LOCK
    )
    duplication_enable: bool = key(
        "duplicationEnable",
        False,
        "Show messages only up to a confirmed offset.",
        no_effect="messages are shown as soon as they are stored",
    )
    os_page_cache_busy_time_out_mills: int = key(
        "osPageCacheBusyTimeOutMills",
        1000,
        "An append that takes longer makes the store count as busy.",
        long=True,
        unit="ms",
        no_effect=NO_LOCK,
    )
    transient_store_pool_enable: bool = key(
        "transientStorePoolEnable",
        False,
        "Write through an off-heap pool.",
        important=True,
        no_effect=NO_POOL,
    )
    transient_store_pool_size: int = key(
        "transientStorePoolSize", 5, "Buffers of the pool.", no_effect=NO_POOL
    )
    fast_fail_if_no_buffer_in_store_pool: bool = key(
        "fastFailIfNoBufferInStorePool", False, "Refuse sends while the pool is empty.", no_effect=NO_POOL
    )
    dleger_group: str | None = key("dLegerGroup", None, "Group of DLedger.", no_effect=NO_DLEDGER)
    dleger_peers: str | None = key("dLegerPeers", None, "Peers of DLedger.", no_effect=NO_DLEDGER)
    dleger_self_id: str | None = key("dLegerSelfId", None, "Own id in DLedger.", no_effect=NO_DLEDGER)
    preferred_leader_id: str | None = key(
        "preferredLeaderId", None, "Preferred leader of DLedger.", no_effect=NO_DLEDGER
    )
    is_enable_batch_push: bool = key(
        "isEnableBatchPush",
        False,
        "DLedger pushes in batches.",
        no_effect=NO_DLEDGER,
        aliases=("enableBatchPush",),
    )
    enable_schedule_async_deliver: bool = key(
        "enableScheduleAsyncDeliver",
        False,
        "Deliver delayed messages without waiting for each.",
        no_effect=NO_ASYNC_DELIVERY,
    )
    schedule_async_deliver_max_pending_limit: int = key(
        "scheduleAsyncDeliverMaxPendingLimit",
        2000,
        "Deliveries of a level in flight.",
        no_effect=NO_ASYNC_DELIVERY,
    )
    schedule_async_deliver_max_resend_num2_blocked: int = key(
        "scheduleAsyncDeliverMaxResendNum2Blocked",
        3,
        "Failed deliveries after which a level waits.",
        no_effect=NO_ASYNC_DELIVERY,
    )
