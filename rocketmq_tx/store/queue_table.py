"""All consume queues by topic and queue id; which of them have entries that are not in their files yet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.names import is_light
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.layouts import QUEUE_ENTRY_BYTES
from rocketmq_tx.store.segments import OpenFiles

WAITING_BYTES_MAX = 8 << 20
"""Entries of so many bytes wait in memory for more of their queues to come, in all queues together."""

FEW_QUEUES = 64
"""So few are written whatever waits: files that others look at are not behind without need."""

QueueKey = tuple[str, int]


class QueueTable:
    """Queues are made when first asked for; a directory appears when the first entry is written.

    `queues` and `dirty` are open to the append path, which cannot afford a call per message.
    """

    def __init__(self, files: OpenFiles, directory: str, file_size: int) -> None:
        self.queues: dict[QueueKey, ConsumeQueue] = {}
        self.dirty: dict[ConsumeQueue, None] = {}
        self.directory = directory
        self.file_size = file_size
        self._files = files
        self._unsynced: dict[str, bool] = {}
        self.light_count = 0
        """Light queues (%LMQ%...), whose number is limited."""
        self.condemned: dict[str, int] = {}
        """Files that do not count any more and are to be removed, and the entries in each."""
        self.forgotten = 0
        """So many queues were forgotten: who holds on to some asks for them anew when it has changed."""

    def get(self, topic: str, queue_id: int) -> ConsumeQueue:
        """The queue, made when it is new."""
        queue = self.queues.get((topic, queue_id))
        if queue is None:
            directory = f"{self.directory}/{topic}/{queue_id}"
            queue = ConsumeQueue(self._files, directory, self.file_size, topic, queue_id)
            self.queues[topic, queue_id] = queue
            self.light_count += is_light(topic)
        return queue

    def forget_all(self) -> None:
        """As before `load`, which is to follow: what is in the files counts."""
        for key in list(self.queues):
            self._pop(key)
        self._unsynced.clear()
        self.condemned.clear()

    def _pop(self, key: QueueKey) -> ConsumeQueue:
        """Forgets a queue."""
        queue = self.queues.pop(key)
        self.forgotten += 1
        self.dirty.pop(queue, None)
        self.light_count -= is_light(key[0])
        return queue

    def load(self, found: Callable[[int], None] = lambda count: None) -> list[str]:
        """Finds the queues on disk; returns the directories of those that were broken and removed.

        The size of the files that are there wins over the configured one. `found` is told after each queue
        how many there are so far.
        """
        disk = self._files.disk
        for topic in disk.names(self.directory):
            for name in disk.names(f"{self.directory}/{topic}"):
                if name.isdecimal() and not self._look(self.get(topic, int(name))):
                    self._pop((topic, int(name)))
                found(len(self.queues))
        others = [size for size in (queue.size_on_disk() for queue in self) if size != self.file_size]
        if others:
            self.file_size = max(others) // QUEUE_ENTRY_BYTES * QUEUE_ENTRY_BYTES
        return [queue.directory for queue in self if not queue.load(self.file_size)]

    def _look(self, queue: ConsumeQueue) -> bool:
        """Finds its files, which may be none; False for somebody's file that has a number for a name."""
        try:
            queue.look()
        except StoreError:
            if self._files.disk.is_directory(queue.directory):
                raise
            return False
        return True

    def write_dirty(self, most: int | None = None) -> None:
        """Writes the entries of all queues, or of the `most` that wait longest, to their files.

        On StoreError the rest stays dirty.
        """
        self.write(list(itertools.islice(self.dirty, most)))

    def due(self, least_bytes: int) -> list[ConsumeQueue]:
        """Queues of which so much waits to be written; all that wait when they are few, or take much memory.

        Each write costs a look-up or an opening of its file, so that entries are better written many at once.
        """
        if len(self.dirty) <= FEW_QUEUES or sum([len(q.tail) for q in self.dirty]) > WAITING_BYTES_MAX:
            return list(self.dirty)
        return [queue for queue in self.dirty if len(queue.tail) >= least_bytes]

    def write(self, queues: Iterable[ConsumeQueue]) -> None:
        """Writes what these still have waiting. On StoreError the rest stays dirty."""
        for queue in queues:
            if queue in self.dirty:  # else written, or removed, since it was found due
                del self.dirty[queue]
                try:
                    self.give_back_unsynced(queue.write_tail())
                except BaseException:
                    self.dirty[queue] = None
                    raise

    def take_unsynced(self) -> dict[str, bool]:
        """Paths of the files written since this was last asked, and whether each is new."""
        unsynced, self._unsynced = self._unsynced, {}
        return unsynced

    def give_back_unsynced(self, paths: dict[str, bool]) -> None:
        """Paths that are to be synced, perhaps because that has failed."""
        for path, is_new in paths.items():
            self._unsynced[path] = is_new or self._unsynced.get(path, False)

    def remove_topics(self, topics: AbstractSet[str]) -> None:
        """Forgets the queues of these topics and removes their files."""
        for key in [key for key in self.queues if key[0] in topics]:
            self._pop(key).remove()
        for topic in topics:
            self._files.disk.remove_tree(f"{self.directory}/{topic}")
        begins = len(self.directory) + 1
        for paths in (self._unsynced, self.condemned):
            for path in [path for path in paths if path[begins:].partition("/")[0] in topics]:
                del paths[path]

    def begin_anew(self, queue: ConsumeQueue) -> None:
        """Removes its files, and those that are condemned at once: new ones get the same names."""
        begin = f"{queue.directory}/"
        for path in [path for path in self.condemned if path.startswith(begin)]:
            self._files.disk.remove(path)
            del self.condemned[path]
        queue.remove()

    def condemn_below(self, log_min_offset: int) -> None:
        """Files that name only messages below that offset of the log do not count any more."""
        for queue in self:
            for _ in range(queue.expired_files(log_min_offset)):
                self.condemned[queue.forget_first_file()] = queue.file_entries

    def expired_topics(self, log_min_offset: int) -> set[str]:
        """Topics that had messages, and all of them below that offset of the log."""
        ends: dict[str, int] = {}
        for queue in self:
            ends[queue.topic] = max(queue.log_end(), ends.get(queue.topic, 0))
        return {topic for topic, end in ends.items() if 0 < end <= log_min_offset}

    def totals(self) -> tuple[int, int]:
        """(queues with an entry, entries): what a checkpoint claims and recovery compares."""
        counts = [queue.entry_count for queue in self if queue.max_offset]
        return len(counts), sum(counts)

    def __iter__(self) -> Iterator[ConsumeQueue]:
        return iter(self.queues.values())
