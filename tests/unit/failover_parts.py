"""A model of brokers that fail over: real decisions and sessions, logs that are lists, links between them.

What a process does ends with it, and stands still while it is frozen; messages between processes take time,
and are lost with their link. What must never happen is noted in `Model.broken`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import FrameError, StoreError
from rocketmq_tx.failover.automatic import AutomaticFailover
from rocketmq_tx.failover.epochs import EpochHistory, common_end, may_follow
from rocketmq_tx.failover.replicas import InSyncReplicas
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.ha_frames import Greeting
from tests.memory_coordinator import MemoryCoordinator, MemoryService

Entry = tuple[int, int]
"""(epoch in which it was appended, its number)"""


class ModelReactor:
    """The clock of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: list[ModelCall] = []
        self.frozen = False
        self.alive = True

    def seconds(self) -> float:
        return float(self._clock.seconds())

    def callLater(self, delay_s: float, call: Callable[..., Any], *arguments: Any) -> Any:
        made = ModelCall(self, call, arguments)
        made.timer = self._clock.callLater(delay_s, made.is_due)
        return made

    def do(self, call: Callable[..., Any], *arguments: Any) -> None:
        """At once, or when the process moves again."""
        ModelCall(self, call, arguments).is_due()

    def keep(self, call: ModelCall) -> None:
        self._kept.append(call)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        kept, self._kept = self._kept, []
        for call in kept:
            call.timer = self._clock.callLater(0, call.is_due)


