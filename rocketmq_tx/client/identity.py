"""Who this client is: its id among the members of a group, and the ids of its messages."""

from __future__ import annotations

import itertools
import os
import socket
import time

import attrs

from rocketmq_tx.protocol.message_ids import UniqueIdSource

#: Nothing is sent there (RFC 5737): the routing table is asked which address of ours would be used.
_FAR_AWAY = ("192.0.2.1", 9)
_instances = itertools.count()


@attrs.frozen
class Identity:
    """`client_id` is `ip@pid#number`, different for each client; message ids are distinct in the process."""

    client_id: str
    unique_ids: UniqueIdSource


def local_ip() -> str:
    """The address by which others see this machine; loopback where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            asker.connect(_FAR_AWAY)
        except OSError:
            return "127.0.0.1"
        return str(asker.getsockname()[0])


def new_identity() -> Identity:
    """For one producer or consumer of this process."""
    ip, pid = local_ip(), os.getpid()
    number = time.time_ns() + next(_instances)
    return Identity(f"{ip}@{pid}#{number}", UniqueIdSource(ip, pid, number & 0xFFFFFFFF))
