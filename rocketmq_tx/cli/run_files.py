"""Run files: how `mqshutdown` finds the daemons of this user that run on this machine.

Each daemon keeps a file `KIND-HOST-PID.pid` in a folder of its user and holds a lock on it while it lives.
A lock dies with its process, so a left-over file is told from a living daemon without trusting that a
process number was not given to another program since.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import attrs

from rocketmq_tx.cli.host import home_folder
from rocketmq_tx.errors import StartError

FOLDER_VARIABLE = "ROCKETMQ_RUN_DIR"

# Locked far behind the content, so that others can read the number even where locks are mandatory.
_LOCK_AT = 1 << 20


def run_folder(environ: Mapping[str, str]) -> Path:
    """The folder of this user; the same for a login, a cron job and a service."""
    given = environ.get(FOLDER_VARIABLE)
    return Path(given) if given else home_folder() / ".rocketmq_tx" / "run"


@attrs.define
class RunFile:
    """The file of a running daemon; locked until `remove`, or until the process ends."""

    path: Path
    _file: IO[str]

    @classmethod
    def create(cls, folder: Path, kind: str, pid: int) -> RunFile:
        """Creates and locks the file of process `pid`. Raises StartError when the folder cannot be used."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _must_be_ours(folder)
            path = folder / f"{kind}-{_host()}-{pid}.pid"
            file = path.open("w+", encoding="ascii")
        except OSError as error:
            raise StartError(f"{folder}: no file for mqshutdown can be written: {error.strerror}") from error
        if not _lock(file):
            file.close()
            raise StartError(f"{path}: another process has it locked")
        file.write(f"{pid}\n")
        file.flush()
        return cls(path, file)

    @property
    def stop_path(self) -> Path:
        """Where a stop is asked for on platforms whose signals kill at once."""
        return self.path.with_suffix(".stop")

    def remove(self) -> None:
        """Gives up the lock and the file."""
        self._file.close()
        for path in (self.path, self.stop_path):
            path.unlink(missing_ok=True)


@attrs.frozen
class RunningDaemon:
    """A daemon that was alive when its run file was looked at."""

    path: Path
    pid: int

    @property
    def stop_path(self) -> Path:
        return self.path.with_suffix(".stop")

    def is_alive(self) -> bool:
        """Is the file still there and locked?"""
        return _is_locked(self.path)


def find_running(folder: Path, kind: str) -> Iterator[RunningDaemon]:
    """The daemons of a kind on this machine, by process number; removes files whose process is gone."""
    name = re.compile(re.escape(f"{kind}-{_host()}-") + r"([0-9]+)\.pid")
    found = []
    if not folder.is_dir():
        return
    _must_be_ours(folder)
    for path in folder.iterdir():
        match = name.fullmatch(path.name)
        if match is None:
            continue
        if _is_locked(path):
            found.append(RunningDaemon(path, int(match[1])))
        else:
            path.unlink(missing_ok=True)
    yield from sorted(found, key=lambda daemon: daemon.pid)


def _host() -> str:
    return re.sub(r"[^0-9A-Za-z.]", "_", socket.gethostname()) or "localhost"


def _must_be_ours(folder: Path) -> None:
    """A folder that others may write to could name processes that are not ours."""
    if sys.platform == "win32":
        return
    facts = folder.stat()
    if facts.st_uid != os.getuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StartError(
            f"{folder}: belongs to another user or may be written by others; "
            f"set {FOLDER_VARIABLE} to another folder"
        )


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+", encoding="ascii") as file:
            return not _lock(file)
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> bool:
        file.seek(_LOCK_AT)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            file.seek(0)
        return True

else:
    import fcntl

    def _lock(file: IO[str]) -> bool:
        # flock, not lockf: closing any other descriptor of the file must not release it.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
