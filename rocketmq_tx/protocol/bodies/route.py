"""Where topics are: what a NameServer answers to clients and tools."""

from __future__ import annotations

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, Int, body
from rocketmq_tx.protocol.names import MASTER_ID


@body
class BrokerData(Body):
    """The addresses of one broker by id; id 0 is the master."""

    cluster: str = ""
    broker_name: str = ""
    broker_addrs: dict[int, str] = attrs.Factory(dict)

    @property
    def master_address(self) -> str | None:
        """The master's address, None while there is only a slave."""
        return self.broker_addrs.get(MASTER_ID)


@attrs.define
class QueueData(Body):
    """How many queues of a topic one broker has, and what it allows."""

    broker_name: str = ""
    read_queue_nums: Int = 0
    write_queue_nums: Int = 0
    perm: Int = 0
    topic_sys_flag: Int = 0


@attrs.define
class TopicRouteData(Body):
    """The brokers and queues of one topic; `order_topic_conf` is `broker:queues;...` of an order topic.

    Clients since 4.9.4 get it with quoted keys: `to_bytes(quoted_keys=True)`.
    """

    broker_datas: list[BrokerData] = attrs.Factory(list)
    queue_datas: list[QueueData] = attrs.Factory(list)
    filter_server_table: dict[str, list[str]] | None = attrs.Factory(dict)
    order_topic_conf: str | None = None


@body
class ClusterInfo(Body):
    """All brokers, and the broker names of each cluster."""

    broker_addr_table: dict[str, BrokerData] = attrs.Factory(dict)
    cluster_addr_table: dict[str, list[str]] = attrs.Factory(dict)
