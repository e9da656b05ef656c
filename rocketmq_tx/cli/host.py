"""Collects the facts about this machine that defaults depend on: its name, addresses, home, size."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from rocketmq_tx.config.host_facts import HostFacts, choose_local_address

# Documentation addresses (RFC 5737, RFC 3849): connecting a datagram socket sends nothing, it only asks
# the routing table which address of ours would be used.
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))

_SIOCGIFADDR = 0x8915


def collect_host_facts() -> HostFacts:
    """The facts of this machine."""
    return HostFacts(
        host_name=socket.gethostname(),
        local_address=choose_local_address(local_addresses()),
        home=str(home_folder()),
        cpu_count=os.cpu_count() or 1,
        physical_memory_bytes=_physical_memory_bytes(),
        descriptors=_descriptors(),
    )


def home_folder() -> Path:
    """Of this user; `/`, as in containers, for one whom neither HOME nor a table of users knows."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def local_addresses() -> list[str]:
    """Addresses of this machine without IPv6 ones that only work here: of interfaces, then of routes."""
    found: dict[str, None] = {}
    for source in (_interface_addresses, _routed_addresses, _resolved_addresses):
        for address in _attempt(source):
            if not _is_local_v6(address):
                found.setdefault(address)
    return list(found)


def _attempt(source: Callable[[], list[str]]) -> list[str]:
    try:
        return source()
    except OSError:  # no network, no resolver, no such call: another source may know
        return []


def _is_local_v6(address: str) -> bool:
    return address == "::1" or address.lower().startswith("fe80:")


def _interface_addresses() -> list[str]:
    if not sys.platform.startswith("linux"):
        return []
    import fcntl  # noqa: PLC0415  (not on every platform)

    addresses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asker, _SIOCGIFADDR, name.encode()[:15].ljust(256, b"\0"))
            except OSError:  # an interface without an IPv4 address
                continue
            addresses.append(socket.inet_ntoa(answer[20:24]))
    return addresses


def _routed_addresses() -> list[str]:
    addresses = []
    for family, far_away in _FAR_AWAY:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asker:
                asker.connect((far_away, 9))
                addresses.append(str(asker.getsockname()[0]))
        except OSError:  # no route of this family
            continue
    return addresses


def _resolved_addresses() -> list[str]:
    # Only where nothing else is left: a resolver may take seconds to say that it does not know.
    if sys.platform.startswith("linux"):
        return []
    return [str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(socket.gethostname(), None)]


def _physical_memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not told on this platform
        return HostFacts().physical_memory_bytes


def _descriptors() -> int:
    try:
        import resource  # noqa: PLC0415  (not on every platform)
    except ImportError:
        return HostFacts().descriptors
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
