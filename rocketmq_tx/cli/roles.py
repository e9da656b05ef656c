"""The services of the two roles, imported only when they are made: help and print-outs stay quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger

from rocketmq_tx.config.settings import BrokerSettings, NamesrvSettings, Settings

log = Logger()


def namesrv_service(settings: NamesrvSettings, reactor: Any, announce: Callable[[str], None]) -> IService:
    """A NameServer that announces itself with its banner when it listens."""
    from rocketmq_tx.namesrv.service import make_namesrv  # noqa: PLC0415

    _say_what_is_odd(settings)
    service: IService = make_namesrv(settings, reactor, announce=announce)
    return service


def broker_service(settings: BrokerSettings, reactor: Any, announce: Callable[[str], None]) -> IService:
    """A broker that announces itself with its banner when it listens and has registered or tried to."""
    from rocketmq_tx.broker.service import make_broker  # noqa: PLC0415

    _say_what_is_odd(settings)
    if not (settings.broker.namesrv_addr or settings.broker.fetch_namesrv_addr_by_address_server):
        log.warn("no NameServer is set, so nobody finds this broker: give -n, namesrvAddr or NAMESRV_ADDR")
    service: IService = make_broker(settings, reactor, announce=announce)
    return service


def _say_what_is_odd(settings: Settings) -> None:
    for warning in settings.warnings:
        log.warn("configuration: {warning}", warning=warning)
