"""Why a store takes no messages now: each cause comes and goes by itself, and all of them are told."""

from __future__ import annotations

from rocketmq_tx.errors import StoreUnavailable


class Refusals:
    """A sentence for each cause, for producers; messages are taken while there is none."""

    def __init__(self) -> None:
        self.by_cause: dict[str, str] = {"open": "the message store is not open"}

    def refuse(self, cause: str, sentence: str) -> None:
        """No message is taken for this cause."""
        self.by_cause[cause] = sentence

    def accept(self, cause: str) -> None:
        """The cause is gone, if it was there."""
        self.by_cause.pop(cause, None)

    @property
    def sentence(self) -> str | None:
        """All of them; None when messages are taken."""
        return "; ".join(self.by_cause.values()) or None

    def error(self) -> StoreUnavailable:
        """For who wants to store a message meanwhile."""
        return StoreUnavailable("; ".join(self.by_cause.values()))
