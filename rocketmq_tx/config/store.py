"""Keys of the message store, of replication and of delayed messages.

Names, defaults and meanings: `spec/config.yaml`, section message_store_config (Apache's class
MessageStoreConfig).
"""

from __future__ import annotations

from rocketmq_tx.config import values
from rocketmq_tx.config.keys import LIVE, key, settings
from rocketmq_tx.config.store_files import StoreFiles
from rocketmq_tx.config.store_flushing import Flushing
from rocketmq_tx.config.store_idle import IdleStoreKeys
from rocketmq_tx.config.store_reading import StoreReading
from rocketmq_tx.config.store_replication import Replication
from rocketmq_tx.config.values import DelayLevels

DELAY_LEVELS = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"


@settings
class MessageStoreConfig(StoreFiles, Flushing, StoreReading, Replication, IdleStoreKeys):
    """Settings of the store. Parts hold this object and read it on use, so a live change is seen at once."""

    max_message_size: int = key(
        "maxMessageSize", 4194304, "Longest body of a message.", unit="bytes", low=1, runtime=LIVE
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

    @property
    def delay_levels_ms(self) -> tuple[int, ...]:
        """Delays in ms; level n has index n - 1."""
        return values.delay_levels_ms(self.message_delay_level)