class ModelCall:
    """A call of one process; can be cancelled until it is made, as Twisted's can."""

    def __init__(self, reactor: ModelReactor, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.timer: Any = None
        self._reactor = reactor
        self._call = call
        self._arguments = arguments
        self._is_over = False

    def is_due(self) -> None:
        if self._is_over or not self._reactor.alive:
            return
        if self._reactor.frozen:
            self._reactor.keep(self)
            return
        self._is_over = True
        self._call(*self._arguments)

    def active(self) -> bool:
        return not self._is_over

    def cancel(self) -> None:
        assert not self._is_over
        self._is_over = True

    def getTime(self) -> float:
        return float(self.timer.getTime())

    def reset(self, delay_s: float) -> None:
        if self.timer.active():
            self.timer.reset(delay_s)


class ModelSlaves:
    """Stands for `replication.slaves.Slaves`."""

    def __init__(self) -> None:
        self.ends: list[MasterSide] = []
        self.changed: Callable[[], object] = lambda: None

    def __iter__(self) -> Any:
        return iter(list(self.ends))


class MasterSide:
    """A master's end of a link; `acknowledged` is what the slave has said so far."""

    def __init__(self, greeting: Greeting, acknowledged: int) -> None:
        self.greeting = greeting
        self.acknowledged = acknowledged
        self.sent_to = acknowledged


class Disk:
    """What a member has after the end of its process."""

    def __init__(self, is_master: bool) -> None:
        self.log: list[Entry] = []
        self.history = EpochHistory()
        self.is_master = is_master


class ModelBroker:
    """One process of a member: the roles, the gate and the log that `AutomaticFailover` needs."""

    def __init__(self, model: Model, member: int) -> None:
        self.model = model
        self.member = member
        self.disk = model.disks[member]
        self.reactor = ModelReactor(model.clock)
        self.coordinator = model.service.client()
        self.refusals: dict[str, str] = {}
        self.slaves = ModelSlaves()
        config = MessageStoreConfig(broker_role=BrokerRole.ASYNC_MASTER)
        self.replicas = InSyncReplicas(member, config, self.slaves, self, self.reactor)  # type: ignore[arg-type]
        self.replicas.observers.append(self._shown)
        self.replicas.shown_to(self.history.newest.start_offset)
        self.failover = AutomaticFailover(
            ProcessCoordinator(self.coordinator, self.reactor),
            member,
            f"broker-{member}:1",
            self,
            self.replicas,
            self,
            self.reactor,
        )
        self.may_follow = False
        self.master: int | None = None
        self.link: SlaveSide | None = None
        self.failover.startService()

    # -- as store and gate -------------------------------------------------------------------------------

    @property
    def written_to(self) -> int:
        return len(self.disk.log)

    def refuse(self, cause: str, sentence: str) -> None:
        self.refusals[cause] = sentence

    def accept(self, cause: str) -> None:
        self.refusals.pop(cause, None)

    def send(self, number: int) -> None:
        """A client's message; what is acknowledged must never be lost."""
        if self.reactor.frozen or not self.is_master or self.refusals:
            return
        entry = (self.history.number, number)
        self.disk.log.append(entry)
        offset = self.written_to
        for end in self.slaves.ends:
            self.model.carry(self, end)
        self.replicas.log_grew()
        leads = self.replicas.epoch
        self.replicas.acknowledged(offset).addCallback(self._answered, entry, offset, leads)

    def _answered(self, code: ResponseCode, entry: Entry, offset: int, epoch: int | None) -> None:
        if code is ResponseCode.SUCCESS:
            self.model.was_acknowledged(self, entry, offset, epoch)

    def _shown(self, offset: int) -> None:
        self.model.was_shown(self, offset)

    # -- as roles ----------------------------------------------------------------------------------------

    @property
    def is_master(self) -> bool:
        return self.disk.is_master

    @property
    def history(self) -> EpochHistory:
        return self.disk.history

    def close_link(self) -> Deferred[None]:
        self.may_follow = False
        self._unlink()
        return self._soon()

    def open_link(self) -> Deferred[None]:
        self.may_follow = not self.is_master
        self._look_for_master()
        return succeed(None)

    @property
    def knows_master(self) -> bool:
        return True

    def begin_epoch(self, epoch: int) -> Deferred[None]:
        return self.promote(epoch)

    def promote(self, epoch: int) -> Deferred[None]:
        assert self.link is None
        return self._soon().addCallback(lambda _: self._promoted(epoch))

    def _promoted(self, epoch: int) -> None:
        self.disk.history = self.history.begun(epoch, self.written_to, self.member)
        self.disk.is_master = True
        self.model.was_elected(self, epoch)

    def demote(self, master_address: str, epoch: int) -> Deferred[None]:
        self.master = int(master_address.split(":", maxsplit=1)[0].removeprefix("broker-"))
        if self.is_master or self.link is None or self.link.master.member != self.master:
            self._unlink()
        self.disk.is_master = False
        for end in list(self.slaves.ends):
            self.slaves.ends.remove(end)
        return self._soon()

    def _soon(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.reactor.callLater(self.model.dice.random() * 0.02, done.callback, None)
        return done

    # -- following ---------------------------------------------------------------------------------------

    def _unlink(self) -> None:
        if self.link is not None:
            self.link.close()

    def _look_for_master(self) -> None:
        if not self.may_follow or self.is_master or self.link is not None or self.master is None:
            return
        master = self.model.brokers.get(self.master)
        if (
            master is None
            or not master.is_master
            or not self.model.sees(self, master)
            or master.reactor.frozen
        ):
            self.reactor.callLater(0.1, self._look_for_master)
            return
        try:
            if not may_follow(self.history, master.history):
                raise StoreError("an outdated master")
            common = common_end(self.history, self.written_to, master.history, master.written_to)
            self.model.is_cut(self, common.offset)
            del self.disk.log[common.offset :]
            self.disk.history = master.history
            greeting = Greeting(self.member, self.history.number)
            master.replicas.admit(greeting)
        except (StoreError, FrameError):
            self.reactor.callLater(0.1, self._look_for_master)
            return
        self.link = SlaveSide(self.model, self, master, greeting)

    def _can_follow(self, master: ModelBroker) -> bool:
        return master.is_master and not master.reactor.frozen and self.model.sees(self, master)

    def die(self) -> None:
        self.reactor.alive = False
        self._unlink()
        for broker in list(self.model.brokers.values()):
            if broker.link is not None and broker.link.master is self:
                broker.link.close()
        self.model.service.forget(self.coordinator)


class SlaveSide:
    """A slave's end of a link: what comes is appended and acknowledged, later."""

    def __init__(self, model: Model, slave: ModelBroker, master: ModelBroker, greeting: Greeting) -> None:
        self.model = model
        self.slave = slave
        self.master = master
        self.is_open = True
        self.delay_s = model.dice.choice(model.link_delays_s)
        """The same for all that goes over it, so that it stays in order."""
        self.end = MasterSide(greeting, slave.written_to)
        self.end.link = self  # type: ignore[attr-defined]
        master.slaves.ends.append(self.end)
        model.clock.callLater(0, master.reactor.do, master.slaves.changed)
        model.carry(master, self.end)

    def close(self) -> None:
        """The slave's end is closed now, the master hears of it later."""
        self.is_open = False
        if self.slave.link is self:
            self.slave.link = None
        self.model.later(self.master, self._master_closes)
        self.slave.reactor.callLater(0.1, self.slave._look_for_master)

    def _master_closes(self) -> None:
        if self.end in self.master.slaves.ends:
            self.master.slaves.ends.remove(self.end)
            self.master.slaves.changed()

    def arrived(self, start: int, entries: list[Entry], watermark: int) -> None:
        if not self.is_open or self.slave.written_to != start:
            return
        if self.slave.refusals:
            self.close()
            return
        self.slave.disk.log.extend(entries)
        self.slave.replicas.shown_to(watermark)
        self.model.later(self.master, self._acknowledged, self.slave.written_to)

    def _acknowledged(self, reached: int) -> None:
        if self.end in self.master.slaves.ends:
            self.end.acknowledged = max(self.end.acknowledged, reached)
            self.master.slaves.changed()


class ProcessCoordinator:
    """The coordinator as one process sees it: its answers come in the process's own time."""

    def __init__(self, coordinator: MemoryCoordinator, reactor: ModelReactor) -> None:
        self._coordinator = coordinator
        self._reactor = reactor

    def __conform__(self, interface: object) -> ProcessCoordinator:
        return self

    @property
    def session(self) -> Any:
        return self._coordinator.session

    def start(self, changed: Callable[[], object]) -> None:
        self._coordinator.start(lambda: self._reactor.do(changed))

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._coordinator, name)

        def made(*arguments: Any) -> Deferred[Any]:
            answered: Deferred[Any] = Deferred()
            asked: Deferred[Any] = call(*arguments)
            asked.addCallbacks(
                lambda result: self._reactor.do(answered.callback, result),
                lambda failure: self._reactor.do(answered.errback, failure),
            )
            return answered

        return made


class Model:
    """`members` brokers, one coordination service, and what was promised to clients."""

    def __init__(self, seed: int, members: int = 3) -> None:
        self.dice = random.Random(seed)
        self.clock = Clock()
        self.link_delays_s: tuple[float, ...] = (0.002, 0.005, 0.4)
        self.service = MemoryService(self.clock, timeout_s=1.0)
        self.parted: set[frozenset[int]] = set()
        self.disks = {member: Disk(member == 0) for member in range(members)}
        self.brokers: dict[int, ModelBroker] = {}
        self.acknowledged: dict[int, Entry] = {}
        self.shown: dict[int, Entry] = {}
        self.leaders: dict[int, int] = {}
        self.elections = 0
        self.sent = 0
        self.broken: list[str] = []
        for member in self.disks:
            self.start(member)

    # -- faults ------------------------------------------------------------------------------------------

    def start(self, member: int) -> None:
        self.brokers[member] = ModelBroker(self, member)

    def crash(self, member: int) -> None:
        self.brokers.pop(member).die()

    def part(self, one: int, other: int) -> None:
        self.parted.add(frozenset((one, other)))
        for broker in self.brokers.values():
            link = broker.link
            if link is not None and {broker.member, link.master.member} == {one, other}:
                link.close()

    def heal_everything(self) -> None:
        self.parted.clear()
        self.service.start()
        for member in self.disks:
            if member not in self.brokers:
                self.start(member)
        for broker in self.brokers.values():
            broker.coordinator.lose_answers = broker.coordinator.reads_late = False
            self.service.heal(broker.coordinator)
            if broker.reactor.frozen:
                broker.reactor.thaw()

    # -- the network -------------------------------------------------------------------------------------

    def sees(self, one: ModelBroker, other: ModelBroker) -> bool:
        return frozenset((one.member, other.member)) not in self.parted

    def later(self, broker: ModelBroker, call: Callable[..., Any], *arguments: Any) -> None:
        self.clock.callLater(0.001 + self.dice.random() * 0.01, broker.reactor.do, call, *arguments)

    def carry(self, master: ModelBroker, end: MasterSide) -> None:
        """What the slave has not been sent yet goes on its way."""
        link: SlaveSide = end.link  # type: ignore[attr-defined]
        start, entries = end.sent_to, master.disk.log[end.sent_to :]
        end.sent_to += len(entries)
        self.clock.callLater(
            link.delay_s, link.slave.reactor.do, link.arrived, start, entries, master.replicas.visible_to
        )

    # -- time --------------------------------------------------------------------------------------------

    def run(self, seconds: float, sends_each_s: float = 50.0) -> None:
        """Time passes while clients send to whoever takes their messages."""
        end_s = self.clock.seconds() + seconds
        while self.clock.seconds() < end_s:
            if self.dice.random() < sends_each_s * 0.01:
                self.sent += 1
                for broker in self.brokers.values():
                    broker.send(self.sent)
            self.clock.advance(0.01)

    # -- what was promised -------------------------------------------------------------------------------

    def _breaks(self, sentence: str) -> None:
        if len(self.broken) < 10:
            self.broken.append(sentence)

    def was_acknowledged(self, broker: ModelBroker, entry: Entry, offset: int, epoch: int | None) -> None:
        if epoch is None or self.leaders.setdefault(epoch, broker.member) != broker.member:
            self._breaks(f"{broker.member} acknowledges in epoch {epoch} of {self.leaders}")
        if self.acknowledged.setdefault(offset, entry) != entry:
            self._breaks(f"{entry} at {offset} is acknowledged after {self.acknowledged[offset]}")

    def was_shown(self, broker: ModelBroker, offset: int) -> None:
        for at in range(min(offset, broker.written_to), 0, -1):
            entry = broker.disk.log[at - 1]
            if self.shown.get(at) == entry:
                break
            if self.shown.setdefault(at, entry) != entry:
                self._breaks(f"{broker.member} shows {entry} at {at}, seen was {self.shown[at]}")

    def was_elected(self, broker: ModelBroker, epoch: int) -> None:
        self.elections += 1
        self._check_log(broker, f"elected in epoch {epoch}")

    def is_cut(self, broker: ModelBroker, offset: int) -> None:
        if offset < broker.replicas.visible_to and broker.written_to > offset:
            self._breaks(
                f"{broker.member} cuts at {offset} what it has shown, to {broker.replicas.visible_to}"
            )

    def _check_log(self, broker: ModelBroker, when: str) -> None:
        log = broker.disk.log
        for promised in (self.acknowledged, self.shown):
            for offset, entry in promised.items():
                if offset > len(log) or log[offset - 1] != entry:
                    self._breaks(f"{broker.member}, {when}, lacks {entry} at {offset}")
                    return

    def check_healed(self) -> None:
        """Once everything is well again: one master, all logs equal, nothing lost."""
        leading = [broker for broker in self.brokers.values() if broker.failover.leads]
        if len(leading) != 1:
            self._breaks(f"after healing {len(leading)} brokers lead")
        logs = [broker.disk.log for broker in self.brokers.values()]
        if any(log != logs[0] for log in logs):
            self._breaks(f"after healing the logs end at {[len(log) for log in logs]}")
        for broker in self.brokers.values():
            self._check_log(broker, "after healing")
