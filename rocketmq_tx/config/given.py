"""Values as they were given: where they stand, whether they can be read, what an unknown name meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from rocketmq_tx.config import properties_file
from rocketmq_tx.config.keys import ConfigKey
from rocketmq_tx.errors import ConfigError


class ConfigFileMissing(ConfigError):
    """The file that was asked for cannot be read."""


@attrs.frozen
class Source:
    """Where a value was given, for messages."""

    name: str
    line: int | None = None

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}, line {self.line}"


def entries_of(file: Path) -> list[properties_file.Entry]:
    """The entries of a file. Raises ConfigFileMissing or ConfigError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigFileMissing(f"{file}: {error.strerror}") from None
    try:
        return properties_file.entries(properties_file.decode(data)[0])
    except properties_file.MalformedEscape as error:
        raise ConfigError(f"{file}, line {error.line}: {error}") from None


def parse_value(key: ConfigKey, text: str, source: object) -> Any:
    """The value that a text stands for. Raises ConfigError naming source, key and what was expected."""
    try:
        return key.type.parse(text)
    except ValueError:
        raise ConfigError(f"{source}: {key.name} = {text!r}: expected {key.type.expected}") from None


def nearest_name(name: str, names: Mapping[str, object]) -> str | None:
    """The known name that an unknown one was probably meant to be."""
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return by_lower[close[0]] if close else None
