"""What the kernel tells of a process: the processor time and the memory that it has used."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def thread_seconds(pid: int) -> tuple[float, float]:
    """The same of its first thread (of a broker of ours: the reactor's), and of all others; more exact.

    What threads have used that have ended is not in it.
    """
    used = {
        int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e9
        for task in Path(f"/proc/{pid}/task").iterdir()
    }
    first = used.pop(pid)
    return first, sum(used.values())


def anonymous_mib(pid: int) -> float:
    """Memory that belongs to the process alone: no file is behind it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0
