"""Settings of a daemon: reads a properties file, checks it, and says what is odd about it.

Order, as in Apache: built-in defaults, environment, file, command line. Unknown keys, repeated keys and
keys without effect are warnings; malformed values, contradictions and keys that would change what the
broker guarantees are errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from rocketmq_tx.config import elsewhere
from rocketmq_tx.config.addresses import format_address, parse_addresses
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.config.coordination import parse_coordination
from rocketmq_tx.config.given import Source, entries_of, nearest_name, parse_value
from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.keys import ConfigKey, keys_of
from rocketmq_tx.config.namesrv import NamesrvConfig
from rocketmq_tx.config.remoting import NettyClientConfig, NettyServerConfig
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.tls import USE_A_PROXY, TlsConfig
from rocketmq_tx.config.values import BrokerRole, TlsMode
from rocketmq_tx.errors import ConfigError

BROKER_PORT = 10911
NAMESRV_PORT = 9876


class SettingsContradict(ConfigError):
    """Values that can be read one by one but not run together; Apache's launchers exit with -3 then."""


@attrs.define
class Settings:
    """What daemons have in common."""

    server: NettyServerConfig
    client: NettyClientConfig
    tls: TlsConfig
    facts: HostFacts
    #: The file given; None when there is none.
    file: Path | None
    warnings: list[str]

    @property
    def parts(self) -> tuple[Any, ...]:
        """The settings objects in the order of Apache's print-outs; TLS comes last."""
        raise NotImplementedError

    @property
    def update_file(self) -> Path:
        """Where changes at run time are written."""
        raise NotImplementedError

    def declared(self) -> Iterator[tuple[Any, ConfigKey]]:
        """Every settings object with each of its keys."""
        for part in self.parts:
            for key in keys_of(type(part)):
                yield part, key

    def places(self) -> dict[str, list[tuple[Any, ConfigKey]]]:
        """Where a name of a key, or another spelling of it, is kept: in one or more settings objects."""
        found: dict[str, list[tuple[Any, ConfigKey]]] = {}
        for part, key in self.declared():
            for name in (key.name, *key.aliases):
                found.setdefault(name, []).append((part, key))
        return found


@attrs.define
class BrokerSettings(Settings):
    """Everything a broker is told."""

    broker: BrokerConfig
    store: MessageStoreConfig

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.broker, self.server, self.client, self.store, self.tls

    @property
    def namesrv_addresses(self) -> list[tuple[str, int]]:
        """Host and port of each NameServer that is configured."""
        return parse_addresses(self.broker.namesrv_addr)

    @property
    def broker_address(self) -> str:
        """What NameServers and clients are told: brokerIP1 and listenPort."""
        return format_address(self.broker.broker_ip1, self.server.listen_port)

    @property
    def update_file(self) -> Path:
        """Where changes at run time are written; without -c no later start reads it, as in Apache."""
        return self.file or Path(self.store.below_root("config", "broker.properties"))


@attrs.define
class NamesrvSettings(Settings):
    """Everything a NameServer is told."""

    namesrv: NamesrvConfig

    @property
    def parts(self) -> tuple[Any, ...]:
        # A NameServer calls nobody: the client's settings are defaults and not shown.
        return self.namesrv, self.server, self.tls

    @property
    def update_file(self) -> Path:
        """Where changes at run time are written."""
        return Path(self.namesrv.config_store_path)


def load_broker(
    file: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    facts: HostFacts | None = None,
) -> BrokerSettings:
    """Settings of a broker. `overrides` are those of the command line, by key. Raises ConfigError."""
    facts = facts or HostFacts()
    settings = BrokerSettings(
        **_common(facts, file, BROKER_PORT),
        broker=_with_defaults(BrokerConfig, facts),
        store=_with_defaults(MessageStoreConfig, facts),
    )
    _fill(settings, overrides or {}, environ or {}, elsewhere.NAMES)
    _check_namesrv_addresses(settings.broker)
    _check_role(settings)
    _check_failover(settings.broker)
    return settings


def load_namesrv(
    file: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    facts: HostFacts | None = None,
) -> NamesrvSettings:
    """Settings of a NameServer. Raises ConfigError."""
    facts = facts or HostFacts()
    settings = NamesrvSettings(
        **_common(facts, file, NAMESRV_PORT),
        namesrv=_with_defaults(NamesrvConfig, facts),
    )
    _fill(settings, overrides or {}, environ or {}, frozenset())
    if file is not None:
        # As in Apache: what was read is what changes are written to, whatever the file says.
        settings.namesrv.config_store_path = str(file)
    return settings


