"""`mqstore` on Apache's recorded stores and on ours: what it finds, shows, and how it ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.cli import mqstore
from rocketmq_tx.errors import StoreDamaged
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import platform_disk
from tests import golden
from tests.integration.test_store_golden import expected
from tests.store_cases import NOW, STORE_HOST, message, small_config

CLEAN = ("clean_shutdown", "cqext", "full", "full_killed", "ipv6", "killed", "cq_lost")


class MqstoreCase(SynchronousTestCase):
    def golden(self, name: str) -> Path:
        folder = Path(self.mktemp())
        with tarfile.open(golden.path(f"store/{name}.tar.gz")) as archive:
            archive.extractall(folder, filter="data")
        return folder / name

    @contextlib.contextmanager
    def own(self, **changes: Any) -> Iterator[tuple[MessageStore, Path]]:
        """A store of ours with some messages, closed in order at the end."""
        root = Path(self.mktemp())
        store = MessageStore(small_config(str(root), **changes), platform_disk(), STORE_HOST)
        store.open(NOW)
        for number in range(60):
            body = b"%d" % number * 400
            one = message("T", number % 2, body, unique=f"U{number}", keys="k l", tags=f"Tag{number % 3}")
            store.append_all([one], NOW + number * 100)
        yield store, root
        store.close(NOW)

    def closed(self, **changes: Any) -> Path:
        with self.own(**changes) as (_, root):
            pass
        return root

    def call(self, *arguments: object) -> tuple[int, str]:
        """(exit code, stdout)."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
            code = mqstore.run(list(map(str, arguments)))
        self.complaint = err.getvalue()
        return code, out.getvalue()

    def verify(self, store: Path) -> dict[str, Any]:
        code, out = self.call("verify", store, "--json")
        report: dict[str, Any] = json.loads(out)
        self.assertEqual(code, 0 if report["clean"] else 1)
        return report

    def lines(self, *arguments: object) -> list[dict[str, Any]]:
        code, out = self.call(*arguments, "--json")
        self.assertEqual(code, 0, self.complaint)
        return [json.loads(line) for line in out.splitlines()]


