"""Comparing the store directories of two brokers, byte for byte, while both run."""

from __future__ import annotations

from pathlib import Path

from tests.waiting import wait_until

CATCH_UP_S = 60.0


FILE_MAX_BYTES = 16 << 20
"""Of each file so much is read: tests do not write more, but files may have holes of a gigabyte."""


def log_bytes(store: Path) -> dict[str, bytes]:
    """The commit log's files by name, without the zeros at their ends; Apache makes the next one early."""
    files = {path.name: content(path).rstrip(b"\0") for path in (store / "commitlog").iterdir()}
    return {name: data for name, data in files.items() if data}


def content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_MAX_BYTES)


def queue_bytes(store: Path) -> dict[str, bytes]:
    """The entries of every consume queue by `topic/queue/file`, without unused room; empty files left out."""
    root = store / "consumequeue"
    found = {str(path.relative_to(root)): entries(path) for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if data}


def entries(path: Path) -> bytes:
    """Entries up to the last one that has a size: an entry may end with zeros itself."""
    data = content(path)
    end = len(data.rstrip(b"\0"))
    return data[: -(-end // 20) * 20]


def difference(one: Path, other: Path) -> str:
    """What is not equal, in words; empty when nothing is."""
    for what, read in (("commit logs", log_bytes), ("consume queues", queue_bytes)):
        ours, theirs = read(one), read(other)
        if ours.keys() != theirs.keys():
            return f"{what} of other names: {sorted(ours.keys() ^ theirs.keys())}"
        different = [name for name in ours if ours[name] != theirs[name]]
        if different:
            return f"{what} differ: {different}"
    return "" if log_bytes(one) else "there is nothing in the logs"


def wait_until_equal(one: Path, other: Path, timeout_s: float = CATCH_UP_S) -> None:
    """Until both stores have the same commit log and the same queues."""
    last = ""

    def equal() -> bool:
        nonlocal last
        try:
            last = difference(one, other)
        except FileNotFoundError as error:  # a broker is just making it
            last = str(error)
        return not last

    try:
        wait_until(equal, "both stores are equal", timeout_s)
    except AssertionError as error:
        raise AssertionError(f"{error}; {last}") from error
