"""Keys of replication: which role a broker has, and how master and slaves talk."""

from __future__ import annotations

from rocketmq_tx.config.keys import LIVE, OURS, Keys, key
from rocketmq_tx.config.values import BrokerRole, WholeNumber


class Replication(Keys):
    """Master and slaves."""

    __slots__ = ()

    broker_role: BrokerRole = key(
        "brokerRole",
        BrokerRole.ASYNC_MASTER,
        "SYNC_MASTER answers a send when a slave has it, too. While running only the two master roles "
        "can be exchanged.",
        important=True,
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
    ha_listen_port: int | None = key(
        "haListenPort",
        None,
        "Port that slaves connect to.",
        type=WholeNumber(1, 65535, nullable=True),
        default_text="listenPort + 10000, else a free port",
    )
    ha_master_address: str | None = key(
        "haMasterAddress",
        None,
        "Fixed address of the master's HA port, for a slave.",
        important=True,
        default_text="learned from the NameServer",
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
    ha_slave_fallbehind_max: int = key(
        "haSlaveFallbehindMax",
        268435456,
        "A slave that is further behind does not count as available.",
        unit="bytes",
        runtime=LIVE,
    )
    ha_sync_from_last_file: bool = key(
        "haSyncFromLastFile",
        False,
        "A new slave copies only the last file of its master, as Apache's do, instead of the whole log.",
        origin=OURS,
    )
    enable_dleger_commit_log: bool = key(
        "enableDLegerCommitLog",
        False,
        "Replicate by DLedger (Raft).",
        refused="DLedger replication is not built and one copy would be all there is; remove the key, set "
        "brokerRole = SYNC_MASTER and start a second broker with brokerRole = SLAVE",
    )