class VerifyTests(MqstoreCase):
    def test_sound_stores_of_apache_are_clean_and_counted(self) -> None:
        for name in CLEAN:
            report = self.verify(self.golden(name))
            self.assertEqual(report["damage"], [], name)
            self.assertEqual(report["records"], len(expected(name)["records"]), name)
            self.assertEqual(
                report["log_end_offset"], expected(name)["apacheAnswersAfterRestart"]["commitLogMaxOffset"]
            )
            self.assertTrue(report["index_looked_at"])

    def test_a_wrong_checksum_in_the_middle_is_damage_and_the_rest_is_whole(self) -> None:
        report = self.verify(self.golden("torn_middle"))
        self.assertEqual(report["damage"], ["the record at 5568 (192 bytes) is damaged"])
        self.assertEqual(report["records"], 61)

    def test_a_torn_end_is_told_from_what_the_queues_and_the_index_know(self) -> None:
        for name in ("torn_last_size", "torn_zeroed"):
            report = self.verify(self.golden(name))
            self.assertEqual(
                report["damage"],
                [
                    "GoldenUni queue 0: entry 0 lies behind the end of the log",
                    "1 entries of the index lie behind the end of the log at 32725",
                ],
            )
            self.assertIn("behind the end of the log at 32725 lie", report["notes"][1])

    def test_a_damaged_last_record_and_a_short_file_are_damage(self) -> None:
        self.assertEqual(
            self.verify(self.golden("torn_crc"))["damage"], ["the record at 32725 (168 bytes) is damaged"]
        )
        self.assertIn(
            "has 32809 bytes instead of 65536", self.verify(self.golden("truncated_file"))["damage"][0]
        )

    def test_a_store_of_ours_is_clean_after_an_ordered_end(self) -> None:
        report = self.verify(self.closed())
        self.assertEqual((report["damage"], report["notes"]), ([], []))
        self.assertEqual((report["records"], report["queue_entries"], report["index_entries"]), (60, 60, 180))

    def test_a_store_that_is_open_may_look_unfinished_but_not_damaged_and_stays_as_it_is(self) -> None:
        with self.own() as (store, root):
            store.derived.save_checkpoint(NOW)
            before = contents(root)
            store.append_all([message("T", 0, b"new", unique="new")], NOW + 10_000)
            report = self.verify(root)
            self.assertEqual(report["damage"], [])
            self.assertIn(
                "T queue 0: 1 entries are not there, from 30 on; a start adds them", report["notes"]
            )
            changed = {path for path, content in contents(root).items() if before.get(path) != content}
            self.assertEqual({path.parts[0] for path in changed}, {"commitlog"})
            store.append_all([message("T", 0)], NOW + 10_000)  # the lock was not disturbed, and is still ours

    def test_queue_entries_that_the_log_does_not_bear_out_are_damage(self) -> None:
        root = self.closed()
        queue = root / "consumequeue/T/1" / f"{0:020d}"
        for number, what in (
            (3, "T queue 1: entry 3 names 1599 bytes at"),
            (4, "T queue 1: entry 4 has the tags code 99 and not"),
        ):
            change = (12, 4, 1599) if number == 3 else (12, 8, 99)
            at = number * 20 + (8 if number == 3 else 12)
            with patched(queue, at, change[2].to_bytes(change[1], "big")):
                damage = self.verify(root)["damage"]
                self.assertEqual(len(damage), 1, damage)
                self.assertIn(what, damage[0])
        with patched(queue, 5 * 20, bytes(20)):
            self.assertIn("T queue 1: 1 entries are missing, from 5 on", self.verify(root)["damage"])
        with patched(queue, 30 * 20, queue.read_bytes()[:20]):
            self.assertIn("T queue 1: entry 30 is none", self.verify(root)["damage"])

    def test_a_queue_without_its_messages_and_messages_without_their_queue_are_damage(self) -> None:
        root = self.closed()
        (root / "consumequeue/T/0").rename(root / "consumequeue/T/7")
        damage = self.verify(root)["damage"]
        self.assertEqual(
            damage,
            [
                "T queue 0: 30 entries are missing, from 0 on",
                "T queue 7: 30 entries name no message of the queue",
            ],
        )

    def test_an_index_that_the_log_does_not_bear_out_is_damage(self) -> None:
        root = self.closed()
        (file,) = (root / "index").iterdir()
        entries_at = 40 + 500 * 4
        with patched(file, entries_at + 20 * 20, (77).to_bytes(4, "big")):
            damage = "\n".join(self.verify(root)["damage"])
            self.assertIn("has a key for the message at", damage)
            self.assertIn("keys of 1 messages are not in the index", damage)
        with patched(file, entries_at + 20 * 20 + 4, (5).to_bytes(8, "big")):
            self.assertIn("entry 20 names an older message", "\n".join(self.verify(root)["damage"]))
        with patched(file, entries_at + 20 * 20 + 16, (19).to_bytes(4, "big")):
            self.assertIn("entry 20 is not chained", "\n".join(self.verify(root)["damage"]))
        with patched(file, 40, bytes(500 * 4)):
            self.assertIn(
                "of its slots do not lead to their newest entry", "\n".join(self.verify(root)["damage"])
            )
        with patched(file, 24, (3).to_bytes(8, "big")):
            self.assertIn("its header ends at another message", "\n".join(self.verify(root)["damage"]))

    def test_an_index_of_unknown_proportions_needs_the_brokers_file(self) -> None:
        root = self.closed(max_hash_slot_num=500, max_index_num=300)
        self.assertFalse(self.verify(root)["index_looked_at"])
        config = root / "broker.properties"
        config.write_text(f"storePathRootDir={root}\nmaxHashSlotNum=500\nmaxIndexNum=300\n")
        code, out = self.call("verify", "-c", config, "--json")
        self.assertEqual(
            (code, json.loads(out)["index_looked_at"], json.loads(out)["index_entries"]), (0, True, 180)
        )

    def test_a_commit_log_in_several_folders_needs_the_brokers_file(self) -> None:
        folder = Path(self.mktemp()).absolute()
        paths = f"{folder}/a,{folder}/b"
        root = self.closed(mapped_file_size_commit_log=8192, store_path_commit_log=paths)
        self.assertTrue(list((folder / "b").iterdir()))
        config = folder / "broker.properties"
        lines = [f"storePathRootDir={root}", f"storePathCommitLog={paths}"]
        config.write_text("\n".join([*lines, "maxHashSlotNum=500", "maxIndexNum=2000", ""]))
        code, out = self.call("verify", "-c", config, "--json")
        self.assertEqual((code, json.loads(out)["records"]), (0, 60))

    def test_a_missing_segment_is_damage_and_what_follows_is_looked_at(self) -> None:
        root = self.closed(mapped_file_size_commit_log=8192)
        names = sorted(file.name for file in (root / "commitlog").iterdir())
        (root / "commitlog" / names[2]).unlink()
        report = self.verify(root)
        self.assertEqual(report["damage"][0], "8192 bytes at 16384 of the log are in no file")
        self.assertGreater(report["records"], 40)
        self.assertEqual(report["log_end_offset"], self.log_end(names))

    def log_end(self, names: list[str]) -> int:
        whole = self.closed(mapped_file_size_commit_log=8192)
        self.assertEqual(sorted(file.name for file in (whole / "commitlog").iterdir()), names)
        return int(self.verify(whole)["log_end_offset"])

    def test_a_flipped_bit_in_a_length_costs_that_record_only(self) -> None:
        root = self.closed()
        records = self.lines("dump", "records", root)
        log = root / "commitlog" / f"{0:020d}"
        with patched(log, records[10]["offset"], b"\x7f"):
            report = self.verify(root)
        self.assertEqual(
            report["damage"],
            [f"{records[10]['size']} bytes at {records[10]['offset']} of the log are no record"],
        )
        self.assertEqual(report["records"], 59)

    def test_tables_that_cannot_be_read_are_damage_unless_their_bak_can(self) -> None:
        root = self.closed()
        (root / "config").mkdir(exist_ok=True)
        (root / "config/topics.json").write_text('{"topicConfigTable":{"T":')
        self.assertIn("cannot be read, nor its .bak", self.verify(root)["damage"][0])
        (root / "config/topics.json.bak").write_text('{"topicConfigTable":{"T":{}}}')
        report = self.verify(root)
        self.assertEqual(report["damage"], [])
        self.assertIn("cannot be read, but its .bak can", report["notes"][0])

    def test_messages_of_a_deleted_topic_are_missed_nowhere(self) -> None:
        with self.own() as (store, root):
            store.delete_topic("T")
            store.append_all([message("Other", 0, b"x", unique="x")], NOW + 20_000)
        self.assertEqual(self.verify(root)["damage"], [])
        (root / "config/deletedTopics.json").unlink()
        (root / "config/topics.json").write_text('{"topicConfigTable":{"Other":{}}}')
        report = self.verify(root)  # as a server of Apache's leaves it
        self.assertEqual(report["damage"], [])
        self.assertEqual(report["notes"][0], "T queue 0: is gone with its topic; the log has 30 messages")

    def test_a_checkpoint_that_promises_too_much_is_damage(self) -> None:
        root = self.closed()
        log = root / "commitlog" / f"{0:020d}"
        last = self.lines("dump", "records", root)[-1]
        with patched(log, last["offset"], bytes(last["size"])):
            self.assertIn(f"which ends at {last['offset']}", self.verify(root)["damage"][-1])

    def test_the_text_says_what_was_found_and_ends_with_a_sum(self) -> None:
        code, out = self.call("verify", self.golden("torn_middle"))
        self.assertEqual(code, 1)
        self.assertEqual(
            out.splitlines()[1:],
            [
                "DAMAGE: the record at 5568 (192 bytes) is damaged",
                "61 whole records from 0 to 32893, 62 entries in 8 queues, 124 keys in 1 index files: "
                "1 times damage",
            ],
        )
        code, out = self.call("verify", self.golden("torn_last_size"), "--most", "1")
        self.assertIn("... and 3 more", out)


