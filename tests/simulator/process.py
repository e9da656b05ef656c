"""One process of a simulated host: its reactor, threads and disk; all of it ends when the process does."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from zope.interface import implementer

from tests.memory_disk import MemoryDisk
from tests.simulator.network import Connector, Network, Port

A_MOMENT_S = 1e-9


class SimulatedDisk(MemoryDisk):
    """Forgets what was not synced when power is lost. `crash_in` ends the process after so many changes.

    The image is taken in the middle of what the process does then: between two changes of one operation.
    """

    def __init__(self, content: MemoryDisk | None = None) -> None:
        super().__init__()
        self.crash_in: int | None = None
        self.crash: Callable[[], None] = lambda: None
        if content is not None:
            self.nodes, self.durable_names = content.nodes, content.durable_names

    def changed(self) -> None:
        super().changed()
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                self.crash()


@implementer(IReactorTime, IReactorTCP, IReactorPluggableNameResolver)
class SimulatedReactor:
    """What a process sees of time, network and threads. After its end nothing of it happens any more."""

    def __init__(self, network: Network, host: str, dice: random.Random) -> None:
        self.network = network
        self.host = host
        self.alive = True
        self.thread_s = (0.0, 0.001)
        """How long a call in a thread takes: with a slow disk, long."""
        self.nameResolver = self
        self._dice = dice
        self._clock = network.clock
        network.powered.add(host)

    def do(self, call: Callable[..., object], *arguments: object, **more: object) -> None:
        if self.alive:
            call(*arguments, **more)

    def die(self, lost_power: bool) -> None:
        """The process is gone at this instant."""
        if self.alive:
            self.alive = False
            if lost_power:
                self.network.powered.discard(self.host)
            self.network.has_ended(self, lost_power)

    # -- time ----------------------------------------------------------------------------------------------

    def seconds(self) -> float:
        return float(self._clock.seconds())

    def callLater(self, delay_s: float, call: Callable[..., Any], *args: Any, **kw: Any) -> IDelayedCall:
        # a real clock never stands still between two calls, however short the wait that was asked for
        delay_s = max(delay_s, A_MOMENT_S) if delay_s > 0 else 0.0
        return self._clock.callLater(delay_s, self.do, call, *args, **kw)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return list(self._clock.getDelayedCalls())

    # -- threads -------------------------------------------------------------------------------------------

    def callFromThread(self, call: Callable[..., Any], *args: Any, **kw: Any) -> None:
        self.callLater(0, call, *args, **kw)

    def getThreadPool(self) -> SimulatedReactor:
        return self

    def callInThreadWithCallback(
        self, ended: Callable[[bool, Any], object], call: Callable[..., Any], *arguments: Any
    ) -> None:
        def work() -> None:
            execute(call, *arguments).addCallbacks(
                lambda result: ended(True, result), lambda failure: ended(False, failure)
            )

        self.callLater(self._dice.uniform(*self.thread_s), work)

    # -- network -------------------------------------------------------------------------------------------

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        return self.network.listen(self, port, factory)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Connector:
        return self.network.connect(self, host, port, factory, timeout)

    def installNameResolver(self, resolver: Any) -> Any:
        raise NotImplementedError

    def resolveHostName(
        self,
        receiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Hosts have no other names than their addresses."""
        receiver.resolutionBegan(None)
        receiver.addressResolved(IPv4Address("TCP", hostName, portNumber))
        receiver.resolutionComplete()
        return None


class SimulatedThread:
    """Stands for `OwnThread`: its calls take time, and are done somewhen within it."""

    def __init__(self, reactor: SimulatedReactor, name: str) -> None:
        self.name = name
        self._reactor = reactor
        self._free_at_s = 0.0
        self._abandoned = False

    def run(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        reactor = self._reactor
        dice = reactor._dice
        start_s = max(self._free_at_s, reactor.seconds())
        self._free_at_s = start_s + dice.uniform(*reactor.thread_s)
        outcome: list[Deferred[Any]] = []

        def work() -> None:
            outcome.append(execute(call, *arguments))

        def report() -> None:
            if self._abandoned or done.called:
                outcome[0].addErrback(lambda _: None)
            else:
                outcome[0].chainDeferred(done)

        work_s = dice.choice((start_s, self._free_at_s))
        reactor.callLater(work_s - reactor.seconds(), work)
        reactor.callLater(self._free_at_s - reactor.seconds() + 1e-6, report)
        return done

    def abandon(self) -> None:
        self._abandoned = True
