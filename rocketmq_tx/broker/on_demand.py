"""Parts of a broker that run while it has one role, and are begun and ended while it runs."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred


class OnDemand(Service):
    """Runs its parts, in their order, from the start on if `at_start` says so then, else after `begin`."""

    def __init__(self, name: str, at_start: Callable[[], bool], parts: list[IService]) -> None:
        self.setName(name)
        self._at_start = at_start
        self._parts = parts
        self._begun: list[IService] = []

    def startService(self) -> Deferred[None] | None:
        super().startService()
        return self.begin() if self._at_start() else None

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.end()

    def begin(self) -> Deferred[None]:
        """Fires when all parts run; fails with the failure of the first that does not. Harmless again."""
        return Deferred.fromCoroutine(self._begin())

    def end(self) -> Deferred[None]:
        """Fires when no part runs."""
        return Deferred.fromCoroutine(self._end())

    async def _begin(self) -> None:
        if not self.running or self._begun:
            return
        for part in self._parts:
            self._begun.append(part)
            try:
                await maybeDeferred(part.startService)
            except BaseException:
                self._begun.remove(part)
                raise

    async def _end(self) -> None:
        begun, self._begun = self._begun, []
        for part in reversed(begun):
            await maybeDeferred(part.stopService)
