"""Before a broker follows a master of a newer epoch: what the master's log has not is kept aside and cut.

So a former master becomes a slave again. With a master of Apache's, and as long as no slave was ever
promoted, nothing of this happens: logs that differ are left alone (`replication.log_comparison`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import RemotingError, ReplicationStopped
from rocketmq_tx.failover.epochs import EpochHistory, common_end, may_follow
from rocketmq_tx.failover.state import BrokerState, Caller, ask_state
from rocketmq_tx.store.tail_cut import KeptTail


class Comparison(Protocol):
    """What is needed of `replication.log_comparison.LogComparison`."""

    async def begin(self, master: str) -> int: ...

    async def common_to(self, master: str, end: int) -> int: ...


class OwnLog(Protocol):
    """What is needed of `store.message_store.MessageStore`."""

    @property
    def min_offset(self) -> int: ...

    @property
    def written_to(self) -> int: ...

    def record_boundary(self, offset: int) -> int: ...


class Standing(Protocol):
    """What is needed of `broker.role_change.RoleChange`."""

    @property
    def history(self) -> EpochHistory: ...

    def adopt(self, history: EpochHistory, master_role: BrokerRole) -> None: ...


class Reconciliation:
    """Stands before the comparison of logs. `cut(name, offset)` keeps the log's end in a file, then cuts it.

    `after_cut` forgets what others know of that end: called before each newer epoch is taken over, since a
    crash may have come between both. `told` hears what the master says of itself, None for one of Apache's.
    """

    _log = Logger()

    def __init__(
        self,
        comparison: Comparison,
        caller: Caller,
        store: OwnLog,
        standing: Standing,
        cut: Callable[[str, int], Awaitable[KeptTail] | Deferred[KeptTail]],
        after_cut: Callable[[], object],
        told: Callable[[BrokerState | None], object],
    ) -> None:
        self._comparison = comparison
        self._caller = caller
        self._store = store
        self._standing = standing
        self._cut = cut
        self._after_cut = after_cut
        self._told = told

    async def begin(self, master: str) -> int:
        """Where the stream has to begin. RemotingError for later, ReplicationStopped for an operator."""
        state = await ask_state(self._caller, master)
        if state is not None and (state.history.number or self._standing.history.number):
            await self._reconcile(master, state)
        begin = await self._comparison.begin(master)
        self._told(state)  # not before: what it says counts for a log that is the beginning of its own
        return begin

    async def _reconcile(self, master: str, state: BrokerState) -> None:
        mine, theirs = self._standing.history, state.history
        if not state.role.is_master:
            raise RemotingError(f"{master} is no master, but {state.role.value}")
        if not may_follow(mine, theirs):
            raise ReplicationStopped(
                f"the master {master} is of epoch {theirs.number} (since offset "
                f"{theirs.newest.start_offset}), this log has been written up to epoch {mine.number} (since "
                f"{mine.newest.start_offset}): there are two masters, or it was set back. Nothing is copied"
            )
        if theirs.number > mine.number:
            await self._cut_what_differs(master, state)
            self._after_cut()
        if theirs != mine:
            self._standing.adopt(theirs, state.master_role)

    async def _cut_what_differs(self, master: str, state: BrokerState) -> None:
        store, mine = self._store, self._standing.history
        end = store.written_to
        shared = common_end(mine, end, state.history, state.max_offset).offset
        if shared < store.min_offset:
            raise ReplicationStopped(
                f"what this log has in common with that of its master {master} ends at {shared}, and it "
                f"begins at {store.min_offset}: set its store directory aside, and it copies the master anew"
            )
        offset = store.record_boundary(await self._comparison.common_to(master, shared))
        if offset == end:
            return
        epoch = mine.epoch_at(offset)
        kept = await self._cut(f"epoch-{epoch}-from-{offset}.log", offset)
        self._log.warn(
            "the end of the log is not in that of the new master, and was cut off: master={master}"
            " from={start} to={end} bytes={bytes} messages={messages} epoch={epoch} kept_in={path}",
            master=master,
            start=kept.offset,
            end=kept.end,
            bytes=kept.end - kept.offset,
            messages=kept.records,
            epoch=epoch,
            path=kept.path,
        )
