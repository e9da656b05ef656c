"""A NameServer, put together.

    key-value file read -> listening -> banner -> brokers that fall silent are removed

It knows nothing of other NameServers: brokers register with each, clients ask any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from rocketmq_tx.config.settings import NamesrvSettings
from rocketmq_tx.namesrv.broker_handlers import FIRST_SCAN_S, SCAN_S, BrokerHandlers
from rocketmq_tx.namesrv.config_handlers import KVConfigHandlers, SettingsHandlers
from rocketmq_tx.namesrv.kv_config import KVConfig
from rocketmq_tx.namesrv.route_handlers import RouteHandlers
from rocketmq_tx.namesrv.route_table import RouteTable
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.listener import Listener
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.rarely import Rarely
from rocketmq_tx.runtime.services import OrderedServices
from rocketmq_tx.runtime.settings_file import PropertiesFile
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.json_file import JsonFile
from rocketmq_tx.store.os_disk import platform_disk

_log = Logger()


def make_namesrv(
    settings: NamesrvSettings,
    reactor: Any,
    announce: Callable[[str], object] = print,
    *,
    disk: Disk | None = None,
) -> OrderedServices:
    """The service tree of one NameServer; `announce` gets the banner once it listens."""
    disk = disk or platform_disk()
    file = PropertiesFile(disk, str(settings.update_file), _notice)
    routes = RouteTable()
    kv_config = KVConfig(JsonFile(disk, settings.namesrv.kv_config_path, _notice))
    brokers = BrokerHandlers(routes, kv_config, lambda: int(reactor.seconds() * 1000), Rarely(reactor))
    connections = Connections(
        reactor,
        Registry(
            brokers,
            RouteHandlers(routes, kv_config, settings.namesrv),
            KVConfigHandlers(kv_config),
            SettingsHandlers(settings, file, lambda _: connections.limits.take(settings.server)),
        ),
        observers=[brokers],
    )
    connections.limits.take(settings.server)
    listener = Listener(
        reactor,
        connections,
        host=settings.server.bind_address.strip("[]"),
        port=settings.server.listen_port,
        backlog=settings.server.server_socket_backlog,
    )
    return OrderedServices(
        _KVConfigService(kv_config, settings.namesrv.kv_config_path),
        listener,
        Periodic(reactor, SCAN_S, brokers.scan, "scan for silent brokers", FIRST_SCAN_S),
        _Announcement(banner(settings), announce),
        reactor=reactor,
    )


def banner(settings: NamesrvSettings) -> str:
    """The line that scripts around Apache's NameServer wait for."""
    return f"The Name Server boot success. serializeType={settings.client.serialize_type.value}"


def _notice(sentence: str) -> None:
    _log.warn("{sentence}", sentence=sentence)


class _KVConfigService(Service):
    """Reads the file at start; changes are written as they are made."""

    def __init__(self, kv_config: KVConfig, path: str) -> None:
        self.setName("key-value configuration")
        self._kv_config = kv_config
        self._path = path

    def startService(self) -> None:
        super().startService()
        count = self._kv_config.load()
        _log.info("key-value configuration: file={file} namespaces={count}", file=self._path, count=count)


class _Announcement(Service):
    """Last in the tree: what stands above is there."""

    def __init__(self, line: str, announce: Callable[[str], object]) -> None:
        self.setName("announcement")
        self._line = line
        self._announce = announce

    def startService(self) -> None:
        super().startService()
        self._announce(self._line)
