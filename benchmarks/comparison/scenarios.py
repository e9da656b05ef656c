"""The table of all scenarios: one declaration each."""

from __future__ import annotations

from benchmarks.comparison import by_java, flatness, life, raw, replication, stores
from benchmarks.comparison.declaring import Group, Row, Scenario
from benchmarks.comparison.sides import Servers

RAW = Group("raw", Servers(), raw.warm_up)
JAVA = Group("java", Servers(), by_java.warm_up, java=True)
JAVA_CONSUMERS = Group("java-consumers", Servers(), by_java.warm_up_consumers, java=True)
SYNC_FLUSH = Group("sync-flush", Servers({"flushDiskType": "SYNC_FLUSH"}), raw.warm_up_sends)
SLOW_DISK = Group("slow-disk", Servers({"flushDiskType": "SYNC_FLUSH"}, fsync_ms=5), raw.warm_up_sends)
JAVA_SYNC_FLUSH = Group(
    "java-sync-flush", Servers({"flushDiskType": "SYNC_FLUSH"}), by_java.warm_up, java=True
)
PAIR = Group("pair", Servers(slave=True), raw.warm_up_sends)
ALONE = Group("alone", None)


def _growth() -> tuple[Row, ...]:
    return (Row("growth", "times", "lower", bar=1.1, bar_on="ours"),)


def _rate(bar: float | None = None, goal: float | None = None, unit: str = "messages/s") -> tuple[Row, ...]:
    return (Row("rate", unit, "higher", bar, goal),)


def _double_write() -> tuple[Row, ...]:
    share = "share of ASYNC_MASTER's"
    return *_rate(), Row("share", "of async", "higher", bar=0.9, bar_on="ours", title=share)


THREE_PROCESSES = (
    "loader, master and slave share the cores; the slave's work of the asynchronous half is done"
    " before the clock stops."
)

