"""Reading what may not be in memory: the bytes are fetched in a thread, then the reactor asks again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from rocketmq_tx.errors import IndexNotReady, StoreError, WouldBlock

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from rocketmq_tx.runtime.threads import OffReactor
    from rocketmq_tx.store.stored_messages import StoredMessages

T = TypeVar("T")

COLD_READS_MAX = 3
"""Bytes that were evicted again so often are read in the reactor's turn: work must get on."""


class WarmReads:
    """Reads of a store that never keep the reactor waiting for a disk, but for one in a hurry.

    Those of the index need `index_ready`, which waits until what a crash has left of it is done.
    """

    def __init__(
        self,
        store: StoredMessages,
        off_reactor: OffReactor,
        index_ready: Callable[[], Deferred[None]] | None = None,
    ) -> None:
        self._store = store
        self._off_reactor = off_reactor
        self._index_ready = index_ready

    def warm(self, cold: Iterable[WouldBlock]) -> Deferred[None]:
        """Brings these bytes into memory, in one thread, one after the other.

        StoreError when some cannot be read, after all the others.
        """
        return self._off_reactor(self._warm_all, tuple(cold))

    def turn(self) -> Deferred[None]:
        """Fires after others had their turn."""
        return self._off_reactor(self._warm_all, ())

    def _warm_all(self, cold: tuple[WouldBlock, ...]) -> None:
        problem: StoreError | None = None
        for error in cold:
            try:
                self._store.warm(error)
            except StoreError as unreadable:
                problem = unreadable
        if problem is not None:
            raise problem

    async def read(self, call: Callable[[bool], T], rounds: int = COLD_READS_MAX) -> T:
        """What `call(may_block)` returns once it does not raise WouldBlock, `rounds` times at most.

        Bytes that cannot be read are left to `call`, which may well do without them. IndexNotReady when the
        index that it needs is not ready in time.
        """
        for _ in range(rounds):
            try:
                return call(False)
            except IndexNotReady:
                if self._index_ready is None:
                    raise
                await self._index_ready()
                continue
            except WouldBlock as error:
                cold = error
            try:
                await self.warm([cold])
            except StoreError:
                break
        return call(True)
