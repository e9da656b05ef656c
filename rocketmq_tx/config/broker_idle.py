"""Keys of Apache's broker that are known and do nothing here, each with the reason."""

from __future__ import annotations

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.keys import Keys, key

NO_POOLS = "one event loop serves all requests; there are no thread pools"
NO_QUEUES = "no requests queue for threads; maxUnansweredBytes bounds what waits"
NOT_EVEN_APACHE = "Apache 4.9.7 does not use it either"
NO_COMMERCIAL = "there are no commercial statistics"
NO_BIT_MAPS = "SQL filters look at the message itself; no bit maps are kept"


def _sending_threads(facts: HostFacts) -> int:
    return min(facts.cpu_count, 4)


class IdleBrokerKeys(Keys):
    """A file that names them is read; asking for other than the default warns."""

    __slots__ = ()

    send_message_thread_pool_nums: int = key(
        "sendMessageThreadPoolNums",
        2,
        "Threads for sends.",
        no_effect=NO_POOLS,
        from_host=_sending_threads,
        default_text="CPUs, at most 4",
    )
    put_message_future_thread_pool_nums: int = key(
        "putMessageFutureThreadPoolNums",
        2,
        "Threads that complete store results.",
        no_effect=NO_POOLS,
        from_host=_sending_threads,
        default_text="CPUs, at most 4",
    )
    pull_message_thread_pool_nums: int = key(
        "pullMessageThreadPoolNums",
        20,
        "Threads for pulls.",
        no_effect=NO_POOLS,
        from_host=lambda facts: 16 + 2 * facts.cpu_count,
        default_text="16 + 2 x CPUs",
    )
    process_reply_message_thread_pool_nums: int = key(
        "processReplyMessageThreadPoolNums",
        20,
        "Threads for reply messages.",
        no_effect=NO_POOLS,
        from_host=lambda facts: 16 + 2 * facts.cpu_count,
        default_text="16 + 2 x CPUs",
    )
    query_message_thread_pool_nums: int = key(
        "queryMessageThreadPoolNums",
        10,
        "Threads for queries.",
        no_effect=NO_POOLS,
        from_host=lambda facts: 8 + facts.cpu_count,
        default_text="8 + CPUs",
    )
    admin_broker_thread_pool_nums: int = key(
        "adminBrokerThreadPoolNums", 16, "Threads for admin requests.", no_effect=NO_POOLS
    )
    client_manage_thread_pool_nums: int = key(
        "clientManageThreadPoolNums", 32, "Threads for client management.", no_effect=NO_POOLS
    )
    consumer_manage_thread_pool_nums: int = key(
        "consumerManageThreadPoolNums", 32, "Threads for consumer offsets.", no_effect=NO_POOLS
    )
    heartbeat_thread_pool_nums: int = key(
        "heartbeatThreadPoolNums",
        2,
        "Threads for heartbeats.",
        no_effect=NO_POOLS,
        from_host=lambda facts: min(32, facts.cpu_count),
        default_text="CPUs, at most 32",
    )
    end_transaction_thread_pool_nums: int = key(
        "endTransactionThreadPoolNums",
        12,
        "Threads that end transactions.",
        no_effect=NO_POOLS,
        from_host=lambda facts: max(8 + 2 * facts.cpu_count, 4 * _sending_threads(facts)),
        default_text="8 + 2 x CPUs, at least 4 x sendMessageThreadPoolNums",
    )
    flush_consumer_offset_history_interval: int = key(
        "flushConsumerOffsetHistoryInterval", 60000, "Unused.", unit="ms", no_effect=NOT_EVEN_APACHE
    )
    send_thread_pool_queue_capacity: int = key(
        "sendThreadPoolQueueCapacity", 10000, "Sends that may wait.", no_effect=NO_QUEUES
    )
    put_thread_pool_queue_capacity: int = key(
        "putThreadPoolQueueCapacity", 10000, "Store results that may wait.", no_effect=NO_QUEUES
    )
    pull_thread_pool_queue_capacity: int = key(
        "pullThreadPoolQueueCapacity", 100000, "Pulls that may wait.", no_effect=NO_QUEUES
    )
    reply_thread_pool_queue_capacity: int = key(
        "replyThreadPoolQueueCapacity", 10000, "Replies that may wait.", no_effect=NO_QUEUES
    )
    query_thread_pool_queue_capacity: int = key(
        "queryThreadPoolQueueCapacity", 20000, "Queries that may wait.", no_effect=NO_QUEUES
    )
    client_manager_thread_pool_queue_capacity: int = key(
        "clientManagerThreadPoolQueueCapacity",
        1000000,
        "Client management requests that may wait.",
        no_effect=NO_QUEUES,
    )
    consumer_manager_thread_pool_queue_capacity: int = key(
        "consumerManagerThreadPoolQueueCapacity",
        1000000,
        "Offset requests that may wait.",
        no_effect=NO_QUEUES,
    )
    heartbeat_thread_pool_queue_capacity: int = key(
        "heartbeatThreadPoolQueueCapacity", 50000, "Heartbeats that may wait.", no_effect=NO_QUEUES
    )
    end_transaction_pool_queue_capacity: int = key(
        "endTransactionPoolQueueCapacity", 100000, "Transaction ends that may wait.", no_effect=NO_QUEUES
    )
    filter_server_nums: int = key(
        "filterServerNums", 0, "Filter servers to start.", no_effect="filter servers were removed from 4.x"
    )
    high_speed_mode: bool = key("highSpeedMode", False, "Unused.", no_effect=NOT_EVEN_APACHE)
    commercial_enable: bool = key("commercialEnable", True, "Commercial statistics.", no_effect=NO_COMMERCIAL)
    commercial_timer_count: int = key(
        "commercialTimerCount", 1, "Weight in commercial statistics.", no_effect=NO_COMMERCIAL
    )
    commercial_trans_count: int = key(
        "commercialTransCount", 1, "Weight in commercial statistics.", no_effect=NO_COMMERCIAL
    )
    commercial_big_count: int = key(
        "commercialBigCount", 1, "Weight in commercial statistics.", no_effect=NO_COMMERCIAL
    )
    commercial_base_count: int = key(
        "commercialBaseCount", 1, "Weight in commercial statistics.", no_effect=NO_COMMERCIAL
    )
    transfer_msg_by_heap: bool = key(
        "transferMsgByHeap",
        True,
        "Copy pulled messages to memory before sending them.",
        no_effect="pulled messages always pass through memory",
    )
    max_delay_time: int = key("maxDelayTime", 40, "Unused.", no_effect=NOT_EVEN_APACHE)
    wait_time_mills_in_pull_queue: int = key(
        "waitTimeMillsInPullQueue",
        5000,
        "How long a pull may wait for a thread.",
        long=True,
        unit="ms",
        no_effect="pulls never wait behind sends",
    )
    wait_time_mills_in_heartbeat_queue: int = key(
        "waitTimeMillsInHeartbeatQueue",
        31000,
        "How long a heartbeat may wait for a thread.",
        long=True,
        unit="ms",
        no_effect="heartbeats never wait behind sends",
    )
    wait_time_mills_in_transaction_queue: int = key(
        "waitTimeMillsInTransactionQueue",
        3000,
        "How long the end of a transaction may wait for a thread.",
        long=True,
        unit="ms",
        no_effect="ends of transactions never wait behind sends",
    )
    enable_calc_filter_bit_map: bool = key(
        "enableCalcFilterBitMap", False, "Evaluate SQL filters when a message arrives.", no_effect=NO_BIT_MAPS
    )
    expect_consumer_num_use_filter: int = key(
        "expectConsumerNumUseFilter", 32, "Groups expected in a bit map.", no_effect=NO_BIT_MAPS
    )
    max_error_rate_of_bloom_filter: int = key(
        "maxErrorRateOfBloomFilter", 20, "False hits of a bit map.", unit="percent", no_effect=NO_BIT_MAPS
    )
    isolate_log_enable: bool = key(
        "isolateLogEnable",
        False,
        "A log folder for each broker.",
        no_effect="a broker logs where its launcher or twistd --logfile says",
    )
