"""Texts by namespace and key, kept in one file: order topics, namespaces, whatever operators put there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.bodies import KVConfigSerializeWrapper

T = TypeVar("T")


class KVFile(Protocol):
    """What is needed of `store.json_file`."""

    def load(self, parse: Callable[[bytes], T]) -> T | None: ...

    def save(self, data: bytes) -> None: ...


class KVConfig:
    """The table. A change is in the file before anybody is told that it was made."""

    def __init__(self, file: KVFile) -> None:
        self._file = file
        self._table: dict[str, dict[str, str]] = {}

    def load(self) -> int:
        """Reads the file; returns how many namespaces it held. StoreDamaged when it cannot be read."""
        kept = self._file.load(KVConfigSerializeWrapper.from_bytes)
        self._table = {} if kept is None else kept.config_table
        return len(self._table)

    def namespace(self, namespace: str) -> Mapping[str, str] | None:
        """All keys of a namespace; a namespace whose keys were deleted is empty, not None."""
        return self._table.get(namespace)

    def get(self, namespace: str, key: str) -> str | None:
        return self._table.get(namespace, {}).get(key)

    def put(self, namespace: str, key: str, value: str | None) -> None:
        """Sets a value; without one the key is gone but the namespace there, as with Apache's null."""
        changed = dict(self._table.get(namespace, {}))
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = value
        self._replace(namespace, changed)

    def delete(self, namespace: str, key: str) -> None:
        """Deletes a key; an unknown one changes nothing."""
        present = self._table.get(namespace)
        if present is not None and key in present:
            self._replace(namespace, {name: value for name, value in present.items() if name != key})

    def _replace(self, namespace: str, values: dict[str, str]) -> None:
        """StoreError, and nothing is changed, when the file cannot be written."""
        table = {**self._table, namespace: values}
        try:
            self._file.save(KVConfigSerializeWrapper(table).to_bytes())
        except StoreError as error:
            raise StoreError(f"nothing was changed, the key-value file cannot be written: {error}") from error
        self._table = table
