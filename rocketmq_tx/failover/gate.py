"""Whether a broker with `autoFailover` takes messages: while it leads, and what it takes cannot be lost."""

from __future__ import annotations

from typing import Protocol

from rocketmq_tx.failover.election import Session

CAUSE = "failover"
UNCONFIRMED = (
    "This broker has not been confirmed as master yet (autoFailover): the coordination service has not "
    "answered, or another broker is master."
)
NOBODY_ACKNOWLEDGES = (
    "There is no session with the coordination service (autoFailover), and no broker that could take over "
    "acknowledges: messages are taken again when either is back."
)
STOPPING = "This broker is stopping."


def refusal(is_master: bool, leads: bool, session: Session, is_complete: bool) -> str | None:
    """What producers are told instead of being served; None when messages are taken.

    `is_complete` says whether all who have to acknowledge are there: then nobody else can have been elected,
    whatever the session is. A slave is not closed by this: it refuses messages by itself, and has to take its
    master's bytes.
    """
    if not leads:
        return UNCONFIRMED if is_master else None
    return None if session is Session.CONNECTED or is_complete else NOBODY_ACKNOWLEDGES


class Gate(Protocol):
    """What is needed of `store.message_store.MessageStore`: whether messages are taken."""

    def refuse(self, cause: str, sentence: str) -> None: ...

    def accept(self, cause: str) -> None: ...
