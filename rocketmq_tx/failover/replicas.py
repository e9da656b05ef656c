"""The members that must have a message before it is acknowledged, as senders and readers meet them.

With `autoFailover` a sender waits until all that are in sync have its message; what consumers are shown ends
there as well, so that nobody has seen what a change of the master takes away. Rules: `in_sync.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import FlushTimeout, FrameError
from rocketmq_tx.failover.in_sync import InSyncSet, Limits, Progress
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.ha_frames import Greeting
from rocketmq_tx.replication.slaves import Slaves
from rocketmq_tx.runtime.watermark import Watermark

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


class Log(Protocol):
    """What is needed of `store.message_store.MessageStore`."""

    @property
    def written_to(self) -> int: ...


class InSyncReplicas:
    """Of the member `me`. Leads after `lead`, until `resign`; a slave between the two.

    `visible_to` is up to where consumers are shown the log; `observers` hear of its growth. `changed` is
    called when the set may have to change: ask `proposal` then.
    """

    def __init__(
        self, me: int, config: MessageStoreConfig, slaves: Slaves, log: Log, reactor: IReactorTime
    ) -> None:
        self.me = me
        self.epoch: int | None = None
        """The epoch that this broker leads."""
        self.visible_to = 0
        self.observers: list[Callable[[int], object]] = []
        self.changed: Callable[[], object] = lambda: None
        self._config = config
        self._slaves = slaves
        self._log = log
        self._reactor = reactor
        self._set = InSyncSet(me)
        self._members: dict[int, Progress] = {}
        self._acknowledged = Watermark(reactor, name="replicated")
        slaves.changed = self._slaves_changed

    # -- the role ------------------------------------------------------------------------------------------

    def lead(self, epoch: int) -> None:
        """Master of this epoch, in sync by itself alone: all of its log counts as acknowledged."""
        self.epoch = epoch
        self._set = InSyncSet(self.me)
        self._members = {}
        self._acknowledged = Watermark(self._reactor, name="replicated")
        self._advance()
        self._slaves_changed()

    def resign(self) -> None:
        """Not master any more: nobody who waits is ever told that his message was acknowledged."""
        self.epoch = None
        self._members = {}
        self._acknowledged.fail_all(FlushTimeout("this broker is not master any more"))

    def caught_up(self, timeout_s: float) -> Deferred[None]:
        """Fires when all of the log is acknowledged, or the time is up."""
        return self._acknowledged.wait(self._log.written_to, timeout_s).addErrback(_trap_late)

    @property
    def in_sync(self) -> frozenset[int]:
        """The set that the coordination service is known to hold, while this broker leads."""
        return self._set.confirmed

    @property
    def is_complete(self) -> bool:
        """Whether a member that can be elected acknowledges, and none whom senders wait for is missing."""
        return self.epoch is not None and self._set.is_complete(self._members)

    # -- for the slaves' connections -------------------------------------------------------------------------

    def admit(self, greeting: Greeting) -> None:
        """FrameError for a slave of another epoch: what it has says nothing about this one's log."""
        if greeting.epoch != self.epoch:
            leads = "leads no epoch now" if self.epoch is None else f"leads epoch {self.epoch}"
            self.changed()
            raise FrameError(
                f"brokerId {greeting.member} greets a master of epoch {greeting.epoch}, and this one {leads}"
            )
        if greeting.member == self.me:
            raise FrameError(f"a slave says that it is brokerId {self.me}, which this broker is")

    def _slaves_changed(self) -> None:
        if self.epoch is None:
            return
        now_ms, log_end = self._now_ms(), self._log.written_to
        members = {}
        for slave in self._slaves:
            greeting, reached = slave.greeting, slave.acknowledged
            if greeting is None or greeting.epoch != self.epoch or reached is None:
                continue
            progress = self._members.get(greeting.member) or Progress(reached, log_end, now_ms)
            progress.note(reached, log_end, now_ms)
            members[greeting.member] = progress
        came_or_went = members.keys() != self._members.keys()
        self._members = members
        self._advance()
        if came_or_went or self._set.required != self._set.confirmed:
            self.look()

    # -- for senders -----------------------------------------------------------------------------------------

    def log_grew(self) -> None:
        """Something was appended here."""
        if self.epoch is not None:
            self._advance()

    def acknowledged(self, offset: int) -> Deferred[ResponseCode]:
        """SUCCESS when all in sync have the log up to `offset`; FLUSH_SLAVE_TIMEOUT after slaveTimeout.

        A SYNC_MASTER that is in sync by itself alone says SLAVE_NOT_AVAILABLE.
        """
        if self.epoch is None:
            return succeed(ResponseCode.FLUSH_SLAVE_TIMEOUT)
        waiting = self._acknowledged.wait(offset, self._config.slave_timeout / 1000)
        return waiting.addCallbacks(self._status, _not_in_time)

    def _status(self, _: object) -> ResponseCode:
        alone = len(self._set.required) == 1
        if alone and self._config.broker_role is BrokerRole.SYNC_MASTER:
            return ResponseCode.SLAVE_NOT_AVAILABLE
        return ResponseCode.SUCCESS

    def _advance(self) -> None:
        reached = self._set.replicated_to(self._members, self._log.written_to)
        if reached is not None and reached > self._acknowledged.value:
            self._acknowledged.advance(reached)
            self.shown_to(self._acknowledged.value)

    # -- for readers -----------------------------------------------------------------------------------------

    def shown_to(self, offset: int) -> None:
        """The log is acknowledged up to there: seen here, or told by the master that this slave follows."""
        if offset > self.visible_to:
            self.visible_to = offset
            for observer in self.observers:
                observer(offset)

    # -- the set ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Looks whether somebody is to join or leave; to be called now and then."""
        if self.epoch is None:
            return
        self._set.look(self._members, *self._look_arguments())
        self._advance()
        if self.proposal() is not None:
            self.changed()

    def proposal(self) -> frozenset[int] | None:
        """The set that is to be agreed on now."""
        return self._set.proposal(self._members, *self._look_arguments())

    def proposed(self, members: frozenset[int]) -> None:
        """It is about to be written."""
        self._set.proposed(members)

    def agreed(self) -> None:
        """It was written."""
        self._set.agreed()
        self._advance()

    def unknown(self) -> None:
        """Whether it was written nobody can say."""
        self._set.unknown()

    def _look_arguments(self) -> tuple[int, int, int, Limits]:
        config = self._config
        limits = Limits(config.ha_slave_fallbehind_max, config.slave_timeout)
        return self._acknowledged.value, self._log.written_to, self._now_ms(), limits

    def _now_ms(self) -> int:
        return int(self._reactor.seconds() * 1000)


def _trap_late(failure: Failure) -> None:
    failure.trap(FlushTimeout)


def _not_in_time(failure: Failure) -> ResponseCode:
    failure.trap(FlushTimeout)
    return ResponseCode.FLUSH_SLAVE_TIMEOUT
