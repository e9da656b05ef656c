"""The real disks, both of them: what they do, and what their failures are called."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError, StoreLocked, StoreUnavailable, WouldBlock
from rocketmq_tx.store.os_disk import OsDisk, PortableDisk, platform_disk
from rocketmq_tx.store.os_files import OsFile
from rocketmq_tx.store.store_directory import lock_store
from tests.store_cases import NOW, message, open_store

TAKE_LOCK = """
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
print("locked", flush=True)
sys.stdin.read()
"""


class DiskContract:
    """What both disks promise."""

    disk: PortableDisk

    def setUp(self) -> None:
        self.root = Path(self.mktemp())  # type: ignore[attr-defined]
        self.path = str(self.root / "a" / "b" / "file")

    def test_a_file_is_made_at_its_full_size_and_reads_as_zeros(self) -> None:
        file = self.disk.create(self.path, 100_000)
        self.assertEqual(file.size(), 100_000)
        self.assertEqual(file.pread(10, 99_995), bytes(5))
        self.assertEqual(self.disk.create(self.path, 10).size(), 100_000)

    def test_what_is_written_is_read(self) -> None:
        file = self.disk.create(self.path, 1000)
        file.pwrite(b"one", 10)
        file.pwrite(bytearray(b"two"), 500)
        file.sync()
        self.assertEqual(self.disk.open(self.path).pread(3, 10), b"one")
        self.assertEqual(file.pread_cached(3, 500), b"two")
        self.assertEqual(file.pread_cached(20, 990), bytes(10))

    def test_a_part_of_a_file_is_read_into_a_buffer_that_is_there(self) -> None:
        file = self.disk.create(self.path, 100)
        file.pwrite(b"one", 50)
        buffer = memoryview(bytearray(b"x" * 5))
        file.pread_cached_into(buffer[:4], 49)
        self.assertEqual(buffer.tobytes(), b"\0onex")
        self.assertRaises(StoreError, file.pread_cached_into, buffer, 96)

    def test_cutting_and_extending_leaves_zeros(self) -> None:
        file = self.disk.create(self.path, 100)
        file.pwrite(b"x" * 100, 0)
        file.truncate(40)
        file.truncate(100)
        self.assertEqual(file.pread(100, 0), b"x" * 40 + bytes(60))

    def test_a_file_that_may_only_be_read_is_read_and_says_why_it_is_not_written(self) -> None:
        self.disk.create(f"{self.root}/old", 10).pwrite(b"x", 3)
        real_open, refused = os.open, []

        def open_to_read(path: str, flags: int, *mode: int) -> int:
            if flags & os.O_RDWR:
                refused.append(path)
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return real_open(path, flags, *mode)

        self.patch(os, "open", open_to_read)
        file = self.disk.open(f"{self.root}/old")
        self.assertEqual((file.pread(1, 3), len(refused)), (b"x", 1))
        for write in (lambda: file.pwrite(b"y", 0), lambda: file.truncate(0)):
            self.assertIn("Permission denied", str(self.assertRaises(StoreError, write)))
        file.sync()

    def test_what_stands_in_the_place_of_a_directory_is_named(self) -> None:
        os.makedirs(self.root, exist_ok=True)
        os.symlink("nowhere", f"{self.root}/link")
        self.disk.create(f"{self.root}/file", 0)
        for name, words in (("link", "leads nowhere"), ("file", "a file of that name exists")):
            error = self.assertRaises(StoreError, self.disk.make_directory, f"{self.root}/{name}")
            self.assertIn(words, str(error))

    def test_files_have_names_and_sizes_and_can_be_renamed_and_removed(self) -> None:
        self.disk.create(self.path, 7)
        folder = str(self.root / "a")
        self.assertEqual(self.disk.names(folder), ["b"])
        self.assertEqual(self.disk.names(str(self.root / "none")), [])
        self.assertTrue(self.disk.is_directory(folder))
        self.assertEqual(self.disk.file_size(self.path), 7)
        self.disk.rename(self.path, self.path + "2")
        self.assertIsNone(self.disk.file_size(self.path))
        self.disk.sync_directory(folder)
        self.assertEqual(self.disk.sync_file_system(folder), isinstance(self.disk, OsDisk))
        self.disk.remove(self.path + "2")
        self.disk.remove(self.path + "2")
        self.disk.remove_tree(folder)
        self.disk.remove_tree(folder)
        self.assertFalse(self.disk.is_directory(folder))

    def test_space_is_that_of_the_nearest_directory_there_is(self) -> None:
        space = self.disk.space(self.path)
        self.assertGreaterEqual(space.total_bytes, space.free_bytes)
        self.assertGreaterEqual(space.free_bytes, space.usable_bytes)

    def test_failures_name_the_file_and_the_cause(self) -> None:
        missing = str(self.root / "missing")
        self.disk.create(self.path, 1)
        failures = (
            (lambda: self.disk.open(missing), "open", "No such file"),
            (lambda: self.disk.rename(missing, missing + "2"), "rename", "No such file"),
            (lambda: self.disk.create(self.path + "/below", 1), "make the directory", "exists"),
            (lambda: self.disk.create(str(self.root), 1), "create", "Is a directory"),
            (lambda: self.disk.names(self.path), "list", "Not a directory"),
            (lambda: self.disk.file_size(self.path + "/x"), "look at", "Not a directory"),
            (lambda: self.disk.remove(str(self.root)), "remove", "directory"),
            (lambda: self.disk.remove_tree(self.path), "remove", "Not a directory"),
            (lambda: self.disk.lock(str(self.root)), "open", "Is a directory"),
            (lambda: self.disk.open(self.path).truncate(-1), "set the size", "Invalid"),
        )
        for action, verb, cause in failures:
            error = self.assertRaises(StoreError, action)  # type: ignore[attr-defined]
            self.assertIn(verb, str(error))
            self.assertIn(cause, str(error))

    def test_a_lock_keeps_others_of_this_process_out(self) -> None:
        lock = lock_store(self.disk, str(self.root))
        error = self.assertRaises(StoreLocked, lock_store, self.disk, str(self.root))  # type: ignore[attr-defined]
        self.assertIn("another broker", str(error))
        self.assertEqual((self.root / "lock").read_bytes(), b"lock")
        lock.release()
        lock.release()
        self.assertRaises(StoreError, lock.write, b"x")  # type: ignore[attr-defined]
        lock_store(self.disk, str(self.root)).release()

    def test_a_lock_keeps_other_processes_out(self) -> None:
        self.root.mkdir()
        (self.root / "lock").write_bytes(b"lock")
        child = subprocess.Popen(
            [sys.executable, "-c", TAKE_LOCK, str(self.root / "lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert child.stdout is not None
            self.assertEqual(child.stdout.readline(), b"locked\n")
            self.assertRaises(StoreLocked, lock_store, self.disk, str(self.root))  # type: ignore[attr-defined]
        finally:
            child.communicate()
        lock_store(self.disk, str(self.root)).release()

    def failing(self, call: str, error_number: int) -> mock._patch[mock.Mock]:
        return mock.patch(f"os.{call}", side_effect=OSError(error_number, os.strerror(error_number)))

    def test_no_room_is_told_from_other_failures(self) -> None:
        file = self.disk.create(self.path, 100)
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            with self.failing(self.write_call, number):
                error = self.assertRaises(StoreUnavailable, file.pwrite, b"x", 42)  # type: ignore[attr-defined]
            self.assertIn(self.path, str(error))
            self.assertIn("42", str(error))
        with self.failing(self.write_call, errno.EIO):
            error = self.assertRaises(StoreError, file.pwrite, b"x", 42)  # type: ignore[attr-defined]
        self.assertNotIsInstance(error, StoreUnavailable)

    def test_short_writes_and_reads_go_on(self) -> None:
        file = self.disk.create(self.path, 100)
        write, read = getattr(os, self.write_call), getattr(os, self.read_call)
        with mock.patch(f"os.{self.write_call}", lambda fd, data, *at: write(fd, data[:3], *at)):
            file.pwrite(b"0123456789", 5)
        with mock.patch(f"os.{self.read_call}", lambda fd, length, *at: read(fd, min(length, 4), *at)):
            self.assertEqual(file.pread(10, 5), b"0123456789")
            self.assertEqual(file.pread(10, 95), bytes(5))
        with mock.patch(f"os.{self.write_call}", return_value=0):
            self.assertRaises(StoreError, file.pwrite, b"0123456789", 5)  # type: ignore[attr-defined]

    def test_failed_reads_and_syncs_are_store_errors(self) -> None:
        file = self.disk.create(self.path, 100)
        with self.failing(self.read_call, errno.EIO):
            self.assertRaises(StoreError, file.pread, 1, 0)  # type: ignore[attr-defined]
        with self.failing(self.sync_call, errno.EIO):
            self.assertRaises(StoreError, file.sync)  # type: ignore[attr-defined]


class PortableDiskTests(DiskContract, SynchronousTestCase):
    disk = PortableDisk()
    write_call, read_call, sync_call = "write", "read", "fsync"

    def test_a_failed_question_for_space_is_a_store_error(self) -> None:
        with mock.patch("shutil.disk_usage", side_effect=OSError(errno.EIO, "broken")):
            self.assertRaises(StoreError, self.disk.space, str(self.root))


class OsDiskTests(DiskContract, SynchronousTestCase):
    disk = OsDisk()
    write_call, read_call, sync_call = "pwrite", "pread", "fdatasync"

    def test_cold_bytes_would_block(self) -> None:
        file = self.disk.create(self.path, 100)
        with mock.patch("os.preadv", side_effect=BlockingIOError(errno.EAGAIN, "cold")):
            error = self.assertRaises(WouldBlock, file.pread_cached, 10, 20)
        self.assertEqual((error.path, error.offset, error.length), (self.path, 20, 10))
        with mock.patch("os.preadv", return_value=5):
            self.assertRaises(WouldBlock, file.pread_cached, 10, 20)
            self.assertRaises(WouldBlock, file.pread_cached_into, memoryview(bytearray(10)), 20)

    def test_a_file_system_that_cannot_tell_is_read_as_usual(self) -> None:
        file = self.disk.create(self.path, 100)
        file.pwrite(b"x", 5)
        with self.failing("preadv", errno.EOPNOTSUPP):
            buffer = memoryview(bytearray(1))
            file.pread_cached_into(buffer, 5)
            self.assertEqual(buffer, b"x")
            self.assertEqual(file.pread_cached(1, 5), b"x")
        with self.failing("preadv", errno.EIO):
            self.assertEqual(file.pread_cached(1, 5), b"x")

    def test_a_failed_cached_read_is_a_store_error(self) -> None:
        file = self.disk.create(self.path, 100)
        with self.failing("preadv", errno.EIO):
            self.assertRaises(StoreError, file.pread_cached, 1, 0)
            self.assertRaises(StoreError, file.pread_cached_into, memoryview(bytearray(1)), 0)

    def test_failures_of_directories_and_space_are_store_errors(self) -> None:
        self.assertRaises(StoreError, self.disk.sync_directory, str(self.root / "none"))
        self.assertRaises(StoreError, self.disk.sync_file_system, str(self.root / "none"))
        with self.failing("statvfs", errno.EIO):
            self.assertRaises(StoreError, self.disk.space, str(self.root))

    def test_the_platform_has_the_fast_disk_if_it_has_the_calls(self) -> None:
        self.assertIs(type(platform_disk()), OsDisk)
        with mock.patch.object(os, "preadv", create=True):
            del os.preadv
            self.assertIs(type(platform_disk()), PortableDisk)

    def test_directories_above_a_new_store_are_synced_and_a_stray_file_is_no_queue(self) -> None:
        synced: list[str] = []
        disk = OsDisk()
        sync = disk.sync_directory
        self.patch(disk, "sync_directory", lambda path: (synced.append(path), sync(path)))
        above = Path(self.mktemp()).absolute()
        root = str(above / "deep" / "store")
        store = open_store(disk, root)
        self.assertEqual(synced[:3], [str(above.parent), str(above), str(above / "deep")])
        store.append_all([message("T")], NOW)
        store.close(NOW)
        Path(root, "consumequeue", "T", "5").write_text("mine")
        store = open_store(disk, root)
        self.assertEqual(store.queues(), [("T", 0)])
        store.close(NOW)

    def test_a_forgotten_file_is_closed_by_its_last_holder(self) -> None:
        file = self.disk.create(self.path, 10)
        assert isinstance(file, OsFile)
        descriptor = file._descriptor
        os.fstat(descriptor)
        del file
        self.assertRaises(OSError, os.fstat, descriptor)
