"""Keys of the broker itself: who it is, what it allows, how it talks to NameServers.

Names, defaults and meanings: `spec/config.yaml`, section broker_config (Apache's class BrokerConfig).
"""

from __future__ import annotations

from rocketmq_tx.config.broker_idle import IdleBrokerKeys
from rocketmq_tx.config.broker_place import BrokerPlace
from rocketmq_tx.config.keys import LIVE, OURS, key, settings
from rocketmq_tx.config.values import Name


@settings
class BrokerConfig(BrokerPlace, IdleBrokerKeys):
    """Settings of a broker. Parts hold this object and read it on use, so a live change is seen at once."""

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
    flush_consumer_offset_interval: int = key(
        "flushConsumerOffsetInterval", 5000, "How often consumer offsets are saved.", unit="ms", low=1
    )
    reject_transaction_message: bool = key(
        "rejectTransactionMessage", False, "Refuse half messages.", important=True, runtime=LIVE
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
    region_id: str = key("regionId", "DefaultRegion", "Region named in answers to sends.", runtime=LIVE)
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
    reserved_file_descriptors: int = key(
        "reservedFileDescriptors",
        0,
        "Connections are refused when so many file descriptors are left, which the store may need; of what"
        " ulimit -n allows half at most. 0: as many as the store keeps open, a quarter, and 24.",
        high=1 << 20,
        runtime=LIVE,
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
