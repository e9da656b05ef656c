"""What the timer index knows of itself, in one small file that is replaced as a whole.

A table in JSON: `logEnd`, `intakeFrom`, `enteredTo`, `claims` (pairs of an entry in hex and a log offset),
`voidBelow`, `movingBelow`, `nextRun`, `inForce` (entries in hex), and `runs`, each with `run`, `count`,
`position`, `oldest` and `movedTo`; the fields of `TimerManifest` say what they mean.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import attrs

from rocketmq_tx.store.timer_entries import ENTRY_BYTES, Entry

VERSION = 1


class Claim(NamedTuple):
    """Of the messages below a log offset, those whose entries compare less than `before` are done with."""

    before: bytes
    log_offset: int


class RunFacts(NamedTuple):
    """One run: its number is its file's name; see `timer_runs.Run`."""

    number: int
    entries: int
    position: int
    oldest: int
    moved_to: int


@attrs.frozen
class TimerManifest:
    """A state of the index that was true when the log ended at `log_end`."""

    log_end: int = 0
    intake_from: int = 0
    """The next queue offset to enter; messages before it stand in the runs, or are done with."""
    entered_to: int = 0
    """The records of those messages lie below this log offset."""
    claims: tuple[Claim, ...] = ()
    void_below: int = 0
    """Records below this log offset have been appended again."""
    moving_below: int = 0
    """The same, for the places of each run before its `moved_to`."""
    next_run: int = 1
    in_force: tuple[Entry, ...] = ()
    """Entries that stand in no run any more, but are to be taken again."""
    runs: tuple[RunFacts, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(
            {
                "version": VERSION,
                "logEnd": self.log_end,
                "intakeFrom": self.intake_from,
                "enteredTo": self.entered_to,
                "claims": [[before.hex(), log_offset] for before, log_offset in self.claims],
                "voidBelow": self.void_below,
                "movingBelow": self.moving_below,
                "nextRun": self.next_run,
                "inForce": [entry.hex() for entry in self.in_force],
                "runs": [
                    {
                        "run": run.number,
                        "count": run.entries,
                        "position": run.position,
                        "oldest": run.oldest,
                        "movedTo": run.moved_to,
                    }
                    for run in self.runs
                ],
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_json(cls, content: bytes) -> TimerManifest:
        """Reads what `to_json` wrote; ValueError for anything else."""
        try:
            return cls._from_table(json.loads(content))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a timer manifest: {error!r}") from error

    @classmethod
    def _from_table(cls, table: dict[str, Any]) -> TimerManifest:
        if table["version"] != VERSION:
            raise ValueError(f"a timer manifest of version {table['version']!r}")
        claims = tuple(
            Claim(bytes.fromhex(before), int(log_offset)) for before, log_offset in table["claims"]
        )
        in_force = tuple(bytes.fromhex(entry) for entry in table["inForce"])
        if any(len(entry) != ENTRY_BYTES for entry in (*in_force, *(before for before, _ in claims))):
            raise ValueError("a timer manifest with an entry of another length")
        return cls(
            int(table["logEnd"]),
            int(table["intakeFrom"]),
            int(table["enteredTo"]),
            claims,
            int(table["voidBelow"]),
            int(table["movingBelow"]),
            int(table["nextRun"]),
            in_force,
            tuple(
                RunFacts(*(int(run[name]) for name in ("run", "count", "position", "oldest", "movedTo")))
                for run in table["runs"]
            ),
        )
