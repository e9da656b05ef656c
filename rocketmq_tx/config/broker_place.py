"""Keys of a broker's place: who it is, which NameServers know it, who takes over from it."""

from __future__ import annotations

from rocketmq_tx.config.keys import LIVE, OURS, PROPERTY, Keys, key
from rocketmq_tx.config.values import Host, Name, NamesrvAddresses, Text


class BrokerPlace(Keys):
    """Name, addresses, registration, failover."""

    __slots__ = ()

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
    register_broker_timeout_mills: int = key(
        "registerBrokerTimeoutMills",
        6000,
        "How long a registration waits for each NameServer.",
        unit="ms",
        low=1,
        runtime=LIVE,
    )
    register_name_server_period: int = key(
        "registerNameServerPeriod",
        30000,
        "How often the broker registers; less than 10 s or more than 60 s counts as 10 s or 60 s.",
        unit="ms",
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
    fetch_namesrv_addr_by_address_server: bool = key(
        "fetchNamesrvAddrByAddressServer",
        False,
        "Ask an address server over HTTP for the NameServers when namesrvAddr is not set.",
        important=True,
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
