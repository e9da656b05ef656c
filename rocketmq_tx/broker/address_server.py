"""NameServer addresses from an address server: `fetchNamesrvAddrByAddressServer=true`.

A plain HTTP server answers GET with the list that `namesrvAddr` would hold. It is asked at start and every
two minutes; a failure or an empty answer keeps the list of before. Facts: `spec/wire.yaml` (ADDRESS_SERVER).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.client import Agent, readBody

from rocketmq_tx.config.addresses import parse_addresses
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.runtime.periodic import Periodic

if TYPE_CHECKING:
    from twisted.web.iweb import IAgent

PERIOD_S = 120
TIMEOUT_S = 3
LONGEST_ANSWER_BYTES = 65536


class AddressServer(Periodic):
    """Keeps `broker.namesrv_addr` as the address server has it. Starting waits for the first answer, at most
    TIMEOUT_S."""

    def __init__(self, broker: BrokerConfig, reactor: Any, agent: IAgent | None = None) -> None:
        super().__init__(reactor, PERIOD_S, self.fetch, "address server")
        self._broker = broker
        self._clock = reactor
        self._agent = agent or Agent(reactor, connectTimeout=TIMEOUT_S)

    def startService(self) -> Deferred[None]:  # type: ignore[override]
        super().startService()
        return self.fetch().addErrback(self._not_fetched)

    def fetch(self) -> Deferred[None]:
        """Asks once; fails when there is no usable answer."""
        url = self._broker.address_server_url
        asked: Deferred[Any] = self._agent.request(b"GET", url.encode())
        asked.addCallback(readBody).addTimeout(TIMEOUT_S, self._clock)
        return asked.addCallback(self._take)

    def _take(self, body: bytes) -> None:
        text = body[:LONGEST_ANSWER_BYTES].decode("utf-8", "replace").strip()
        if not text:
            raise ValueError(f"{self._broker.address_server_url} answered with an empty list")
        parse_addresses(text)
        if text != self._broker.namesrv_addr:
            self.log.info("name servers from the address server: {addresses}", addresses=text)
            self._broker.namesrv_addr = text

    def _not_fetched(self, failure: Failure) -> None:
        self.log.warn(
            "no answer from the address server {url}: {error}",
            url=self._broker.address_server_url,
            error=failure.getErrorMessage(),
        )
