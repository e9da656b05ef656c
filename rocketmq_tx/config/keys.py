"""How a configuration key is declared: `key(...)` carries everything about it, `settings` makes the class.

    class Flushing(Keys):
        __slots__ = ()
        sync_flush_timeout: int = key("syncFlushTimeout", 5000, "After so long ...", unit="ms", low=1)

    @settings
    class MessageStoreConfig(Flushing, StoreReading):
        max_message_size: int = key("maxMessageSize", 4194304, "Longest body of a message.", unit="bytes")

The parser, the print-outs, the dump for GET_BROKER_CONFIG, the permission to change a key at run time and
docs/configuration.md all walk over these declarations, so a key is written down once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.values import ValueType, WholeNumber, value_type_of

_Settings = TypeVar("_Settings", bound="Keys")

# Units in which a negative number makes no sense.
_UNSIGNED_UNITS = frozenset({"ms", "s", "bytes", "hours", "percent", "bits", "4 KiB pages"})


class Runtime(enum.Enum):
    """May a key change while the daemon runs?"""

    LIVE = "yes"
    RESTART = "no, at a start only"


class Origin(enum.Enum):
    """Who knows a key under this name."""

    APACHE = "Apache 4.9.7, in its print-outs"
    PROPERTY = "Apache 4.9.7, as a system property"
    OURS = "ours"


LIVE, RESTART = Runtime.LIVE, Runtime.RESTART
APACHE, PROPERTY, OURS = Origin.APACHE, Origin.PROPERTY, Origin.OURS


class ConfigKey(NamedTuple):
    """Everything about one key. `name` is what files and requests say, `attribute` what Python says."""

    name: str
    attribute: str
    type: ValueType
    default: Any
    doc: str
    unit: str | None
    important: bool
    runtime: Runtime
    aliases: tuple[str, ...]
    origin: Origin
    #: Why the key does nothing here; None when it does something.
    no_effect: str | None
    #: Why a value other than the default refuses the start, and what to do instead; None when it does not.
    refused: str | None
    #: Computes the default where it depends on the machine.
    from_host: Callable[[HostFacts], Any] | None
    #: The default in words, where it depends on the machine.
    default_text: str | None
    #: Never printed.
    secret: bool

    @property
    def changeable(self) -> bool:
        """May a request change it while the daemon runs?"""
        return self.runtime is LIVE and self.no_effect is None and self.refused is None

    def default_on(self, facts: HostFacts) -> Any:
        return self.default if self.from_host is None else self.from_host(facts)


def key(
    name: str,
    default: Any,
    doc: str,
    *,
    type: ValueType | None = None,
    low: int | None = None,
    high: int | None = None,
    long: bool = False,
    unit: str | None = None,
    important: bool = False,
    runtime: Runtime = RESTART,
    aliases: tuple[str, ...] = (),
    origin: Origin = APACHE,
    no_effect: str | None = None,
    refused: str | None = None,
    from_host: Callable[[HostFacts], Any] | None = None,
    default_text: str | None = None,
    secret: bool = False,
) -> Any:
    """Declares a key. The type follows from the default unless it is given."""
    if type is None:
        type = value_type_of(default)
        if isinstance(type, WholeNumber):
            if low is None and unit in _UNSIGNED_UNITS:
                low = 0
            type = WholeNumber(low, high, long)
    return ConfigKey(
        name=name,
        attribute="",
        type=type,
        default=default,
        doc=doc,
        unit=unit,
        important=important,
        runtime=runtime,
        aliases=aliases,
        origin=origin,
        no_effect=no_effect,
        refused=refused,
        from_host=from_host,
        default_text=default_text,
        secret=secret,
    )


class Keys:
    """An attribute for each key. Keys of one subject have a class of their own, which settings inherit."""

    __slots__ = ()

    #: Every key: those of the bases, then the class's own, as they are declared.
    KEYS: ClassVar[tuple[ConfigKey, ...]] = ()

    def __init__(self, **given: Any) -> None:
        """Takes values by attribute; what is not given has its default."""
        for key in self.KEYS:
            setattr(self, key.attribute, given.pop(key.attribute, key.default))
        if given:
            raise TypeError(f"{type(self).__name__} has no {', '.join(given)}")


def settings(cls: type[_Settings]) -> type[_Settings]:
    """Makes a class of keys one of settings: with slots, so that no other name can be set by mistake."""
    keys = [
        value._replace(attribute=name)
        for part in (*cls.__bases__, cls)
        for name, value in vars(part).items()
        if isinstance(value, ConfigKey)
    ]
    attributes = [key.attribute for key in keys]
    left_out = {*attributes, "__dict__", "__weakref__"}
    namespace = {name: value for name, value in vars(cls).items() if name not in left_out}
    namespace |= {"__slots__": tuple(attributes), "KEYS": tuple(keys)}
    made: type[_Settings] = type(cls.__name__, cls.__bases__, namespace)
    return made


def keys_of(settings_class: type[Keys]) -> tuple[ConfigKey, ...]:
    """The keys of a settings class, those of one subject after those of another."""
    return settings_class.KEYS
