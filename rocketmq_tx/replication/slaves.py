"""The slaves of a master: how far each has come, and what senders are told who wait for one of them.

Facts: `spec/ha.yaml` (sync_master).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.ha_frames import Greeting
from rocketmq_tx.remoting.connections import TurnEnd
from rocketmq_tx.runtime.watermark import Watermark

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


class Slave(Protocol):
    """One connected slave."""

    name: str
    host: str

    @property
    def acknowledged(self) -> int | None: ...

    @property
    def greeting(self) -> Greeting | None: ...

    @property
    def sent_to(self) -> int | None: ...

    def send(self) -> None: ...

    def look_after(self) -> None: ...

    def close(self, reason: str) -> None: ...


class Admission(Protocol):
    """With `autoFailover`: who may follow as a member, and what members are told."""

    @property
    def visible_to(self) -> int:
        """Up to where the log is acknowledged, and shown to consumers."""

    def admit(self, greeting: Greeting) -> None:
        """FrameError for a member that must not follow here."""


class Slaves:
    """All connected slaves. One of them is enough for a sender; what all have is no condition."""

    def __init__(self, config: MessageStoreConfig, reactor: IReactorTime) -> None:
        self._config = config
        self._reactor = reactor
        self._replicated = self._new_mark()
        self._slaves: dict[Slave, None] = {}
        self.turn_end = TurnEnd(reactor)
        """Of the connections of those who wait."""
        self.changed: Callable[[], object] = lambda: None
        """Called when a slave has come, gone, or acknowledged more."""
        self.compares_logs: Callable[[str], bool] = lambda host: False
        """Whether a slave at that address sees for itself that its log is this one, as Apache's do not."""
        self._can_have: int | None = None

    def __iter__(self) -> Iterator[Slave]:
        return iter(list(self._slaves))

    def __len__(self) -> int:
        return len(self._slaves)

    @property
    def replicated_to(self) -> int:
        """Up to where any slave ever had the log."""
        return self._replicated.value

    def added(self, slave: Slave) -> None:
        self._slaves[slave] = None
        self.changed()

    def leads_from(self, log_end: int) -> None:
        """From here on nobody can get more of this log than slaves are sent."""
        self._can_have = log_end

    def can_have(self) -> int | None:
        """Up to where anybody can have this log; None before that is known."""
        if self._can_have is None:
            return None
        return max([self._can_have, *[slave.sent_to or 0 for slave in self._slaves]])

    def removed(self, slave: Slave) -> None:
        self._can_have = self.can_have()
        self._slaves.pop(slave, None)
        self.changed()

    def begin_anew(self) -> None:
        """This broker is no master any more: should it be one again, slaves have to say again what they have.

        Who waits now is answered FLUSH_SLAVE_TIMEOUT when the time is up.
        """
        self._replicated = self._new_mark()

    def _new_mark(self) -> Watermark:
        return Watermark(
            self._reactor,
            name="replicated",
            reached=ResponseCode.SUCCESS,
            late=lambda sentence: ResponseCode.FLUSH_SLAVE_TIMEOUT,
        )

    def log_grew(self) -> None:
        """Something was appended: it goes to every slave that can take it at once."""
        for slave in self._slaves:
            slave.send()

    def has_acknowledged(self, log_end: int) -> None:
        """A slave has the log up to there: everybody who waits for less is answered now."""
        self.turn_end.gather(lambda: self._has_acknowledged(log_end))

    def _has_acknowledged(self, log_end: int) -> None:
        self._replicated.advance(log_end)
        self.changed()

    def acknowledged(self, offset: int) -> Deferred[ResponseCode]:
        """For a sender: SUCCESS as soon as a slave has the log up to `offset`.

        SLAVE_NOT_AVAILABLE at once when none is in sync, FLUSH_SLAVE_TIMEOUT after `slaveTimeout`.
        """
        if not self._any_in_sync(offset):
            return succeed(ResponseCode.SLAVE_NOT_AVAILABLE)
        return self._replicated.wait(offset, self._config.slave_timeout / 1000)

    def _any_in_sync(self, offset: int) -> bool:
        """A slave that has not reported yet counts as far as any has ever come, as with Apache."""
        most_behind = self._config.ha_slave_fallbehind_max
        for slave in self._slaves:
            reached = slave.acknowledged
            if offset - (self.replicated_to if reached is None else reached) < most_behind:
                return True
        return False
