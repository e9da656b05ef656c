"""`docs/storage.md`: its layouts are those declared with construct, its modules and keys those that exist."""

from __future__ import annotations

import re
from pathlib import Path

from construct import Construct, SizeofError, Struct
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.keys import keys_of
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.protocol.message_layouts import MESSAGE_RECORD
from rocketmq_tx.store import file_layouts

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "docs/storage.md").read_text(encoding="utf-8")
DECLARED = {
    "record of the commit log": MESSAGE_RECORD,
    "end mark of a commit log file": file_layouts.BlankRecord,
    "entry of a consume queue": file_layouts.QueueEntry,
    "unit of `consumequeue_ext`": file_layouts.ExtUnit,
    "head of an index file": file_layouts.IndexHeader,
    "slot of an index file": file_layouts.IndexSlot,
    "entry of an index file": file_layouts.IndexEntry,
    "checkpoint, of Apache": file_layouts.CheckpointTimes,
    "checkpoint, ours": file_layouts.CheckpointClaim,
}


def width(part: Construct) -> str:
    """Bytes of a field as the document writes them; `n` where that depends on what is in it."""
    try:
        return str(part.sizeof())
    except SizeofError:
        return "8/20" if isinstance(part.subcon, Struct) else "n"
    except (KeyError, AttributeError):
        return "n"


def row(name: str, declared: Struct) -> str:
    fields = " · ".join(f"{part.name} {width(part)}" for part in declared.subcons)
    return f"| {name} | {fields} |"


class StorageDocumentTests(SynchronousTestCase):
    def test_its_layouts_are_those_that_are_declared(self) -> None:
        for name, declared in DECLARED.items():
            self.assertIn(row(name, declared), TEXT.splitlines(), "what the line has to be")

    def test_the_modules_that_it_names_exist(self) -> None:
        table = TEXT.partition("## Modules")[2].partition("##")[0]
        names = {
            name
            for line in table.splitlines()
            if line.startswith("| `")
            for name in re.findall(r"`(\w+)`", line.split("|")[1])
        }
        here = {file.stem for file in (PROJECT / "rocketmq_tx/store").glob("*.py")}
        self.assertEqual(names - here, set())
        self.assertGreater(len(names), 30)

    def test_the_keys_that_it_names_exist(self) -> None:
        known = {key.name for key in keys_of(MessageStoreConfig)}
        named = set(
            re.findall(r"`((?:flush|mapped|maxHash|maxIndex|storePath|clean|delete|disk)[A-Za-z]+)`", TEXT)
        )
        self.assertEqual(named - known - {"deleteWhen", "flushConsumerOffsetInterval"}, set())
        self.assertGreater(len(named), 8)


if __name__ == "__main__":
    print("\n".join(row(*each) for each in DECLARED.items()))