#: Environment variable -> key.
_ENVIRONMENT = {
    "NAMESRV_ADDR": "namesrvAddr",
    "ROCKETMQ_HOME": "rocketmqHome",
    "ROCKETMQ_SERIALIZE_TYPE": "rocketmq.serialize.type",
}


def _common(facts: HostFacts, file: Path | None, listen_port: int) -> dict[str, Any]:
    return {
        "server": _with_defaults(NettyServerConfig, facts, listen_port=listen_port),
        "client": _with_defaults(NettyClientConfig, facts),
        "tls": _with_defaults(TlsConfig, facts),
        "facts": facts,
        "file": file,
        "warnings": [],
    }


def _with_defaults(settings_class: type, facts: HostFacts, **given: Any) -> Any:
    defaults = {key.attribute: key.default_on(facts) for key in keys_of(settings_class)}
    return settings_class(**(defaults | given))


def _fill(
    settings: Settings, overrides: Mapping[str, str], environ: Mapping[str, str], foreign: frozenset[str]
) -> None:
    places = settings.places()
    given: dict[str, tuple[str, Source]] = {}
    for variable, name in _ENVIRONMENT.items():
        if environ.get(variable) and name in places:
            given[name] = environ[variable], Source(f"environment variable {variable}")
    foreign_given = _read_file(settings, places, foreign, given)
    for name, text in overrides.items():
        given[name] = text, Source("command line")
    for name, (text, source) in given.items():
        for part, key in places[name]:
            _set(settings, part, key, text, source)
    if isinstance(settings, BrokerSettings):
        for name, (text, source) in foreign_given.items():
            reason = elsewhere.objection(name, text, settings.store)
            if reason:
                settings.warnings.append(f"{source}: {name} has no effect: {reason}")
    if settings.tls.mode is TlsMode.ENFORCING:
        raise ConfigError(f"{given['tls.server.mode'][1]}: tls.server.mode = enforcing: {USE_A_PROXY}")


def _read_file(
    settings: Settings,
    places: Mapping[str, list[tuple[Any, ConfigKey]]],
    foreign: frozenset[str],
    given: dict[str, tuple[str, Source]],
) -> dict[str, tuple[str, Source]]:
    """Adds the file's values to `given` by the keys' own names; returns those of keys read nowhere."""
    foreign_given: dict[str, tuple[str, Source]] = {}
    if settings.file is None:
        return foreign_given
    in_file: dict[str, int] = {}
    for entry in entries_of(settings.file):
        source = Source(str(settings.file), entry.first_line)
        if entry.key in foreign:
            foreign_given[entry.key] = entry.value, source
            continue
        if entry.key not in places:
            nearest = nearest_name(entry.key, places)
            advice = f"; did you mean {nearest!r}?" if nearest else ""
            settings.warnings.append(f"{source}: unknown key {entry.key!r} is ignored{advice}")
            continue
        for _, key in places[entry.key]:
            name = key.name
            if in_file.get(name, entry.first_line) != entry.first_line:
                settings.warnings.append(
                    f"{source}: {entry.key} is set again; line {in_file[name]} is ignored"
                )
            in_file[name] = entry.first_line
            given[name] = entry.value, source
    return foreign_given


def _set(settings: Settings, part: Any, key: ConfigKey, text: str, source: Source) -> None:
    value = parse_value(key, text, source)
    default = key.default_on(settings.facts)
    if value != default and key.refused:
        raise ConfigError(f"{source}: {key.name} = {text}: {key.refused}")
    if value != default and key.no_effect:
        warning = f"{source}: {key.name} has no effect: {key.no_effect}"
        if warning not in settings.warnings:
            settings.warnings.append(warning)
    setattr(part, key.attribute, value)


def _check_namesrv_addresses(broker: BrokerConfig) -> None:
    try:
        parse_addresses(broker.namesrv_addr)
    except ValueError:
        raise SettingsContradict(
            f"The Name Server Address[{broker.namesrv_addr}] illegal, please set it as follows, "
            '"127.0.0.1:9876;192.168.0.1:9876"'
        ) from None


def _check_failover(broker: BrokerConfig) -> None:
    if broker.auto_failover:
        parse_coordination(broker.auto_failover)
        if not 0 <= broker.broker_id < 1 << 32:
            raise SettingsContradict(f"with autoFailover a brokerId is below 2^32, not {broker.broker_id}")


def _check_role(settings: BrokerSettings) -> None:
    broker, role = settings.broker, settings.store.broker_role
    if role is BrokerRole.SLAVE:
        if broker.broker_id <= 0:
            raise SettingsContradict("Slave's brokerId must be > 0")
    elif broker.broker_id != 0:
        settings.warnings.append(
            f"brokerId = {broker.broker_id} is ignored: brokerRole = {role.value} always has brokerId 0"
        )
        broker.broker_id = 0
