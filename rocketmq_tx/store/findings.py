"""What verifying a store finds: damage, and notes about what the next start puts right by itself."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One sentence; `is_damage` tells damage from a note."""

    is_damage: bool
    sentence: str


class Findings:
    """The first `most` findings, and how many there were. `being_written`: a broker has the store open."""

    def __init__(self, most: int, being_written: bool = False) -> None:
        self._most = most
        self.being_written = being_written
        self.kept: list[Finding] = []
        self.damage_count = 0
        self.note_count = 0

    def damage(self, sentence: str) -> None:
        """Something is lost, withheld, or not as the log says."""
        self.damage_count += 1
        self._keep(Finding(True, sentence))

    def note(self, sentence: str) -> None:
        """Something that a start mends by itself, or that is no harm."""
        self.note_count += 1
        self._keep(Finding(False, sentence))

    def behind_the_end(self, sentence: str) -> None:
        """Something names what the log has not got: damage, unless it was appended after the log was read."""
        if self.being_written:
            self.note(sentence)
        else:
            self.damage(sentence)

    @property
    def left_out(self) -> int:
        return self.damage_count + self.note_count - len(self.kept)

    def _keep(self, finding: Finding) -> None:
        if len(self.kept) < self._most:
            self.kept.append(finding)