class DumpTests(MqstoreCase):
    def test_records_are_those_that_apache_serves(self) -> None:
        lines = self.lines("dump", "records", self.golden("full_killed"), "--bodies")
        wanted = expected("full_killed")["records"]
        self.assertEqual(
            [(line["offset"], line["size"], line["topic"], line["properties"]) for line in lines],
            [(one["physicalOffset"], one["size"], one["topic"], one["properties"]) for one in wanted],
        )
        self.assertEqual(lines[0]["body"], wanted[0]["bodyText"])
        self.assertTrue(any("bodyBase64" in line for line in lines))

    def test_records_can_be_chosen(self) -> None:
        store = self.golden("torn_middle")
        everything = self.lines("dump", "records", store)
        self.assertEqual([line["offset"] for line in everything if "damage" in line], [5568])
        chosen = self.lines("dump", "records", store, "--topic", "GoldenA", "--queue", 1, "--limit", 2)
        self.assertEqual([(line["topic"], line["queueId"]) for line in chosen], [("GoldenA", 1)] * 2)
        behind = self.lines("dump", "records", store, "--from", 5568)
        self.assertEqual(behind, [line for line in everything if line["offset"] >= 5568])

    def test_queues_index_and_checkpoint_are_shown(self) -> None:
        store = self.golden("killed")
        entries = self.lines("dump", "queues", store, "--topic", "GoldenA", "--queue", 0)
        answers = expected("killed")["apacheAnswersAfterRestart"]["queues"]
        (queue,) = [one for one in answers if (one["topic"], one["queueId"]) == ("GoldenA", 0)]
        self.assertEqual([[line["queueOffset"], line["offset"]] for line in entries], queue["entries"])
        head, *rows = self.lines("dump", "index", store)
        self.assertEqual((head["slots"], len(rows)), (500, 124))
        (checkpoint,) = self.lines("dump", "checkpoint", store)
        self.assertTrue(checkpoint["abort"])
        self.assertIsNone(checkpoint["claim"])
        (ours,) = self.lines("dump", "checkpoint", self.closed())
        self.assertGreater(ours["claim"]["dispatched_to"], 0)

    def test_text_has_a_line_for_each_and_no_control_characters(self) -> None:
        root = Path(self.mktemp())
        store = MessageStore(small_config(str(root)), platform_disk(), STORE_HOST)
        store.open(NOW)
        store.append_all([message("T", 0, b"\x1b[31m", tags="\x1b]0;x")], NOW)
        store.close(NOW)
        _, out = self.call("dump", "records", root, "--bodies")
        self.assertEqual(
            out,
            r"           0      107 T 0 0 2023-11-14T22:13:20.000Z {TAGS=\x1b]0;x} '\x1b[31m'" + "\n",
        )
        for what in ("queues", "index", "checkpoint"):
            code, out = self.call("dump", what, self.golden("cqext"))
            self.assertEqual(code, 0)
            self.assertTrue(out)


