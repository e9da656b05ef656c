"""Recordings of Apache RocketMQ 4.9.7 for tests: unpacks tests/data/golden.tar.xz once per process."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ARCHIVE = Path(__file__).parent / "data" / "golden.tar.xz"


@functools.cache
def root() -> Path:
    """The unpacked tree; removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="golden-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def path(name: str) -> Path:
    """A file or folder of the recordings, such as `frames/accept-batch.json.jsonl`."""
    return root() / name


def lines(name: str) -> list[dict[str, Any]]:
    """The JSON lines of a file."""
    with path(name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def names(prefix: str) -> list[str]:
    """Names of all files whose path starts with `prefix`, sorted."""
    found = (str(file.relative_to(root())) for file in root().rglob("*") if file.is_file())
    return sorted(name for name in found if name.startswith(prefix))
