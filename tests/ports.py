"""Free loopback ports for servers that need several at stated distances."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable

#: Below the range from which the system takes ports of outgoing connections, so that those do not collide.
LOWEST, HIGHEST = 12_000, 21_000

#: Distances that a broker uses: VIP alias, Apache's HA port, our HA port.
BROKER_OFFSETS = (-2, 0, 1, 10_000)

_random = random.Random(os.getpid())
_handed_out: set[int] = set()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers bind: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def free_port(offsets: Iterable[int] = (0,)) -> int:
    """A port P such that every P + offset is free now and was not handed out before in this process."""
    offsets = tuple(offsets)
    for _ in range(1000):
        port = _random.randrange(LOWEST, HIGHEST)
        wanted = {port + offset for offset in offsets}
        if not wanted & _handed_out and all(is_free(one) for one in wanted):
            _handed_out.update(wanted)
            return port
    raise AssertionError(f"no free port with the distances {offsets} between {LOWEST} and {HIGHEST}")


def free_broker_port() -> int:
    return free_port(BROKER_OFFSETS)
