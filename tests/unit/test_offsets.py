"""Consumer offsets: believed as told, kept over restarts, never lowered by anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.offset_file import OffsetFile
from rocketmq_tx.broker.offsets import NO_OFFSET, ConsumerOffsets
from rocketmq_tx.errors import BodyError, StoreError
from rocketmq_tx.protocol.bodies import ConsumerOffsetSerializeWrapper
from tests.unit.broker_parts import MemoryFile


class Table(SynchronousTestCase):
    def setUp(self) -> None:
        self.offsets = ConsumerOffsets()

    def test_a_group_that_never_committed_has_no_offset(self) -> None:
        self.assertEqual(self.offsets.query("g", "t", 0), NO_OFFSET)
        self.assertEqual(self.offsets.queues("g", "t"), {})

    def test_a_commit_is_believed_even_when_it_goes_back(self) -> None:
        for offset in (7, 3, -1):
            self.offsets.commit("g", "t", 0, offset)
            self.assertEqual(self.offsets.query("g", "t", 0), offset)

    def test_groups_topics_and_queues_are_kept_apart(self) -> None:
        self.offsets.commit("g", "t", 0, 1)
        self.offsets.commit("g", "t", 1, 2)
        self.offsets.commit("h", "t", 0, 3)
        self.offsets.commit("g", "u", 0, 4)
        self.assertEqual(self.offsets.queues("g", "t"), {0: 1, 1: 2})
        self.assertEqual(self.offsets.topics_of("g"), ["t", "u"])
        self.assertEqual(self.offsets.groups_of("t"), ["g", "h"])

    def test_a_deleted_topic_takes_its_offsets_along(self) -> None:
        self.offsets.commit("g", "t", 0, 1)
        self.offsets.commit("g", "u", 0, 2)
        self.offsets.remove_topics({"t"})
        self.assertEqual(self.offsets.topics_of("g"), ["u"])

    def test_a_deleted_group_takes_its_offsets_along(self) -> None:
        self.offsets.commit("g", "t", 0, 1)
        self.offsets.commit("h", "t", 0, 2)
        self.offsets.remove_group("g")
        self.assertEqual(self.offsets.groups_of("t"), ["h"])

    def test_a_clone_goes_its_own_way_afterwards(self) -> None:
        self.offsets.commit("g", "t", 0, 1)
        self.offsets.clone("g", "copy", "t")
        self.offsets.commit("g", "t", 0, 9)
        self.assertEqual(self.offsets.query("copy", "t", 0), 1)

    def test_cloning_a_group_without_offsets_changes_nothing(self) -> None:
        self.offsets.commit("target", "t", 0, 5)
        self.offsets.clone("nobody", "target", "t")
        self.assertEqual(self.offsets.query("target", "t", 0), 5)

    def test_the_written_form_is_apaches(self) -> None:
        self.offsets.commit("CG", "TopicTest", 0, 10)
        self.offsets.commit("CG", "TopicTest", 1, 20)
        snapshot = self.offsets.snapshot()
        self.assertEqual(snapshot.to_bytes(), b'{"offsetTable":{"TopicTest@CG":{0:10,1:20}}}')
        self.assertEqual(
            snapshot.to_bytes(pretty=True),
            b'{\n\t"offsetTable":{\n\t\t"TopicTest@CG":{0:10,1:20\n\t\t}\n\t}\n}',
        )

    def test_a_merge_keeps_what_the_other_table_does_not_name(self) -> None:
        self.offsets.commit("g", "t", 0, 1)
        self.offsets.commit("g", "t", 1, 2)
        self.offsets.merge(ConsumerOffsetSerializeWrapper({"t@g": {1: 7}, "u@h": {0: 3}, "no group": {0: 9}}))
        self.assertEqual(self.offsets.queues("g", "t"), {0: 1, 1: 7})
        self.assertEqual(self.offsets.query("h", "u", 0), 3)
        self.assertEqual(len(self.offsets.snapshot().offset_table), 2)

    @given(
        st.dictionaries(
            st.tuples(
                st.from_regex(r"[%|a-zA-Z0-9_-]{1,9}", fullmatch=True),
                st.from_regex(r"[%|a-zA-Z0-9_-]{1,9}", fullmatch=True),
            ),
            st.dictionaries(st.integers(0, 2**31 - 1), st.integers(-1, 2**63 - 1), min_size=1),
        )
    )
    def test_what_is_written_is_read_back(self, table: dict[tuple[str, str], dict[int, int]]) -> None:
        before, after = ConsumerOffsets(), ConsumerOffsets()
        for (topic, group), queues in table.items():
            for queue_id, offset in queues.items():
                before.commit(group, topic, queue_id, offset)
        written = before.snapshot().to_bytes(pretty=True)
        after.merge(ConsumerOffsetSerializeWrapper.from_bytes(written))
        self.assertEqual(after.snapshot(), before.snapshot())


def at_once(call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return execute(call, *arguments)


class Keeping(SynchronousTestCase):
    def setUp(self) -> None:
        self.offsets = ConsumerOffsets()
        self.file = MemoryFile()
        self.keeper = OffsetFile(self.offsets, self.file, at_once)

    def reloaded(self) -> ConsumerOffsets:
        offsets = ConsumerOffsets()
        OffsetFile(offsets, self.file, at_once).load()
        return offsets

    def test_offsets_survive_a_restart(self) -> None:
        self.keeper.load()
        self.offsets.commit("g", "t", 0, 42)
        self.keeper.save_now()
        self.assertEqual(self.reloaded().query("g", "t", 0), 42)

    def test_an_unchanged_table_is_not_written(self) -> None:
        self.assertIsNone(self.keeper.save_changed())
        self.offsets.commit("g", "t", 0, 42)
        self.keeper.save_changed()
        self.offsets.commit("g", "t", 0, 42)
        self.assertIsNone(self.keeper.save_changed())
        self.keeper.save_now()
        self.assertEqual(len(self.file.saved), 1)

    def test_a_write_that_failed_is_tried_again(self) -> None:
        self.offsets.commit("g", "t", 0, 42)
        self.file.broken = True
        self.failureResultOf(self.keeper.save_changed(), StoreError)
        self.file.broken = False
        self.keeper.save_changed()
        self.assertEqual(self.reloaded().query("g", "t", 0), 42)

    def test_a_file_that_holds_no_table_is_no_empty_table(self) -> None:
        for content in (b"garbage", b'{"offsetTable":{"t@g":[1,2]}}', b"[]"):
            keeper = OffsetFile(self.offsets, MemoryFile(content), at_once)
            self.assertRaises(BodyError, keeper.load)

    def test_a_commit_during_a_write_is_written_by_the_next_one(self) -> None:
        waiting: list[tuple[Deferred[Any], Callable[[], object]]] = []

        def later(call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            waiting.append((Deferred(), lambda: call(*arguments)))
            return waiting[-1][0]

        keeper = OffsetFile(self.offsets, self.file, later)
        self.offsets.commit("g", "t", 0, 1)
        keeper.save_changed()
        self.offsets.commit("g", "t", 0, 2)
        deferred, write = waiting.pop()
        deferred.callback(write())
        self.assertEqual(self.reloaded().query("g", "t", 0), 1)
        keeper.save_now()
        self.assertEqual(self.reloaded().query("g", "t", 0), 2)
