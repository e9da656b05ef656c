"""Prints settings: all of them, the important ones, and the dump that GET_BROKER_CONFIG answers with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rocketmq_tx.config.keys import APACHE, ConfigKey, keys_of
from rocketmq_tx.config.print_order import PLACE
from rocketmq_tx.config.settings import Settings
from rocketmq_tx.config.tls import TlsConfig

_HIDDEN = "(hidden)"


def all_lines(settings: Settings) -> list[str]:
    """One `key=value` line per key: first Apache's in its order, then those that it does not print.

    A key that two parts share is printed by each, one that is not set with an empty value, as Apache does.
    """
    return [f"{key.name}={_shown(part, key)}" for part, key in _ordered(settings)]


def important_lines(settings: Settings) -> list[str]:
    """As `all_lines`, the important keys only."""
    return [f"{key.name}={_shown(part, key)}" for part, key in _ordered(settings) if key.important]


def dump(settings: Settings) -> str:
    """The body of GET_BROKER_CONFIG and GET_NAMESRV_CONFIG: each key once, those that are not set left out.

    Where keys and certificates lie is not told to remote callers.
    """
    values: dict[str, str] = {}
    for part, key in _ordered(settings):
        if not isinstance(part, TlsConfig) and getattr(part, key.attribute) is not None:
            values[key.name] = _shown(part, key)
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _ordered(settings: Settings) -> Iterator[tuple[Any, ConfigKey]]:
    for part in settings.parts:
        apaches = [key for key in keys_of(type(part)) if key.origin is APACHE]
        for key in sorted(apaches, key=lambda key: PLACE.get(key.name, 0)):
            yield part, key
    yield from (pair for pair in settings.declared() if pair[1].origin is not APACHE)


def _shown(part: Any, key: ConfigKey) -> str:
    value = getattr(part, key.attribute)
    return _HIDDEN if key.secret and value is not None else key.type.show(value)
