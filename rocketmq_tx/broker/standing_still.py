"""A slave lets go of its master while another slave is promoted, so that nobody acknowledges behind its back.

A master that the other slave cannot reach may still be there for this one: what this one acknowledged to it
now would be SEND_OK, and lost. So the link is closed until it is known what came of the promotion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.errors import RemotingError, RequestRefused
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.runtime.rarely import Rarely

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from rocketmq_tx.broker.role_change import RoleChange

HOLD_S = 60.0
"""For so long it waits to hear from who asked, then it asks."""
AGAIN_S = 5.0


class StandingStill:
    """`consider` asks the broker at `host:port` and follows it if it has become master; whether it has.

    `stands_for` is the address of the broker that is promoted, None most of the time; `is_promoting` says
    that this one is: set by who does that.
    """

    _log = Logger()

    def __init__(self, roles: RoleChange, consider: Callable[[str], Awaitable[bool]], reactor: Any) -> None:
        self._roles = roles
        self._consider = consider
        self._reactor = reactor
        self._rarely = Rarely(reactor)
        self.stands_for: str | None = None
        self.is_promoting = False
        self._asking: IDelayedCall | None = None

    async def begin(self, address: str) -> None:
        """For the slave at `host:port`. RequestRefused while it does so for another or is promoted itself."""
        problem = None
        if self.is_promoting:
            problem = "this slave is being promoted itself"
        elif self.stands_for not in (None, address):
            problem = f"this slave stands still for {self.stands_for}, which is being promoted"
        if problem is not None:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, problem)
        self._wait(address, HOLD_S)
        await self._roles.close_link()
        self._log.info("standing still: {address} is being promoted", address=address)

    async def end(self, address: str) -> None:
        """It was not promoted: all is as before."""
        if self.stands_for == address:
            self.forget()
            await self._roles.open_link()

    def forget(self) -> None:
        """It is known what came of it, and somebody else has seen to the link."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking = self.stands_for = None

    def _wait(self, address: str, seconds: float) -> None:
        self.forget()
        self.stands_for = address
        self._asking = self._reactor.callLater(seconds, self._held_for_long, address)

    def _held_for_long(self, address: str) -> None:
        self._asking = None
        Deferred.fromCoroutine(self._ask(address))

    async def _ask(self, address: str) -> None:
        try:
            has_taken_over = await self._consider(address)
        except RemotingError as problem:
            if self.stands_for == address:
                if self._rarely.due(address) is not None:
                    self._log.warn(
                        "nothing is copied: {address} was being promoted, and does not say what came of it:"
                        " {problem}. If it never comes back, start this broker again, or promote it with"
                        " --force",
                        address=address,
                        problem=problem,
                    )
                self._wait(address, AGAIN_S)
            return
        if has_taken_over:
            self.forget()
        else:
            await self.end(address)
