"""Verifying the tables below `config`: can they be read, which topics exist, which were deleted."""

from __future__ import annotations

from typing import Any

from rocketmq_tx.errors import BodyError, OperatorError
from rocketmq_tx.protocol import fastjson
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.findings import Findings
from rocketmq_tx.store.json_file import JsonFile
from rocketmq_tx.store.records import RecordFacts
from rocketmq_tx.store.store_directory import TABLES
from rocketmq_tx.store.store_files import StoreFiles

_TABLE_MAX_BYTES = 256 << 20


class Tables:
    """`topics` are the names in topics.json; None when nothing tells them."""

    def __init__(self, files: StoreFiles, findings: Findings) -> None:
        self._files = files
        self._findings = findings
        self._folder = f"{files.root}/{TABLES}"
        names = files.disk.names(self._folder)
        tables = {name: self._read(name) for name in names if name.endswith(".json")}
        topics = tables.get("topics.json")
        table = topics.get("topicConfigTable") if isinstance(topics, dict) else None
        self.topics: frozenset[str] | None = frozenset(map(str, table)) if isinstance(table, dict) else None
        self._deleted = DeletedTopics(
            JsonFile(files.disk, f"{self._folder}/deletedTopics.json", findings.note)
        )
        try:
            self._deleted.load()
        except OperatorError as error:
            findings.damage(str(error))

    def is_gone(self, record: RecordFacts) -> bool:
        """Whether the record was deleted together with its topic."""
        return self.is_gone_from(record.topic.decode("utf-8", "replace"), record.commit_log_offset)

    def is_gone_from(self, topic: str, commit_log_offset: int) -> bool:
        """Whether the record there was deleted from that topic."""
        return self._deleted.is_gone(topic, commit_log_offset)

    def _read(self, name: str) -> Any:
        """What a table holds; its .bak where it cannot be read itself."""
        try:
            return self._parse(name)
        except BodyError as error:
            problem = str(error)
        try:
            content = self._parse(f"{name}.bak")
        except BodyError:
            self._findings.damage(f"{self._folder}/{name} cannot be read, nor its .bak: {problem}")
            return None
        self._findings.note(f"{self._folder}/{name} cannot be read, but its .bak can: {problem}")
        return content

    def _parse(self, name: str) -> Any:
        path = f"{self._folder}/{name}"
        size = self._files.disk.file_size(path)
        if not size:
            raise BodyError(f"{path} is missing or empty")
        return fastjson.loads(self._files.disk.open(path).pread(min(size, _TABLE_MAX_BYTES), 0))
