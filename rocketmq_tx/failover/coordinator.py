"""What fail-over needs of a coordination service: one value with versions, and who is there.

`ZooKeeperCoordinator` is the real one; tests have a double in memory. All calls and callbacks are made in the
reactor's thread. Nothing here decides anything: whoever is told of a change reads again.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import Attribute, Interface

Changed = Callable[[], object]
"""Told whenever the session, the state or the members may have changed."""


class ICoordinator(Interface):
    """The place where the brokers of one name agree."""

    session: Attribute = Attribute("A `failover.election.Session`.")

    def start(changed: Changed) -> None:
        """Begins to connect, and connects again for ever; `changed` is called at every change from now on."""

    def join(member: int, address: str) -> object:
        """Has this broker counted as alive for as long as its session lasts, and again in the next one.

        Deferred[None]. CoordinationError when that cannot be said now.
        """

    def members() -> object:
        """Deferred[dict[int, str]]: the members that are alive, and their addresses. CoordinationError."""

    def read() -> object:
        """Deferred[tuple[bytes, int] | None]: the state and its version, None before the first.

        CoordinationError. May be older than the newest one: only a write tells.
        """

    def write(value: bytes, version: int | None) -> object:
        """Deferred[int]: writes the state over that `version` of it, None for the first; returns the new one.

        StateChanged when it has another version: nothing was written. CoordinationError otherwise; then it
        may have been, or will be, written.
        """

    def close() -> object:
        """Deferred[None]: ends the session; this broker is not alive any more."""
