"""Where figures were taken: what has to be told with them, and whether others used the machine, too."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.process_facts import TICKS_PER_SECOND

Value = TypeVar("Value")


def facts() -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30), 1),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "java": _java(),
        "nice": os.nice(0),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _java() -> str:
    if shutil.which("java") is None:
        return "none"
    shown = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "([^"]+)"', shown)
    return found[1] if found else "unknown"


def cores_used_by_others(measured: Callable[[], Value]) -> tuple[Value, float]:
    """What `measured` returns, and how many cores processes that are not ours kept busy meanwhile."""
    before_s, started = _others_seconds(), time.perf_counter()
    value = measured()
    return value, max(0.0, (_others_seconds() - before_s) / (time.perf_counter() - started))


def _others_seconds() -> float:
    """Processor time of all processes but this one and its children, those that have ended included."""
    times: dict[int, float] = {}
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents[pid] = int(fields[1])
            times[pid] = sum(int(field) for field in fields[11:15]) / TICKS_PER_SECOND

    def is_ours(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return sum(used_s for pid, used_s in times.items() if not is_ours(pid))


def children(pid: int) -> list[int]:
    """Processes that this one has started and that still run."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, path.read_text().split())
    return found


def take_precedence(pids: Iterable[int]) -> None:
    """Gives their sessions the nice value that we have: Linux weighs sessions before processes."""
    for pid in pids:
        with contextlib.suppress(OSError):  # not Linux, or built without it
            Path(f"/proc/{pid}/autogroup").write_text(str(os.nice(0)))
