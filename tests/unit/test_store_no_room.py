"""A disk that is full at any one change of a workload, or from any one on until there is room again."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store

Found = dict[tuple[str, int, int], bytes]


class FillingDisk(MemoryDisk):
    """Has no room for what grows a file, from the `first` such change to before the `end`; counts them."""

    def __init__(self, first: int, end: int, short: int | None) -> None:
        super().__init__()
        self.first, self.end, self.short = first, end, short
        self.count = 0

    def check(self, action: str, path: str) -> int | None:
        if action in ("write", "create", "truncate"):
            self.count += 1
            if self.first <= self.count - 1 < self.end:
                if action == "write" and self.short is not None:
                    return self.short
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().check(action, path)


class NoRoomTests(SynchronousTestCase):
    def work(self, disk: FillingDisk) -> tuple[MessageStore | None, Found]:
        """Appends, writes queues and index, makes checkpoints; at the end there is room."""
        acknowledged: Found = {}
        try:
            store = open_store(disk)
        except StoreError:
            return None, acknowledged
        steps = (
            lambda: store.derived.write_some_queues(9),
            lambda: store.derived.save_checkpoint(NOW),
            lambda: store.derived.write_index(NOW),
            lambda: store.derived.save_checkpoint(NOW),
        )
        for turn, step in enumerate(steps):
            for n in range(turn * 20, turn * 20 + 20):
                self.send(store, n, acknowledged)
            try:
                step()
            except StoreError:
                self.assertLess(disk.first, disk.count)
        disk.end = 0
        self.send(store, 99, acknowledged)
        self.assertIn(b"99 ", [body[:3] for body in acknowledged.values()])
        return store, acknowledged

    def send(self, store: MessageStore, n: int, acknowledged: Found) -> None:
        body = b"%d " % n + b"y" * (200 + n * 37)
        try:
            (place,) = store.append_all([message("AB"[n % 2], n % 3, body, unique=f"U{n}")], NOW + n)
        except StoreError:
            return
        acknowledged["AB"[n % 2], n % 3, place.queue_offset] = body

    def found(self, store: MessageStore) -> Found:
        found: Found = {}
        for topic, queue in store.queues():
            offset, end = store.queue_offsets(topic, queue)
            while offset < end:
                result = store.get_messages(topic, queue, offset, 32)
                for record in decode_records(result.body):
                    found[topic, queue, record.queue_offset] = record.body
                offset = result.next_offset
        return found

    def test_what_was_acknowledged_is_there_and_what_was_refused_is_not(self) -> None:
        whole = FillingDisk(0, 0, None)
        self.work(whole)
        self.assertGreater(whole.count, 100)
        for first in range(whole.count):
            for end, short in ((first + 1, None), (1 << 60, None), (first + 1, 30)):
                disk = FillingDisk(first, end, short)
                store, acknowledged = self.work(disk)
                if store is None:
                    disk.end = 0
                    store = open_store(disk)
                case = (first, end, short)
                self.assertEqual(self.found(store), acknowledged, case)
                self.assertEqual(self.found(open_store(disk.after_kill())), acknowledged, case)
                store.close(NOW)
                self.assertEqual(self.found(open_store(disk)), acknowledged, case)
