"""The last step of a start, and the first word to NameServers of a stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from rocketmq_tx.broker.registration import Registration
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.runtime.services import within

REGISTRATION_WAIT_S = 1.0
"""A NameServer that is down must not delay the start: after this long the registration counts as tried."""


class Announcement(Service):
    """Registers, and then says that the broker is there."""

    def __init__(
        self,
        settings: BrokerSettings,
        registration: Registration,
        reactor: Any,
        announce: Callable[[str], object],
    ) -> None:
        self.setName("announcement")
        self._settings = settings
        self._registration = registration
        self._reactor = reactor
        self._announce = announce

    def startService(self) -> Deferred[None]:
        super().startService()
        tried = within(self._reactor, self._registration.register_all(), REGISTRATION_WAIT_S)
        return tried.addCallback(lambda _: self._say())

    def _say(self) -> None:
        if self.running:
            self._announce(banner(self._settings))


def banner(settings: BrokerSettings) -> str:
    """The line that scripts around Apache's broker wait for."""
    line = (
        f"The broker[{settings.broker.broker_name}, {settings.broker_address}] boot success. "
        f"serializeType={settings.client.serialize_type.value}"
    )
    addresses = settings.broker.namesrv_addr
    return f"{line} and name server is {addresses}" if addresses else line


class Unregistration(Service):
    """Stands above the listener in the tree, so that it is stopped after it: nobody is sent here any more."""

    def __init__(self, registration: Registration) -> None:
        self.setName("unregistration")
        self._registration = registration

    def stopService(self) -> Deferred[list[bool]]:
        super().stopService()
        return self._registration.unregister_all()
