"""Addresses as text: host:port, with IPv6 addresses in brackets."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.%\w-]+\]|[^\s:\[\]]+):(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9876` or `[::1]:9876`, the host without brackets. Raises ValueError."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is no address such as 127.0.0.1:9876 or [::1]:9876")
    return match["host"].strip("[]"), int(match["port"])


def parse_addresses(text: str | None) -> list[tuple[str, int]]:
    """Addresses joined by semicolons or commas, in order and without empty ones. Raises ValueError."""
    return [parse_address(part) for part in split_addresses(text)]


def split_addresses(text: str | None) -> list[str]:
    """The same as they are written. Apache knows the semicolon only."""
    return [part.strip() for part in (text or "").replace(",", ";").split(";") if part.strip()]


def format_address(host: str, port: int) -> str:
    """`127.0.0.1:9876` or `[::1]:9876`; a host that has its brackets already keeps them."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
