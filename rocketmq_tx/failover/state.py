"""What a broker says of itself when another asks whether it may take over, or whom it has to follow."""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import BodyError, CallRefused, HeaderError, RemotingError
from rocketmq_tx.failover.epochs import EpochHistory
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import FailoverStateResponseHeader

ASK_TIMEOUT_S = 1.5


class Caller(Protocol):
    """What is needed of `remoting.caller.RemotingClient`."""

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]: ...


@attrs.frozen
class BrokerState:
    """One broker's word. Offsets are of its commit log; `slaves` is how many are connected to it.

    `is_promoting`: it is taking over, and it is not known yet what comes of that. `handing_over_to` is the
    address of the slave that a master makes room for; "" most of the time.
    """

    cluster: str
    broker_name: str
    address: str
    broker_id: int
    role: BrokerRole
    master_role: BrokerRole
    history: EpochHistory
    min_offset: int
    max_offset: int
    flushed_offset: int
    slaves: int = 0
    ha_address: str = ""
    is_promoting: bool = False
    handing_over_to: str = ""

    def to_header(self) -> FailoverStateResponseHeader:
        return FailoverStateResponseHeader(
            cluster_name=self.cluster,
            broker_name=self.broker_name,
            broker_addr=self.address,
            broker_id=self.broker_id,
            broker_role=self.role.value,
            master_role=self.master_role.value,
            epochs=self.history.to_text(),
            min_offset=self.min_offset,
            max_offset=self.max_offset,
            flushed_offset=self.flushed_offset,
            slaves=self.slaves,
            ha_server_addr=self.ha_address,
            promoting=self.is_promoting,
            handing_over_to=self.handing_over_to,
        )

    @classmethod
    def from_header(cls, header: FailoverStateResponseHeader) -> BrokerState:
        """BodyError for what no broker of ours says."""
        try:
            return cls(
                header.cluster_name,
                header.broker_name,
                header.broker_addr,
                header.broker_id,
                BrokerRole(header.broker_role),
                BrokerRole(header.master_role),
                EpochHistory.from_text(header.epochs),
                header.min_offset,
                header.max_offset,
                header.flushed_offset,
                header.slaves,
                header.ha_server_addr,
                header.promoting,
                header.handing_over_to,
            )
        except ValueError as error:
            raise BodyError(f"no state of a broker: {error}") from error


async def ask_state(caller: Caller, address: str, timeout_s: float = ASK_TIMEOUT_S) -> BrokerState | None:
    """The state of the broker at `host:port`; None when it is one of Apache's. RemotingError otherwise."""
    request = RequestCode.GET_FAILOVER_STATE
    answer = await caller.call(address, Frame.request(request), timeout_s)
    if answer.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED:
        return None
    if answer.code != ResponseCode.SUCCESS:
        raise CallRefused(request.name, address, answer.code, answer.remark)
    try:
        return BrokerState.from_header(FailoverStateResponseHeader.from_ext_fields(answer.ext_fields))
    except (HeaderError, BodyError) as error:
        raise RemotingError(f"{address} answers {request.name} with something else: {error}") from error
