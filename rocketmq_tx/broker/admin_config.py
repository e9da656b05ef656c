"""Requests that read and change this broker's settings while it runs: 25, 26."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rocketmq_tx.config.listing import dump
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.protocol.bodies import DataVersion
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import GetBrokerConfigResponseHeader
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import Reply, serves
from rocketmq_tx.runtime.settings_file import ConfigFile, take_update


class ConfigRequests:
    """`changed` is called with key -> new text after a change has taken effect."""

    def __init__(
        self,
        settings: BrokerSettings,
        file: ConfigFile,
        changed: Callable[[Mapping[str, str]], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._file = file
        self._changed = changed
        self._now_ms = now_ms
        self._version = DataVersion(timestamp=now_ms(), counter=0)

    @serves(RequestCode.UPDATE_BROKER_CONFIG)
    def update(self, peer: Peer, frame: Frame, header: None) -> Reply:
        """Takes a properties text; all of it or nothing. Without a body nothing happens."""
        if not frame.body:
            return Reply()
        changed = take_update(self._settings, self._file, frame.body)
        self._version = DataVersion(timestamp=self._now_ms(), counter=self._version.counter + 1)
        if changed:
            self._changed(changed)
        return Reply()

    @serves(RequestCode.GET_BROKER_CONFIG)
    def read(self, peer: Peer, frame: Frame, header: None) -> Reply:
        version = GetBrokerConfigResponseHeader(version=self._version.to_bytes().decode())
        return Reply(header=version, body=dump(self._settings).encode())