class StatsTests(MqstoreCase):
    def test_messages_and_bytes_by_topic(self) -> None:
        (stats,) = self.lines("stats", self.golden("full"))
        wanted = expected("full")["records"]
        for topic, own in stats["topics"].items():
            records = [one for one in wanted if one["topic"] == topic]
            times = [one["storeTimestamp"] for one in records]
            self.assertEqual(
                (own["messages"], own["bytes"], own["first_ms"], own["last_ms"]),
                (len(records), sum(one["size"] for one in records), min(times), max(times)),
            )
        self.assertEqual(stats["commitLogFiles"], len(list((self.golden("full") / "commitlog").iterdir())))
        code, out = self.call("stats", self.golden("full"))
        self.assertEqual(code, 0)
        self.assertIn("GoldenBulk", out)


class RepairTests(MqstoreCase):
    def gapped(self) -> tuple[Path, list[dict[str, Any]], list[str]]:
        """(a store without its third segment, all records that it had, its file names)."""
        root = self.closed(mapped_file_size_commit_log=8192)
        records = self.lines("dump", "records", root)
        names = sorted(file.name for file in (root / "commitlog").iterdir())
        (root / "commitlog" / names[2]).unlink()
        return root, records, names

    def test_it_shows_first_and_changes_nothing(self) -> None:
        root, _, names = self.gapped()
        before = contents(root)
        code, out = self.call("repair", root)
        self.assertEqual(code, 1)
        self.assertEqual(
            out.splitlines(),
            [
                f"fill with an empty segment: {root}/commitlog/{names[2]}: the segment is missing",
                "lost: what the commit log had from 16384 to 24576",
                "nothing was changed: give --do to do it",
            ],
        )
        self.assertEqual(contents(root), before)

    def test_a_gap_is_filled_and_the_store_opens_with_all_other_messages(self) -> None:
        root, records, _ = self.gapped()
        store = MessageStore(
            small_config(str(root), mapped_file_size_commit_log=8192), platform_disk(), STORE_HOST
        )
        self.assertRaises(StoreDamaged, store.open, NOW)
        code, out = self.call("repair", root, "--do")
        self.assertEqual((code, out.splitlines()[-1]), (0, "done"))
        self.assertEqual(self.call("repair", root)[0], 0)
        with self.opened(root) as store:
            left = [one for one in records if not 16384 <= one["offset"] < 24576]
            for one in left:
                self.assertEqual(len(store.record_at(one["offset"])), one["size"])
        report = self.verify(root)
        self.assertEqual((report["damage"], report["records"]), ([], len(left)))
        self.assertEqual(report["notes"], ["the file for 16384 holds no record: a repair has filled a gap"])

    @contextlib.contextmanager
    def opened(self, root: Path) -> Iterator[MessageStore]:
        config = small_config(str(root), mapped_file_size_commit_log=8192)
        store = MessageStore(config, platform_disk(), STORE_HOST)
        store.open(NOW)
        yield store
        store.close(NOW)

    def test_a_store_that_is_open_is_not_repaired(self) -> None:
        with self.own(mapped_file_size_commit_log=8192) as (_, root):
            extra = root / "commitlog" / f"{7:020d}"
            extra.write_bytes(b"x")
            self.assertEqual(self.call("repair", root, "--do")[0], 1)
            self.assertIn("in use by another broker", self.complaint)
            self.assertTrue(extra.exists())
            extra.unlink()


