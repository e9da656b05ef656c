"""Memory for the next bytes of the log, had before they are written: by whom has time for it, a thread.

The first write to a page of a file waits until the kernel has found memory for it, and in a virtual machine
perhaps until its host has, too: 2 us of a batch of 32 messages, or 30. To the end of the log's file, a hole,
the kernel gives the same pages for a look ahead, which writes nothing and reads nothing of the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rocketmq_tx.store.commit_log import CommitLog

AHEAD_BYTES = 4 << 20
"""What comes in 40 ms of the heaviest load. It is page cache, which the kernel may take back."""


class LogRoom:
    """Says when there should be more of it, and how to get it; touches neither the log nor its file."""

    def __init__(self, log: CommitLog) -> None:
        self._log = log
        self._ready_to = 0

    @property
    def is_due(self) -> bool:
        """Whether less than half of it is left."""
        return self._log.written_to + AHEAD_BYTES // 2 > self._ready_to

    def job(self) -> Callable[[], None] | None:
        """A call that may block, and never fails; None: the file that is written to has no more to get."""
        log = self._log
        file, start = log.last_file
        begin = max(log.written_to, self._ready_to)
        self._ready_to = log.written_to + AHEAD_BYTES
        end = min(self._ready_to, start + log.segment_size)
        if file is None or begin >= end:
            return None
        return partial(file.expect, begin - start, end - begin)
