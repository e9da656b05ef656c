"""Serves COMPARE_LOG, for slaves of this project: what log is here, and the digest of a stretch of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rocketmq_tx.errors import RequestRefused, StoreError, WouldBlock
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import CompareLogRequestHeader, CompareLogResponseHeader
from rocketmq_tx.remoting.registry import Reply, serves
from rocketmq_tx.replication.sending import Log
from rocketmq_tx.runtime.threads import OffReactor
from rocketmq_tx.store.recovery import Damage

if TYPE_CHECKING:
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer

COMPARED_MAX_BYTES = 65536
"""Of one request; a slave asks for less."""
DAMAGE_MAX = 50
"""So many damaged stretches are told of."""
_COLD_READS_MAX = 3


def digest_of(data: bytes) -> str:
    """How two brokers compare bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def log_stretch(store: Log, start: int, end: int, may_block: bool = True) -> bytes | None:
    """The log's bytes between two offsets; None when it does not have all of them. WouldBlock, StoreError."""
    if not store.min_offset <= start <= end <= store.written_to:
        return None
    parts = []
    while start < end:
        parts.append(store.log_bytes(start, end - start, may_block))
        start += len(parts[-1])
    return b"".join(parts)


def damage_text(damage: Sequence[Damage]) -> str:
    """How a header names stretches: `offset+size`, separated by commas."""
    return ",".join(f"{each.offset}+{each.size}" for each in damage[:DAMAGE_MAX])


def damage_from(text: str | None) -> list[Damage]:
    """The stretches that a header names. ValueError."""
    parts = (each.partition("+") for each in (text or "").split(",") if each)
    return [Damage(int(offset), int(size)) for offset, _, size in parts]


class DigestedLog(Log, Protocol):
    """What is needed of `store.message_store.MessageStore`."""

    @property
    def damage(self) -> Sequence[Damage]: ...


class LogDigests:
    """Reads without holding up anybody: what is not in memory is warmed in a thread.

    `asked_by` hears of each connection that asks: only slaves do.
    """

    def __init__(
        self,
        store: DigestedLog,
        off_reactor: OffReactor,
        asked_by: Callable[[Peer], object] = lambda peer: None,
    ) -> None:
        self._store = store
        self._off_reactor = off_reactor
        self._asked_by = asked_by

    @serves(RequestCode.COMPARE_LOG)
    async def compare(self, peer: Peer, frame: Frame, header: CompareLogRequestHeader) -> Reply:
        self._asked_by(peer)
        start, end = header.from_offset, header.to_offset
        if not 0 <= end - start <= COMPARED_MAX_BYTES:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR,
                f"from {start} to {end} are not 0 to {COMPARED_MAX_BYTES} bytes of a log",
            )
        data = await self._read(start, end)
        store = self._store
        answer = CompareLogResponseHeader(
            min_offset=store.min_offset,
            max_offset=store.written_to,
            file_bytes=store.segment_size,
            digest=None if data is None else digest_of(data),
            damage=damage_text(store.damage) or None,
        )
        return Reply(header=answer)

    async def _read(self, start: int, end: int) -> bytes | None:
        try:
            for _ in range(_COLD_READS_MAX):
                try:
                    return log_stretch(self._store, start, end, may_block=False)
                except WouldBlock as cold:
                    warming: Any = self._off_reactor(self._store.warm, cold)
                    await warming
            return log_stretch(self._store, start, end)
        except StoreError as error:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, f"the log cannot be read: {error}") from error
