"""Headers of the requests by which a broker takes over from another; only this project knows them."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, boolean, header, long_integer, string


@header
class FailoverStateResponseHeader(Header):
    """GET_FAILOVER_STATE: what a broker is, and what it knows of its log."""

    cluster_name: str = string("clusterName", required=True, default="")
    broker_name: str = string("brokerName", required=True, default="")
    broker_addr: str = string("brokerAddr", required=True, default="")
    broker_id: int = long_integer("brokerId", needed=True)
    broker_role: str = string("brokerRole", needed=True)
    master_role: str = string("masterRole", required=True, default="ASYNC_MASTER")
    """Which kind of master it is, or would be."""
    epochs: str = string("epochs", needed=True)
    """As `failover.epochs.EpochHistory.to_text`."""
    min_offset: int = long_integer("minOffset", required=True, default=0)
    max_offset: int = long_integer("maxOffset", needed=True)
    flushed_offset: int = long_integer("flushedOffset", required=True, default=0)
    slaves: int = long_integer("slaves", required=True, default=0)
    """Connected ones, of a master."""
    ha_server_addr: str = string("haServerAddr", required=True, default="")
    promoting: bool = boolean("promoting", default=False)
    """Of a slave: an operator has it take over just now."""
    handing_over_to: str = string("handingOverTo", default="")
    """Of a master: the slave that it makes room for, and may have by now; "" most of the time."""


@header
class PromoteRequestHeader(Header):
    """PROMOTE, to a slave. `force`: although it may lack messages; `only_ask`: says what it would do."""

    force: bool = boolean("force", default=False)
    only_ask: bool = boolean("onlyAsk", default=False)


@header
class PromoteResponseHeader(Header):
    """What was, or would be, done; a refusal stands in the remark of code SYSTEM_ERROR."""

    verdict: str = string("verdict", required=True, default="")
    """HAND_OVER, COMPLETE, MISSING or UNKNOWN: `failover.verdict.Verdict`."""
    reason: str = string("reason", required=True, default="")
    epoch: int = long_integer("epoch", required=True, default=0)
    """Of which it is the master now, or would be."""


@header
class HandOverRequestHeader(Header):
    """HAND_OVER, to a master: take no more messages, I take over. With `release`: go on, I do not.

    To another slave: take nothing more of the master.
    """

    broker_addr: str = string("brokerAddr", needed=True)
    epoch: int = long_integer("epoch", needed=True)
    release: bool = boolean("release", default=False)


@header
class HandOverResponseHeader(Header):
    """Where the log ends, and stays."""

    max_offset: int = long_integer("maxOffset", needed=True)


@header
class FollowRequestHeader(Header):
    """FOLLOW, to a former master: the one at `broker_addr` is master of this epoch, follow it."""

    broker_addr: str = string("brokerAddr", needed=True)
    epoch: int = long_integer("epoch", needed=True)
