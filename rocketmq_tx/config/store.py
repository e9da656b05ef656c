"""Keys of the message store, of replication and of delayed messages.

Names, defaults and meanings: `spec/config.yaml`, section message_store_config (Apache's class
MessageStoreConfig).
"""

from __future__ import annotations

import os.path

import attrs

from rocketmq_tx.config import values
from rocketmq_tx.config.broker import NO_BIT_MAPS, NOT_EVEN_APACHE
from rocketmq_tx.config.keys import LIVE, OURS, key
from rocketmq_tx.config.values import BrokerRole, DelayLevels, FlushDiskType, Hours, WholeNumber

CONSUME_QUEUE_ENTRY_BYTES = 20
DELAY_LEVELS = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

NO_EXT_FILES = "no consumequeue_ext files are written"
NO_POOL = "there is no off-heap pool; a message goes straight to its file"
NO_MAPPED_FILES = "files are written and read, not mapped into memory"
NO_LOCK = "one event loop appends; there is no lock to wait for"
NO_DLEDGER = "there is no DLedger here"
NO_ASYNC_DELIVERY = "delayed messages of a level are delivered in order, as fast as they are stored"


@attrs.define
class MessageStoreConfig:
    """Settings of the store. Parts hold this object and read it on use, so a live change is seen at once."""

    store_path_root_dir: str = key(
        "storePathRootDir",
        "store",
        "Folder of everything a broker keeps. Relative paths start at the working directory.",
        important=True,
        from_host=lambda facts: os.path.join(facts.home, "store"),
        default_text="~/store",
    )
    store_path_commit_log: str | None = key(
        "storePathCommitLog",
        None,
        "Folder of the commit log, or several joined by commas.",
        important=True,
        default_text="commitlog below storePathRootDir",
    )
    store_path_dledger_commit_log: str | None = key(
        "storePathDLedgerCommitLog", None, "Folder of a DLedger log.", important=True, no_effect=NO_DLEDGER
    )
    read_only_commit_log_store_paths: str | None = key(
        "readOnlyCommitLogStorePaths", None, "Folders of the commit log that are only read from."
    )
    mapped_file_size_commit_log: int = key(
        "mappedFileSizeCommitLog",
        1073741824,
        "Size of a commit log file. A store that has files already keeps their size.",
        low=4096,
        unit="bytes",
        aliases=("mapedFileSizeCommitLog",),
    )
    mapped_file_size_consume_queue: int = key(
        "mappedFileSizeConsumeQueue",
        6000000,
        "Size of a consume queue file, 20 bytes per message; rounded up to whole entries. "
        "A store that has files already keeps their size.",
        low=CONSUME_QUEUE_ENTRY_BYTES,
        unit="bytes",
        aliases=("mapedFileSizeConsumeQueue",),
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
    flush_interval_commit_log: int = key(
        "flushIntervalCommitLog",
        500,
        "How often is looked whether so much waits under ASYNC_FLUSH that the commit log goes to disk.",
        unit="ms",
        low=1,
        important=True,
        runtime=LIVE,
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
    flush_interval_consume_queue: int = key(
        "flushIntervalConsumeQueue",
        1000,
        "How often queue entries are written to their files.",
        unit="ms",
        low=1,
        runtime=LIVE,
    )
    clean_resource_interval: int = key(
        "cleanResourceInterval", 10000, "How often old files are looked for.", unit="ms", low=1
    )
    delete_commit_log_files_interval: int = key(
        "deleteCommitLogFilesInterval",
        100,
        "Pause between deleting two commit log files.",
        unit="ms",
        runtime=LIVE,
    )
    delete_consume_queue_files_interval: int = key(
        "deleteConsumeQueueFilesInterval",
        100,
        "Pause between deleting two queue files.",
        unit="ms",
        runtime=LIVE,
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
    delete_when: str = key(
        "deleteWhen",
        "04",
        "Hours of the day in which old files are deleted, joined by semicolons.",
        type=Hours(),
        unit="hour",
        important=True,
        runtime=LIVE,
    )
    disk_max_used_space_ratio: int = key(
        "diskMaxUsedSpaceRatio",
        75,
        "Delete old files in any hour when the disk is fuller than this; counts as 10 to 95.",
        unit="percent",
        high=100,
        runtime=LIVE,
    )
    file_reserved_time: int = key(
        "fileReservedTime",
        72,
        "Keep messages at least so long. Half messages older than this are given up.",
        unit="hours",
        important=True,
        runtime=LIVE,
    )
    put_msg_index_hight_water: int = key(
        "putMsgIndexHightWater", 600000, "Unused.", no_effect=NOT_EVEN_APACHE
    )
    max_message_size: int = key(
        "maxMessageSize", 4194304, "Longest body of a message.", unit="bytes", low=1, runtime=LIVE
    )
    check_crc_on_recover: bool = key(
        "checkCRCOnRecover", True, "Check the checksum of each message that recovery reads."
    )
    flush_commit_log_least_pages: int = key(
        "flushCommitLogLeastPages",
        4,
        "Flush under ASYNC_FLUSH when so much is waiting; with 0 whatever is waiting.",
        unit="4 KiB pages",
        runtime=LIVE,
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
    flush_consume_queue_least_pages: int = key(
        "flushConsumeQueueLeastPages",
        2,
        "Where more than 64 queues wait, write those of which so much is waiting, or all when that is 8 MiB; "
        "checkpoints write the rest.",
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
    commit_commit_log_thorough_interval: int = key(
        "commitCommitLogThoroughInterval",
        200,
        "Write the pool at least so often.",
        unit="ms",
        no_effect=NO_POOL,
    )
    flush_consume_queue_thorough_interval: int = key(
        "flushConsumeQueueThoroughInterval",
        60000,
        "How often all queues are flushed and a checkpoint is written: what a start after a crash goes back.",
        unit="ms",
        runtime=LIVE,
    )
    max_transfer_bytes_on_message_in_memory: int = key(
        "maxTransferBytesOnMessageInMemory",
        262144,
        "Most bytes in the answer to one pull of recent messages.",
        unit="bytes",
        important=True,
        runtime=LIVE,
    )
    max_transfer_count_on_message_in_memory: int = key(
        "maxTransferCountOnMessageInMemory",
        32,
        "Most messages in the answer to one pull of recent messages.",
        low=1,
        important=True,
        runtime=LIVE,
    )
    max_transfer_bytes_on_message_in_disk: int = key(
        "maxTransferBytesOnMessageInDisk",
        65536,
        "Most bytes in the answer to one pull of old messages.",
        unit="bytes",
        important=True,
        runtime=LIVE,
    )
    max_transfer_count_on_message_in_disk: int = key(
        "maxTransferCountOnMessageInDisk",
        8,
        "Most messages in the answer to one pull of old messages.",
        low=1,
        important=True,
        runtime=LIVE,
    )
    access_message_in_memory_max_ratio: int = key(
        "accessMessageInMemoryMaxRatio",
        40,
        "Messages within this part of the physical memory from the end of the log count as recent.",
        unit="percent",
        high=100,
        important=True,
        runtime=LIVE,
    )
    message_index_enable: bool = key(
        "messageIndexEnable", True, "Keep an index of message keys.", important=True, runtime=LIVE
    )
    max_hash_slot_num: int = key("maxHashSlotNum", 5000000, "Slots of an index file.", low=1)
    max_index_num: int = key("maxIndexNum", 20000000, "Entries of an index file.", low=1)
    max_msgs_num_batch: int = key(
        "maxMsgsNumBatch", 64, "Most messages in the answer to a query by key.", low=1, runtime=LIVE
    )
    message_index_safe: bool = key(
        "messageIndexSafe", False, "Recovery starts early enough to rebuild the index, too.", important=True
    )
    ha_listen_port: int | None = key(
        "haListenPort",
        None,
        "Port that slaves connect to.",
        type=WholeNumber(1, 65535, nullable=True),
        default_text="listenPort + 10000, else a free port",
    )
    ha_send_heartbeat_interval: int = key(
        "haSendHeartbeatInterval",
        5000,
        "How often master and slave report when nothing else is sent.",
        unit="ms",
        low=1,
        runtime=LIVE,
    )
    ha_housekeeping_interval: int = key(
        "haHousekeepingInterval",
        20000,
        "Close a replication connection that was silent for so long.",
        unit="ms",
        low=1,
        runtime=LIVE,
    )
    ha_transfer_batch_size: int = key(
        "haTransferBatchSize",
        32768,
        "Most bytes in one piece of replication.",
        unit="bytes",
        low=1,
        runtime=LIVE,
    )
    ha_master_address: str | None = key(
        "haMasterAddress",
        None,
        "Fixed address of the master's HA port, for a slave.",
        important=True,
        default_text="learned from the NameServer",
    )
    ha_slave_fallbehind_max: int = key(
        "haSlaveFallbehindMax",
        268435456,
        "A slave that is further behind does not count as available.",
        unit="bytes",
        runtime=LIVE,
    )
    broker_role: BrokerRole = key(  # noqa: RUF009
        "brokerRole",
        BrokerRole.ASYNC_MASTER,
        "SYNC_MASTER answers a send when a slave has it, too. While running only the two master roles "
        "can be exchanged.",
        important=True,
        runtime=LIVE,
    )
    flush_disk_type: FlushDiskType = key(  # noqa: RUF009
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
    slave_timeout: int = key(
        "slaveTimeout",
        3000,
        "After so long a send is answered FLUSH_SLAVE_TIMEOUT.",
        unit="ms",
        low=1,
        runtime=LIVE,
    )
    message_delay_level: str = key(
        "messageDelayLevel", DELAY_LEVELS, "Delays of the levels 1, 2, 3 and so on.", type=DelayLevels()
    )
    flush_delay_offset_interval: int = key(
        "flushDelayOffsetInterval",
        10000,
        "How often the progress of delayed messages is saved.",
        long=True,
        unit="ms",
        low=1,
    )
    clean_file_forcibly_enable: bool = key(
        "cleanFileForciblyEnable",
        True,
        "Delete the oldest files whatever their age when the disk is 85 percent full.",
        important=True,
        runtime=LIVE,
    )
    warm_maped_file_enable: bool = key(
        "warmMapedFileEnable", False, "Touch the pages of new files.", no_effect=NO_MAPPED_FILES
    )
    offset_check_in_slave: bool = key(
        "offsetCheckInSlave", False, "A slave corrects offsets out of range, as a master does.", runtime=LIVE
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
    disk_fall_recorded: bool = key(
        "diskFallRecorded", True, "Keep statistics of how far consumers lag in bytes.", runtime=LIVE
    )
    os_page_cache_busy_time_out_mills: int = key(
        "osPageCacheBusyTimeOutMills",
        1000,
        "An append that takes longer makes the store count as busy.",
        long=True,
        unit="ms",
        no_effect=NO_LOCK,
    )
    default_query_max_num: int = key(
        "defaultQueryMaxNum", 32, "Most messages in the answer to a query by unique key.", low=1, runtime=LIVE
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
    enable_dleger_commit_log: bool = key(
        "enableDLegerCommitLog",
        False,
        "Replicate by DLedger (Raft).",
        refused="DLedger replication is not built and one copy would be all there is; remove the key, set "
        "brokerRole = SYNC_MASTER and start a second broker with brokerRole = SLAVE",
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
    enable_schedule_message_stats: bool = key(
        "enableScheduleMessageStats", True, "Count deliveries of delayed messages.", runtime=LIVE
    )
    enable_lmq: bool = key(
        "enableLmq",
        False,
        "Light queues: topics and groups %LMQ%... need no settings, and such a topic has one queue.",
    )
    enable_multi_dispatch: bool = key(
        "enableMultiDispatch",
        False,
        "A message stands in the queues that its property INNER_MULTI_DISPATCH names as well.",
        runtime=LIVE,
    )
    max_lmq_consume_queue_num: int = key(
        "maxLmqConsumeQueueNum",
        20000,
        "Most light queues; a message that would make one more is refused.",
        low=0,
        runtime=LIVE,
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
    ha_sync_from_last_file: bool = key(
        "haSyncFromLastFile",
        False,
        "A new slave copies only the last file of its master, as Apache's do, instead of the whole log.",
        origin=OURS,
    )

    @property
    def commit_log_paths(self) -> tuple[str, ...]:
        """Folders of the commit log; new files go to the first one with room."""
        given = [path.strip() for path in (self.store_path_commit_log or "").split(",")]
        return tuple(path for path in given if path) or (self.below_root("commitlog"),)

    @property
    def read_only_commit_log_paths(self) -> tuple[str, ...]:
        """Folders of the commit log that get no new files."""
        given = [path.strip() for path in (self.read_only_commit_log_store_paths or "").split(",")]
        return tuple(path for path in given if path)

    def below_root(self, *names: str) -> str:
        """A path below the root folder, such as `below_root("config", "topics.json")`."""
        return os.path.join(self.store_path_root_dir, *names)

    @property
    def consume_queue_file_bytes(self) -> int:
        """Size of a consume queue file in whole entries."""
        entries = -(-self.mapped_file_size_consume_queue // CONSUME_QUEUE_ENTRY_BYTES)
        return entries * CONSUME_QUEUE_ENTRY_BYTES

    @property
    def disk_max_used_space_percent(self) -> int:
        """`diskMaxUsedSpaceRatio` within its bounds."""
        return max(10, min(self.disk_max_used_space_ratio, 95))

    @property
    def delay_levels_ms(self) -> tuple[int, ...]:
        """Delays in ms; level n has index n - 1."""
        return values.delay_levels_ms(self.message_delay_level)

    @property
    def delete_hours(self) -> frozenset[int]:
        """Hours of the day in which old files are deleted."""
        return values.hours_of_day(self.delete_when)