class CommandLineTests(MqstoreCase):
    def test_a_wrong_command_line_ends_with_2(self) -> None:
        for arguments in (
            ["verify"],
            ["verify", "nowhere"],
            ["verify", "."],
            ["no-such"],
            ["dump", "records", "."],
        ):
            self.assertEqual(self.call(*arguments)[0], 2, arguments)
            self.assertIn("Usage:", self.complaint)
        self.assertEqual(self.call("verify", "-c", "nowhere")[0], 2)

    def test_help_ends_with_0(self) -> None:
        code, out = self.call("--help")
        self.assertEqual(code, 0)
        for command in ("dump", "repair", "stats", "verify"):
            self.assertIn(command, out)

    def test_what_cannot_be_read_is_one_sentence_and_1(self) -> None:
        root = self.closed()
        log = root / "commitlog" / f"{0:020d}"
        log.unlink()
        log.mkdir()
        self.assertEqual(self.call("verify", root)[0], 1)
        self.assertEqual(len(self.complaint.splitlines()), 1, self.complaint)
        self.assertIn(log.name, self.complaint)

    def test_a_store_that_a_broker_has_open_is_pointed_out(self) -> None:
        with self.own() as (_, root):
            child = os.fork()
            if child == 0:
                code = 1
                with contextlib.suppress(BaseException):
                    self.call("verify", root)
                    code = 0 if f"the process {os.getppid()} has this store open" in self.complaint else 1
                os._exit(code)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)


class DocumentTests(MqstoreCase):
    def test_the_examples_of_the_document_show_what_they_say(self) -> None:
        text = (Path(__file__).parents[2] / "docs/storage.md").read_text("utf-8")
        block = "".join(re.findall(r"```console\n(\$ mqstore.*?)```", text, re.S))
        store = str(self.golden("torn_middle"))
        for example in block.split("$ mqstore ")[1:]:
            command, _, wanted = example.partition("\n")
            code, out = self.call(*command.replace("STORE", store).split())
            self.assertEqual(code, 1 if command.startswith("verify") else 0, command)
            self.assertTrue(out)
            if wanted:
                self.assertEqual(out, wanted, command)


def contents(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@contextlib.contextmanager
def patched(file: Path, at: int, data: bytes) -> Iterator[None]:
    """Bytes in the middle of a file are others for a while."""
    before = file.read_bytes()
    file.write_bytes(before[:at] + data + before[at + len(data) :])
    yield
    file.write_bytes(before)
