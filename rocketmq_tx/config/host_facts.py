"""What configuration needs to know about the machine; collected above, since nothing here opens a socket."""

from __future__ import annotations

from collections.abc import Sequence

import attrs


@attrs.frozen
class HostFacts:
    """Facts that defaults depend on. The defaults of the facts are neutral, for tests."""

    host_name: str = ""
    #: What clients reach this machine by, when brokerIP1 is not set.
    local_address: str = "127.0.0.1"
    home: str = "."
    cpu_count: int = 2
    physical_memory_bytes: int = 8 << 30
    #: Files and connections that this process may have open.
    descriptors: int = 1024


def choose_local_address(addresses: Sequence[str]) -> str:
    """The address to advertise, chosen as Apache's RemotingUtil does among those of all interfaces.

    The first IPv4 address that is neither loopback nor 192.168.*, else the last IPv4 one, else the first
    IPv6 one (in brackets), else 127.0.0.1. The caller leaves loopback addresses out of IPv6 candidates.
    """
    v4 = [address for address in addresses if ":" not in address and not address.startswith("127.")]
    v6 = [address for address in addresses if ":" in address]
    wide = [address for address in v4 if not address.startswith("192.168.")]
    if wide:
        return wide[0]
    if v4:
        return v4[-1]
    return f"[{v6[0]}]" if v6 else "127.0.0.1"
