"""Changes while a daemon runs: UPDATE_BROKER_CONFIG and UPDATE_NAMESRV_CONFIG.

Only keys that are marked changeable at run time, all of a request or none of it. Nothing here writes:
the caller gets the new content of the file, comments kept, and writes it before it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from rocketmq_tx.config import properties_file
from rocketmq_tx.config.given import nearest_name, parse_value
from rocketmq_tx.config.keys import ConfigKey
from rocketmq_tx.config.settings import Settings
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import ConfigError, RequestRefused

_SYSTEM_ERROR = 1
_NO_PERMISSION = 16

_LONGEST_TEXT = 1000

# Apache's NameServer refuses these by name, whatever their value.
_NAMESRV_PATHS = ("kvConfigPath", "configStorePath")


@attrs.frozen
class Update:
    """What a request changes. `apply` makes it so; until then nothing has happened."""

    #: Key -> new value as text; values that are set already are left out.
    changed: Mapping[str, str]
    #: New content of the file; equal to the old one when nothing changed.
    file_data: bytes
    _assignments: tuple[tuple[Any, str, Any], ...]

    def apply(self) -> None:
        for part, attribute, value in self._assignments:
            setattr(part, attribute, value)


def prepare_update(settings: Settings, body: bytes, file_data: bytes = b"") -> Update:
    """Checks a request's body, properties text, and says what it changes.

    `file_data` is the present content of `settings.update_file`. Raises RequestRefused: code 16 for keys
    that may not be changed, 1 for text that cannot be read or values that make no sense.
    """
    wanted = _parse(body)
    places = settings.places()
    assignments: list[tuple[Any, str, Any]] = []
    changed: dict[str, str] = {}
    refusals: list[str] = []
    for name, text in wanted.items():
        if name in _NAMESRV_PATHS and name in places:
            raise RequestRefused(_NO_PERMISSION, "Can not update config path")
        if name not in places:
            refusals.append(_unknown(name, places))
            continue
        for part, key in places[name]:
            try:
                value = parse_value(key, text, "request")
            except ConfigError as error:
                raise RequestRefused(_SYSTEM_ERROR, str(error)) from None
            if isinstance(value, str) and (len(value) > _LONGEST_TEXT or not value.isprintable()):
                what = f"at most {_LONGEST_TEXT} printable characters"
                raise RequestRefused(_SYSTEM_ERROR, f"request: {name}: expected {what}")
            present = getattr(part, key.attribute)
            if value == present:
                continue
            refusal = _refusal(key, present, value)
            if refusal:
                refusals.append(refusal)
            assignments.append((part, key.attribute, value))
            changed[key.name] = key.type.show(value)
    if refusals:
        raise RequestRefused(_NO_PERMISSION, "; ".join(dict.fromkeys(refusals)))
    text, encoding = properties_file.decode(file_data)
    if changed:
        aliases = {name: held[0][1].name for name, held in places.items()}
        file_data = _encode(properties_file.rewrite(text, changed, aliases), encoding)
    return Update(changed, file_data, tuple(assignments))


def apply_update(settings: Settings, body: bytes, file_data: bytes = b"") -> Update:
    """`prepare_update` and `apply` in one, for callers that keep no file."""
    update = prepare_update(settings, body, file_data)
    update.apply()
    return update


def _parse(body: bytes) -> dict[str, str]:
    try:
        found = properties_file.entries(body.decode("utf-8"))
    except ValueError:
        raise RequestRefused(_SYSTEM_ERROR, "string2Properties error") from None
    return {entry.key: entry.value for entry in found}


def _encode(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode("utf-8")


def _unknown(name: str, places: Mapping[str, object]) -> str:
    nearest = nearest_name(name, places)
    return f"{name} is not a known key" + (f", did you mean {nearest}?" if nearest else "")


def _refusal(key: ConfigKey, present: Any, value: Any) -> str | None:
    if key.no_effect:
        return f"{key.name} has no effect: {key.no_effect}"
    if not key.changeable:
        return f"{key.name} cannot be changed while running: set it in the configuration file and restart"
    if isinstance(value, BrokerRole) and BrokerRole.SLAVE in (present, value):
        return f"{key.name} cannot change from {present.value} to {value.value} while running"
    return None
