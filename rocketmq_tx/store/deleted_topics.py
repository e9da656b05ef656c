"""Which topics were deleted, and where the commit log ended then: their older records never come back.

The commit log still holds the records of a deleted topic. Should its queues be built again from the log, or
a topic of the same name be created, records below that offset do not count. Apache has nothing like it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from rocketmq_tx.store.json_file import JsonFile


class DeletedTopics:
    """Kept in `config/deletedTopics.json`: `{"deletedTopics":{"TOPIC":OFFSET}}`."""

    def __init__(self, file: JsonFile) -> None:
        self._file = file
        self._ends: dict[str, int] = {}

    def load(self) -> None:
        """Reads the file; StoreDamaged when it and its .bak cannot be read."""
        self._ends = self._file.load(_parse) or {}

    def add(self, ends: Mapping[str, int]) -> None:
        """These topics are deleted, each of them up to that offset; known on the device when this returns."""
        self._save({**self._ends, **ends})

    def end_of(self, topic: str) -> int:
        """Where the log ended when the topic was last deleted; 0 when it never was."""
        return self._ends.get(topic, 0)

    def forget_below(self, log_min_offset: int) -> None:
        """Drops topics none of whose old records the commit log still has."""
        ends = {topic: end for topic, end in self._ends.items() if end > log_min_offset}
        if len(ends) < len(self._ends):
            self._save(ends)

    def cut_to(self, commit_log_end: int) -> None:
        """The log ends there now: what comes behind is new. So it is, too, when this raises StoreError."""
        if any(end > commit_log_end for end in self._ends.values()):
            self._ends = {topic: min(end, commit_log_end) for topic, end in self._ends.items()}
            self._save(self._ends)

    def is_gone(self, topic: str, commit_log_offset: int) -> bool:
        """Whether a record was deleted together with its topic."""
        return commit_log_offset < self._ends.get(topic, 0)

    def items(self) -> list[tuple[str, int]]:
        """(topic, commit log end when it was deleted) of each."""
        return list(self._ends.items())

    def _save(self, ends: dict[str, int]) -> None:
        self._file.save(json.dumps({"deletedTopics": ends}, ensure_ascii=False, indent=1).encode())
        self._ends = ends


def _parse(content: bytes) -> dict[str, int]:
    table = json.loads(content)
    try:
        return {str(topic): int(end) for topic, end in table["deletedTopics"].items()}
    except KeyError as error:
        raise ValueError(f"not a table of deleted topics: {error} is missing") from error
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a table of deleted topics: {error}") from error
