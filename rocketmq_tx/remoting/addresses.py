"""Addresses as people and RocketMQ write them: `host:port`, and `[::1]:port` for IPv6."""

from __future__ import annotations

import ipaddress

from rocketmq_tx.errors import ConnectFailed

_MAPPED = "::ffff:"


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9876`, `name:9876`, `[::1]:9876` or `::1:9876` as (host, port); ConnectFailed if neither."""
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConnectFailed(f"{text!r} is no address: expected host:port, such as 127.0.0.1:9876")
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """The inverse of `parse_address`; only IPv6 addresses get brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_ipv6(host: str) -> bool:
    """Whether a host is an IPv6 address, with or without a scope (`fe80::1%eth0`)."""
    return ":" in host


def is_ip(host: str) -> bool:
    """Whether a host needs no name look-up."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def plain_host(host: str) -> str:
    """A peer's host as records and remarks show it: an IPv4 peer of an IPv6 socket is an IPv4 peer."""
    host = host.partition("%")[0]
    if host.lower().startswith(_MAPPED) and "." in host:
        return host[len(_MAPPED) :]
    return host
