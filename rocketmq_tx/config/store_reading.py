"""Keys of reading: how much a pull is answered with, and the index of keys."""

from __future__ import annotations

from rocketmq_tx.config.keys import LIVE, Keys, key


class StoreReading(Keys):
    """Pulls and queries."""

    __slots__ = ()

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
    offset_check_in_slave: bool = key(
        "offsetCheckInSlave", False, "A slave corrects offsets out of range, as a master does.", runtime=LIVE
    )
    disk_fall_recorded: bool = key(
        "diskFallRecorded", True, "Keep statistics of how far consumers lag in bytes.", runtime=LIVE
    )
    message_index_enable: bool = key(
        "messageIndexEnable", True, "Keep an index of message keys.", important=True, runtime=LIVE
    )
    message_index_safe: bool = key(
        "messageIndexSafe", False, "Recovery starts early enough to rebuild the index, too.", important=True
    )
    max_hash_slot_num: int = key("maxHashSlotNum", 5000000, "Slots of an index file.", low=1)
    max_index_num: int = key("maxIndexNum", 20000000, "Entries of an index file.", low=1)
    max_msgs_num_batch: int = key(
        "maxMsgsNumBatch", 64, "Most messages in the answer to a query by key.", low=1, runtime=LIVE
    )
    default_query_max_num: int = key(
        "defaultQueryMaxNum", 32, "Most messages in the answer to a query by unique key.", low=1, runtime=LIVE
    )
