"""The message index: finds messages of a topic by a key and a span of store time.

Keys wait in a list and are entered in bites, hashed together. Files follow one another as they fill up.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from rocketmq_tx.errors import IndexNotReady
from rocketmq_tx.protocol.java import index_key_hash
from rocketmq_tx.store.index_file import IndexFile, IndexSnapshot
from rocketmq_tx.store.key_walk import KeyWalk
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.segments import OpenFiles

_NAME_DIGITS = 17


class MessageIndex:
    """`pending` is filled by the append path; `write` enters what waits there."""

    def __init__(
        self,
        files: OpenFiles,
        directory: str,
        slots_max: int,
        entries_max: int,
        pending: PendingKeys,
        notice: Callable[[str], None],
    ) -> None:
        self.pending = pending
        self.files: list[IndexFile] = []
        self._open_files = files
        self._directory = directory
        self._slots_max = slots_max
        self._entries_max = entries_max
        self._unsynced_full: list[IndexFile] = []
        self._being_synced: list[IndexFile] = []
        self._notice = notice
        self._unread: IndexFile | None = None
        self.is_incomplete = False
        """Whether keys may be missing: no checkpoint vouches for it then, and the next start builds it."""
        self.condemned: list[str] = []
        """Files that do not count any more and are to be removed."""

    @property
    def directory(self) -> str:
        """Where its files are."""
        return self._directory

    # -- opening -------------------------------------------------------------------------------------------

    def load(self) -> list[str]:
        """Opens the files on disk; those of another size go. Returns sentences about what was dropped."""
        disk = self._open_files.disk
        size = IndexFile.size_of(self._slots_max, self._entries_max)
        dropped = []
        for name in disk.names(self._directory):
            if len(name) != _NAME_DIGITS or not name.isdecimal():
                continue
            path = f"{self._directory}/{name}"
            if disk.file_size(path) != size:
                dropped.append(f"the index file {path} has not {size} bytes and was removed")
                disk.remove(path)
                continue
            file = IndexFile(self._open_files, path, self._slots_max, self._entries_max)
            file.load()
            self.files.append(file)
        return dropped

    def forget(self) -> None:
        """As before `load`, which is to follow: what is in the files counts."""
        self.files.clear()
        self.pending.clear()
        self._unsynced_full.clear()
        self._being_synced.clear()
        self._unread = None
        self.is_incomplete = False

    def keep_claimed(self, name: int, entries: int, clean: bool) -> int | None:
        """Keeps the files that a claim of ours covers: up to that name, with so many entries or a few more.

        Returns the entries of all, None when they are not what was claimed and nothing can be trusted. The
        slots of the newest file are looked through later unless the end was clean.
        """
        self._remove([file for file in self.files if file.name > name])
        newest_name = self.files[-1].name if self.files else 0
        if newest_name != name or self.entry_count < entries:
            return None
        if self.files and not clean:
            self._read_newest_later()
        return self.entry_count

    def drop_from(self, name: int) -> None:
        """Removes the files of that name and above: keys before them are missing, and were in that one."""
        self._remove([file for file in self.files if file.name >= name])

    def keep_to(self, timestamp: int) -> bool:
        """After a crash, without a claim: keeps the files that end by this store time (Apache's rule).

        Only the last of them may have room, and none is empty: one that was just begun tells that the one
        before may not be whole on the disk. The slots of the newest one are looked through, those of a full
        one later: it may be the one that was written, or made good, when the crash came.
        """
        files, kept = list(self.files), 0
        while kept < len(files) and files[kept].end_timestamp <= timestamp and files[kept].index_count > 1:
            kept += 1
            if not files[kept - 1].is_full:
                break
        self._remove(files[kept:])
        if self.files and not self.files[-1].is_full and not self.files[-1].drop_newer_slots():
            self._remove(self.files[-1:])
        if self.files and self.files[-1].is_full:
            self._read_newest_later()
        return bool(self.files)

    def _read_newest_later(self) -> None:
        self._unread = self.files[-1]
        self._unread.read_slots_later()

    @property
    def entry_count(self) -> int:
        """Keys entered in all files."""
        return sum([file.index_count - 1 for file in self.files])

    def remove_all(self) -> None:
        """Removes every file."""
        self._remove(list(self.files))
        self._unread = None
        self.is_incomplete = False

    def _remove(self, files: list[IndexFile]) -> None:
        """The newest first: what a kill in between leaves has all keys up to its end."""
        for file in reversed(files):
            self._open_files.disk.remove(file.path)
            self._open_files.forget(file.path)
            self.files.remove(file)

    def condemn_below(self, log_min_offset: int) -> None:
        """Files that name only messages below that offset do not count any more; the newest always does."""
        while len(self.files) > 1 and self.files[0].end_offset < log_min_offset:
            if self.files[0] in self._unsynced_full:
                break
            path = self.files.pop(0).path
            self._open_files.forget(path)
            self.condemned.append(path)

    def mend_times(self, store_time: Callable[[int], int | None]) -> None:
        """Takes the times of the newest file, by which queries leave files out, from the log if it has them.

        `store_time` is that of the record at an offset; None where none begins.
        """
        for file in self.files[-1:]:
            begin, end = store_time(file.begin_offset), store_time(file.end_offset)
            if file.index_count > 1:
                file.begin_timestamp = file.begin_timestamp if begin is None else begin
                file.end_timestamp = file.end_timestamp if end is None else end

    @property
    def end_offset(self) -> int:
        """Commit log offset of the newest message that is entered; -1 without any."""
        return next((file.end_offset for file in reversed(self.files) if file.index_count > 1), -1)

    @property
    def complete_to(self) -> int:
        """Messages below that offset have all their keys in the files.

        Of the last one in a full file, some may have gone to a next file that a crash has left empty.
        """
        newest = next((file for file in reversed(self.files) if file.index_count > 1), None)
        return 0 if newest is None else newest.end_offset + (not newest.is_full)

    @property
    def end_timestamp(self) -> int:
        """Store time of the newest message that is entered; 0 without any."""
        return self.files[-1].end_timestamp if self.files else 0

    # -- writing -------------------------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """Whether a start has left work for `write_bite`: slots to be looked through, or keys."""
        return self._unread is not None or bool(self.pending.aside)

    def check_ready(self, end_ms: int | None = None) -> None:
        """IndexNotReady when a query up to that store time would have to do first what a start has left."""
        if not self.is_behind:
            return
        if self._unread is not None and end_ms is not None and end_ms < self._unread.begin_timestamp:
            return
        raise IndexNotReady(self.left_sentence)

    @property
    def left_sentence(self) -> str:
        """What a start has left, and how far it is, for people."""
        if self._unread is None:
            return f"the message index waits for the keys of {len(self.pending.aside)} stretches of the log"
        return f"{self._unread.path} is made ready after a crash: {self._unread.reading_progress}"

    def write(self, now_ms: int) -> None:
        """Enters the waiting keys; one write a file. StoreError leaves waiting what was not entered."""
        while self.is_behind:
            self.write_bite(now_ms)
        self._enter(self.pending, now_ms)

    def write_bite(self, now_ms: int) -> None:
        """As `write`, only a bite of what a start has left: some slots, or else the first keys aside."""
        aside = self.pending.aside
        if self._unread is not None:
            if not self._unread.read_on():
                self._was_read(self._unread)
        elif aside:
            self._enter(aside[0], now_ms)
            aside.popleft()

    def _was_read(self, file: IndexFile) -> None:
        self._unread = None
        if file.is_mended:
            self._notice(f"the slots of {file.path} were damaged and have been made again from its entries")
        if file.lacks_entries:
            self.is_incomplete = True
            self._notice("entries of it are damaged, too: the next start builds the index from the whole log")

    def _enter(self, keys: PendingKeys, now_ms: int) -> None:
        hashes, offsets, timestamps = keys.hashed()
        entered = 0
        try:
            while entered < len(hashes):
                file = self._writable_file(now_ms)
                entered += file.add(hashes[entered:], offsets[entered:], timestamps[entered:])
        except BaseException:
            keys.drop_first(entered)
            raise
        keys.clear()

    def _writable_file(self, now_ms: int) -> IndexFile:
        newest = self.files[-1] if self.files else None
        if newest is not None and not newest.is_full:
            return newest
        name = int(datetime.fromtimestamp(now_ms / 1000).strftime("%Y%m%d%H%M%S%f")[:-3])
        if newest is not None:
            name = max(name, newest.name + 1)
        path = f"{self._directory}/{name:0{_NAME_DIGITS}d}"
        file = IndexFile(self._open_files, path, self._slots_max, self._entries_max)
        if newest is not None:
            file.begin_offset = file.end_offset = newest.end_offset
            file.begin_timestamp = file.end_timestamp = newest.end_timestamp
            self._unsynced_full.append(newest)
        file.create()
        self.files.append(file)
        return file

    def snapshots(self) -> list[IndexSnapshot]:
        """What a checkpoint has to write and sync, after `write`: full files first."""
        self._being_synced = list(self._unsynced_full)
        files = [*self._being_synced, *self.files[-1:]]
        return [file.snapshot() for file in files]

    def snapshots_written(self) -> None:
        """The snapshots last taken are on the device; a file that has become full since is not."""
        for file in self._being_synced:
            file.release_slots()
            self._unsynced_full.remove(file)
        self._being_synced = []

    def take_back(self, snapshots: list[IndexSnapshot]) -> None:
        """Snapshots that could not be written stay due."""
        by_path = {file.path: file for file in self.files}
        for snapshot in snapshots:
            if snapshot.path in by_path:
                by_path[snapshot.path].take_back(snapshot)

    def walk(self, topic: str, key: str, begin_ms: int, end_ms: int) -> KeyWalk:
        """What the files have for a key of messages of a topic, stored in that time."""
        return KeyWalk(self, index_key_hash(f"{topic}#{key}"), begin_ms, end_ms)
