"""Keys of the broker itself: who it is, what it allows, how it talks to NameServers.

Names, defaults and meanings: `spec/config.yaml`, section broker_config (Apache's class BrokerConfig).
"""

from __future__ import annotations

import attrs

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.keys import LIVE, OURS, PROPERTY, key
from rocketmq_tx.config.values import Host, Name, NamesrvAddresses, Text

NO_POOLS = "one event loop serves all requests; there are no thread pools"
NO_QUEUES = "no requests queue for threads; maxUnansweredBytes bounds what waits"
NOT_EVEN_APACHE = "Apache 4.9.7 does not use it either"
NO_COMMERCIAL = "there are no commercial statistics"
NO_BIT_MAPS = "SQL filters look at the message itself; no bit maps are kept"


def _sending_threads(facts: HostFacts) -> int:
    return min(facts.cpu_count, 4)


@attrs.define
class BrokerConfig:
    """Settings of a broker. Parts hold this object and read it on use, so a live change is seen at once."""

    rocketmq_home: str | None = key(
        "rocketmqHome", None, "Folder of an installation; not needed to run.", default_text="ROCKETMQ_HOME"
    )
    namesrv_addr: str | None = key(
        "namesrvAddr",
        None,
        "NameServers to register with, host:port joined by semicolons; [::1]:9876 for IPv6.",
        type=NamesrvAddresses(),
        important=True,
        default_text="NAMESRV_ADDR",
    )
    broker_ip1: str = key(
        "brokerIP1",
        "127.0.0.1",
        "Address that NameServers and clients are told. Set it when clients come from another network.",
        type=Host(),
        important=True,
        from_host=lambda facts: facts.local_address,
        default_text="first address of the machine that is not loopback",
    )
    broker_ip2: str = key(
        "brokerIP2",
        "127.0.0.1",
        "Address that slaves are told for replication.",
        type=Host(),
        from_host=lambda facts: facts.local_address,
        default_text="first address of the machine that is not loopback",
    )
    broker_name: str = key(
        "brokerName",
        "DEFAULT_BROKER",
        "Name of the master/slave set; a master and its slaves share it.",
        type=Name(),
        important=True,
        from_host=lambda facts: facts.host_name or "DEFAULT_BROKER",
        default_text="host name",
    )
    broker_cluster_name: str = key(
        "brokerClusterName", "DefaultCluster", "Name of the cluster.", type=Name(), important=True
    )
    broker_id: int = key(
        "brokerId", 0, "0 for a master, above 0 for a slave.", long=True, low=0, important=True
    )
    broker_permission: int = key(
        "brokerPermission",
        6,
        "What all topics of this broker allow: 4 read, 2 write, 6 both. A change is registered at once.",
        low=0,
        high=7,
        runtime=LIVE,
    )
    default_topic_queue_nums: int = key(
        "defaultTopicQueueNums", 8, "Queues of TBW102, the model of topics made by sending.", low=1
    )
    auto_create_topic_enable: bool = key(
        "autoCreateTopicEnable", True, "Sending to an unknown topic creates it.", important=True, runtime=LIVE
    )
    cluster_topic_enable: bool = key(
        "clusterTopicEnable", True, "The topic named like the cluster may be read and written."
    )
    broker_topic_enable: bool = key(
        "brokerTopicEnable", True, "The topic named like the broker may be read and written."
    )
    auto_create_subscription_group: bool = key(
        "autoCreateSubscriptionGroup",
        True,
        "An unknown consumer group is created when it first appears.",
        important=True,
        runtime=LIVE,
    )
    message_store_plug_in: str = key(
        "messageStorePlugIn",
        "",
        "Store wrapper classes, joined by commas.",
        refused="store plug-ins are Java classes and cannot run here; remove the key",
    )
    msg_trace_topic_name: str = key(
        "msgTraceTopicName",
        "RMQ_SYS_TRACE_TOPIC",
        "Topic that clients write their traces to.",
        type=Name(),
        important=True,
    )
    trace_topic_enable: bool = key(
        "traceTopicEnable", False, "Create the trace topic at start.", important=True
    )
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
    flush_consumer_offset_interval: int = key(
        "flushConsumerOffsetInterval", 5000, "How often consumer offsets are saved.", unit="ms", low=1
    )
    flush_consumer_offset_history_interval: int = key(
        "flushConsumerOffsetHistoryInterval", 60000, "Unused.", unit="ms", no_effect=NOT_EVEN_APACHE
    )
    reject_transaction_message: bool = key(
        "rejectTransactionMessage", False, "Refuse half messages.", important=True, runtime=LIVE
    )
    fetch_namesrv_addr_by_address_server: bool = key(
        "fetchNamesrvAddrByAddressServer",
        False,
        "Ask an address server over HTTP for the NameServers when namesrvAddr is not set.",
        important=True,
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
    long_polling_enable: bool = key(
        "longPollingEnable",
        True,
        "Hold a pull that finds nothing until a message arrives; false holds it for shortPollingTimeMills.",
        runtime=LIVE,
    )
    short_polling_time_mills: int = key(
        "shortPollingTimeMills",
        1000,
        "How long a pull is held when longPollingEnable is false.",
        long=True,
        unit="ms",
        runtime=LIVE,
    )
    notify_consumer_ids_changed_enable: bool = key(
        "notifyConsumerIdsChangedEnable",
        True,
        "Tell the members of a consumer group at once when one joins or leaves.",
        runtime=LIVE,
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
    region_id: str = key("regionId", "DefaultRegion", "Region named in answers to sends.", runtime=LIVE)
    register_broker_timeout_mills: int = key(
        "registerBrokerTimeoutMills",
        6000,
        "How long a registration waits for each NameServer.",
        unit="ms",
        low=1,
        runtime=LIVE,
    )
    slave_read_enable: bool = key(
        "slaveReadEnable", False, "Consumers that lag far behind may read from a slave.", runtime=LIVE
    )
    disable_consume_if_consumer_read_slowly: bool = key(
        "disableConsumeIfConsumerReadSlowly",
        False,
        "Switch off groups whose lag exceeds consumerFallbehindThreshold.",
        runtime=LIVE,
    )
    consumer_fallbehind_threshold: int = key(
        "consumerFallbehindThreshold",
        17179869184,
        "Lag above which disableConsumeIfConsumerReadSlowly acts.",
        long=True,
        unit="bytes",
        runtime=LIVE,
    )
    broker_fast_failure_enable: bool = key(
        "brokerFastFailureEnable",
        True,
        "Answer sends that waited too long with SYSTEM_BUSY, so that clients try another broker.",
        runtime=LIVE,
    )
    wait_time_mills_in_send_queue: int = key(
        "waitTimeMillsInSendQueue",
        200,
        "How long a send may wait before it is answered with SYSTEM_BUSY.",
        long=True,
        unit="ms",
        runtime=LIVE,
    )
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
    start_accept_send_request_time_stamp: int = key(
        "startAcceptSendRequestTimeStamp",
        0,
        "Refuse sends before this time, counted since 1970.",
        long=True,
        unit="ms",
        runtime=LIVE,
    )
    trace_on: bool = key(
        "traceOn", True, "Tell producers in answers to sends that they should write traces.", runtime=LIVE
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
    filter_data_clean_time_span: int = key(
        "filterDataCleanTimeSpan",
        86400000,
        "How long filters of groups that left are kept.",
        long=True,
        unit="ms",
        runtime=LIVE,
    )
    filter_support_retry: bool = key(
        "filterSupportRetry", False, "Apply SQL filters to retried messages as well.", runtime=LIVE
    )
    enable_property_filter: bool = key(
        "enablePropertyFilter", False, "Allow SQL92 subscriptions.", runtime=LIVE
    )
    compressed_register: bool = key(
        "compressedRegister", False, "Compress the body of registrations.", runtime=LIVE
    )
    force_register: bool = key(
        "forceRegister",
        True,
        "Register in full each time; false asks first whether the NameServer knows our topics already.",
        runtime=LIVE,
    )
    register_name_server_period: int = key(
        "registerNameServerPeriod",
        30000,
        "How often the broker registers; less than 10 s or more than 60 s counts as 10 s or 60 s.",
        unit="ms",
    )
    transaction_time_out: int = key(
        "transactionTimeOut",
        6000,
        "Age of a half message before its producer is asked first.",
        long=True,
        unit="ms",
        important=True,
        runtime=LIVE,
    )
    transaction_check_max: int = key(
        "transactionCheckMax",
        15,
        "How often a producer is asked about a half message before it is given up.",
        low=1,
        important=True,
        runtime=LIVE,
    )
    transaction_check_interval: int = key(
        "transactionCheckInterval",
        60000,
        "Pause between rounds of asking.",
        long=True,
        unit="ms",
        low=1,
        important=True,
        runtime=LIVE,
    )
    acl_enable: bool = key(
        "aclEnable",
        False,
        "Check access keys and permissions of requests.",
        important=True,
        refused="this version has no access control and would serve everybody; "
        "remove the key and keep the ports behind a firewall",
    )
    store_reply_message_enable: bool = key(
        "storeReplyMessageEnable", True, "Store reply messages when the requester is gone.", runtime=LIVE
    )
    enable_detail_stat: bool = key("enableDetailStat", True, "Count per queue as well as per topic.")
    auto_delete_unused_stats: bool = key(
        "autoDeleteUnusedStats", False, "Drop the statistics of deleted topics and groups.", runtime=LIVE
    )
    isolate_log_enable: bool = key(
        "isolateLogEnable",
        False,
        "A log folder for each broker.",
        no_effect="a broker logs where its launcher or twistd --logfile says",
    )
    rmq_address_server_domain: str = key(
        "rmqAddressServerDomain",
        "jmenv.tbsite.net",
        "Host of the address server, or host:port.",
        origin=PROPERTY,
        aliases=("rocketmq.namesrv.domain",),
        type=Text(),
    )
    rmq_address_server_sub_group: str = key(
        "rmqAddressServerSubGroup",
        "nsaddr",
        "Last part of the address server's URL.",
        origin=PROPERTY,
        aliases=("rocketmq.namesrv.domain.subgroup",),
    )
    auto_failover: str | None = key(
        "autoFailover",
        None,
        "zookeeper://host:port/path; brokers agree there on who is master, and a slave takes over by itself.",
        origin=OURS,
    )
    auto_failover_session_timeout: int = key(
        "autoFailoverSessionTimeout",
        4000,
        "How long a broker may be silent before ZooKeeper counts it as gone; a slave takes over after that.",
        unit="ms",
        low=1000,
        high=60_000,
        origin=OURS,
    )
    timer_max_delay_sec: int = key(
        "timerMaxDelaySec",
        259200,
        "Longest delay of messages that carry their own delivery time (TIMER_DELIVER_MS); a year at most.",
        unit="s",
        high=31_536_000,
        runtime=LIVE,
        origin=OURS,
    )

    @property
    def address_server_url(self) -> str:
        """Where the address server answers with the NameServers."""
        domain = self.rmq_address_server_domain
        if ":" not in domain:
            domain += ":8080"
        return f"http://{domain}/rocketmq/{self.rmq_address_server_sub_group}"

    @property
    def registration_period_s(self) -> float:
        """Seconds between registrations, within Apache's bounds."""
        return max(10_000, min(self.register_name_server_period, 60_000)) / 1000
