"""What a configuration value may look like: each type reads text, prints itself and says what it expects."""

from __future__ import annotations

import enum
import functools
import re
from typing import Any

INT_RANGE = (-(2**31), 2**31 - 1)
LONG_RANGE = (-(2**63), 2**63 - 1)

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")
_DELAY_LEVEL = re.compile(r"([0-9]{1,9})([smhd])")
_HOST = re.compile(r"[0-9A-Za-z_.:%\[\]-]+")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class BrokerRole(enum.Enum):
    """What a broker is within its master/slave set."""

    ASYNC_MASTER = "ASYNC_MASTER"
    SYNC_MASTER = "SYNC_MASTER"
    SLAVE = "SLAVE"

    @property
    def is_master(self) -> bool:
        return self is not BrokerRole.SLAVE


class FlushDiskType(enum.Enum):
    """When a send is answered: after the write, or after the write is on disk."""

    ASYNC_FLUSH = "ASYNC_FLUSH"
    SYNC_FLUSH = "SYNC_FLUSH"


class SerializeType(enum.Enum):
    """How headers of our own requests are written."""

    JSON = "JSON"
    ROCKETMQ = "ROCKETMQ"


class TlsMode(enum.Enum):
    """Whether connections that start with a TLS handshake are wanted, allowed or refused."""

    DISABLED = "disabled"
    PERMISSIVE = "permissive"
    ENFORCING = "enforcing"


class ValueType:
    """A type of value. `parse` raises ValueError; `expected` completes the sentence "expected ..."."""

    name = "String"
    expected = "text"

    def parse(self, text: str) -> Any:
        return text

    def show(self, value: Any) -> str:
        return "" if value is None else str(value)


class Text(ValueType):
    """Any text; a nullable one reads an empty value as "not set"."""

    def __init__(self, nullable: bool = False) -> None:
        self.nullable = nullable

    def parse(self, text: str) -> str | None:
        return None if self.nullable and not text else text


class Host(Text):
    """A host name or an IP address, without a port."""

    expected = "a host name or an IP address without a port, such as 192.0.2.10 or [2001:db8::1]"

    def parse(self, text: str) -> str | None:
        if self.nullable and not text:
            return None
        if not _HOST.fullmatch(text):
            raise ValueError(text)
        if text.count(":") == 1 or text.startswith("[") != text.endswith("]"):
            raise ValueError(text)
        return text


class Name(ValueType):
    """The name of a broker, a cluster or a topic: not empty, no blanks."""

    expected = "a name without blanks"

    def parse(self, text: str) -> str:
        if not text or any(character.isspace() for character in text):
            raise ValueError(text)
        return text


class Boolean(ValueType):
    """true or false in any case, nothing else."""

    name = "boolean"
    expected = "true or false"

    def parse(self, text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"

    def show(self, value: Any) -> str:
        return "true" if value else "false"


class WholeNumber(ValueType):
    """A whole number between two bounds, Java's int or long."""

    def __init__(
        self, low: int | None = None, high: int | None = None, long: bool = False, nullable: bool = False
    ) -> None:
        range_low, range_high = LONG_RANGE if long else INT_RANGE
        self.name = "long" if long else "int"
        self.low = range_low if low is None else low
        self.high = range_high if high is None else high
        self.nullable = nullable
        bounded_above = self.high != range_high
        if low is None and not bounded_above:
            self.expected = f"a whole number of {64 if long else 32} bits"
        elif bounded_above:
            self.expected = f"a whole number from {self.low} to {self.high}"
        else:
            self.expected = f"a whole number of at least {self.low}"

    def parse(self, text: str) -> int | None:
        if self.nullable and not text:
            return None
        if not _WHOLE_NUMBER.fullmatch(text):
            raise ValueError(text)
        number = int(text)
        if not self.low <= number <= self.high:
            raise ValueError(text)
        return number


class Choice(ValueType):
    """One name of an enumeration, written exactly."""

    def __init__(self, choices: type[enum.Enum]) -> None:
        self.name = choices.__name__
        self.choices = choices
        *first, last = [choice.value for choice in choices]
        self.expected = f"{', '.join(first)} or {last}"

    def parse(self, text: str) -> enum.Enum:
        return self.choices(text)

    def show(self, value: Any) -> str:
        return str(value.value)


class DelayLevels(ValueType):
    """Delay levels: a number and s, m, h or d each, joined by blanks."""

    expected = "delays joined by blanks, each a number and s, m, h or d, such as 1s 10s 5m 2h"

    def parse(self, text: str) -> str:
        if not text.split():
            raise ValueError(text)
        delay_levels_ms(text)
        return text


class Hours(ValueType):
    """Hours of the day, joined by semicolons."""

    expected = "hours of the day from 00 to 23 joined by semicolons, such as 04 or 03;15"

    def parse(self, text: str) -> str:
        hours_of_day(text)
        return text


class NamesrvAddresses(Text):
    """Name servers joined by semicolons. The syntax is checked with Apache's own text, see `settings`."""

    expected = 'addresses joined by semicolons, such as "127.0.0.1:9876;192.168.0.1:9876"'

    def __init__(self) -> None:
        super().__init__(nullable=True)


@functools.lru_cache(maxsize=16)
def delay_levels_ms(text: str) -> tuple[int, ...]:
    """The delays of a `messageDelayLevel` text in order, in ms; ValueError when one cannot be read."""
    matches = [_DELAY_LEVEL.fullmatch(word) or _no(word) for word in text.split()]
    return tuple(int(match[1]) * _UNIT_MS[match[2]] for match in matches)


def hours_of_day(text: str) -> frozenset[int]:
    """The hours of a `deleteWhen` text; ValueError when one is not an hour."""
    hours = [WholeNumber(0, 23).parse(word.strip()) for word in text.split(";") if word.strip()]
    if not hours:
        raise ValueError(text)
    return frozenset(hour for hour in hours if hour is not None)


def _no(text: str) -> Any:
    raise ValueError(text)


def value_type_of(default: Any) -> ValueType:
    """The type that a default value suggests."""
    if isinstance(default, bool):
        return Boolean()
    if isinstance(default, int):
        return WholeNumber()
    if isinstance(default, enum.Enum):
        return Choice(type(default))
    return Text(nullable=default is None)