SCENARIOS = (
    Scenario(
        "raw-send", "raw sends, 128 bytes, 4 connections x 64 in flight", RAW,
        _rate(1.5, 2.0), raw.sends(),
    ),
    Scenario(
        "raw-send-1k", "raw sends, 1 KiB, 4 x 64", RAW,
        _rate(), raw.sends(size=1024),
    ),
    Scenario(
        "raw-window-1", "raw sends, one in flight", RAW,
        (
            Row("p50_us", "us", "lower", bar=0.75, title="p50 of a round trip"),
            Row("p99_us", "us", "lower", title="p99"),
        ),
        raw.sends(connections=1, in_flight=1),
    ),
    Scenario(
        "raw-pull", "raw pulls of 32, 4 x 8, each queue's messages together", RAW,
        _rate(1.0, 1.3), raw.pulls(raw.TOGETHER),
    ),
    Scenario(
        "raw-pull-mixed", "raw pulls of 32, 4 x 8, four queues in turn in the log", RAW,
        _rate(1.0, 1.3), raw.pulls(raw.MIXED),
    ),
    Scenario(
        "raw-pull-tag", "raw pulls of 32, 4 x 8, a tag that every second message has", RAW,
        _rate(), raw.pulls(raw.MIXED, tags="TagA", step=64),
    ),
    Scenario(
        "raw-1000-connections", "raw sends, 1,000 connections x 1 in flight", RAW,
        _rate(), raw.sends(connections=1000, in_flight=1),
    ),
    Scenario(
        "raw-1000-topics", "raw sends over 1,000 topics, 4 x 64", RAW,
        _rate(), raw.sends(topics=1000),
    ),
    Scenario(
        "start-up", "from starting the process to the first accepted send", ALONE,
        (Row("seconds", "s", "lower", bar=0.3),), life.start_up,
    ),
    Scenario(
        "memory", "anonymous memory, Apache with -Xms512m -Xmx1g", ALONE,
        (
            Row("idle_mib", "MiB", "lower", bar=0.25, title="idle"),
            Row("loaded_mib", "MiB", "lower", bar=0.2, title="after 500,000 messages"),
        ),
        life.memory,
    ),
    Scenario(
        "restart", "from starting after SIGKILL to the first accepted send, 300,000 messages", ALONE,
        (Row("seconds", "s", "lower", bar=0.2),), life.restart,
    ),
    Scenario(
        "restart-large", "from starting after SIGKILL to the first accepted send, 3 million messages", ALONE,
        (Row("seconds", "s", "lower", bar=0.2),), life.restart_large,
    ),
    Scenario(
        "ten-million", "store of 10 million messages", ALONE,
        (
            Row("start_s", "s", "lower", title="start after an orderly stop, to the first accepted send"),
            Row("key_us", "us", "lower", title="look-up by key"),
            Row("time_us", "us", "lower", title="seek by time"),
        ),
        stores.ten_million,
    ),
    Scenario(
        "flat-topics", "CPU of a send: 1,000 topics to 1", RAW, _growth(), flatness.topics,
    ),
    Scenario(
        "flat-connections", "CPU of a send: 1,000 connections to 1, 16 in flight each", RAW, _growth(),
        flatness.connections,
    ),
    Scenario(
        "flat-store", "CPU of a send: 100 million messages in the store to none", ALONE, _growth(),
        flatness.store,
    ),
    Scenario(
        "flat-memory", "anonymous memory that further millions of messages take, after the first", ALONE,
        (Row("growth_mib", "MiB more", "lower", bar=2, bar_on="ours"),), flatness.memory, once=True,
    ),
    Scenario("java-sync-1", "Java sync sends, 1 thread", JAVA, _rate(1.5), by_java.sends("sync", 1)),
    Scenario("java-sync-8", "Java sync sends, 8 threads", JAVA, _rate(1.5), by_java.sends("sync", 8)),
    Scenario("java-sync-64", "Java sync sends, 64 threads", JAVA, _rate(1.5), by_java.sends("sync", 64)),
    Scenario(
        "java-sync-1k", "Java sync sends, 8 threads, 1 KiB", JAVA, _rate(), by_java.sends("sync", 8, 1024)
    ),
    Scenario(
        "java-sync-16k", "Java sync sends, 8 threads, 16 KiB", JAVA, _rate(), by_java.sends("sync", 8, 16384)
    ),
    Scenario("java-async", "Java async sends, 256 in flight", JAVA, _rate(1.0), by_java.sends("async", 2)),
    Scenario("java-oneway", "Java one-way sends, 2 threads", JAVA, _rate(1.0), by_java.sends("oneway", 2)),
    Scenario("java-batch", "Java batches of 32, 8 threads", JAVA, _rate(1.0), by_java.sends("batch", 8)),
    Scenario(
        "java-transactions", "Java transactions that commit at once, 32 threads", JAVA,
        _rate(1.5, unit="transactions/s"), by_java.sends("transaction", 32),
    ),
    Scenario(
        "java-consume-backlog", "Java push consumption of a backlog", JAVA_CONSUMERS, _rate(1.0),
        by_java.consumption(),
    ),
    Scenario(
        "java-consume-tag", "Java push consumption, a tag that every second message has", JAVA_CONSUMERS,
        _rate(), by_java.consumption("TagA", share=0.5),
    ),
    Scenario(
        "java-consume-sql", "Java push consumption, SQL92 that every second message matches", JAVA_CONSUMERS,
        _rate(), by_java.consumption(sql="a BETWEEN 0 AND 4", share=0.5),
    ),
    Scenario(
        "java-consume-live", "Java push consumption while 16 threads send", JAVA_CONSUMERS, _rate(1.0),
        by_java.live,
    ),
    Scenario(
        "java-latency", f"end to end at {by_java.RATE:,} messages/s", JAVA_CONSUMERS,
        (
            Row("p50_ms", "ms", "lower", title="p50"),
            Row("p99_ms", "ms", "lower", bar=0.5, title="p99"),
            Row("p999_ms", "ms", "lower", title="p99.9"),
        ),
        by_java.latency,
    ),
    Scenario(
        "sync-flush", "SYNC_FLUSH, raw sends, 4 x 16 in flight", SYNC_FLUSH, _rate(1.5),
        raw.sends(in_flight=16),
    ),
    Scenario(
        "sync-flush-5ms", "SYNC_FLUSH, 5 ms added to each fsync, raw sends, 4 x 16", SLOW_DISK, _rate(1.5),
        raw.sends(in_flight=16),
    ),
    Scenario(
        "java-sync-flush-1", "SYNC_FLUSH, Java sync sends, 1 thread", JAVA_SYNC_FLUSH,
        _rate(), by_java.sends("sync", 1),
    ),
    Scenario(
        "java-sync-flush-64", "SYNC_FLUSH, Java sync sends, 64 threads", JAVA_SYNC_FLUSH,
        _rate(), by_java.sends("sync", 64),
    ),
    Scenario(
        "sync-master", "SYNC_MASTER, raw sends, 4 x 64", PAIR,
        _double_write(), replication.double_writes(4), note=THREE_PROCESSES,
    ),
    Scenario(
        "sync-master-1024", "SYNC_MASTER, raw sends, 16 x 64", PAIR,
        _double_write(), replication.double_writes(16), note=THREE_PROCESSES,
    ),
)  # fmt: skip
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
