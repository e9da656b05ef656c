"""The table of SQL92 filters by group and topic: who keeps which expression how long, and the file of it."""

from __future__ import annotations

import json
import tarfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import compiled_expressions
from rocketmq_tx.broker.compiled_expressions import CompiledExpressions
from rocketmq_tx.broker.filter_file import SAVE_INTERVAL_S, FilterFile
from rocketmq_tx.broker.filter_table import GroupFilters
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.errors import ExpressionError, StoreDamaged, StoreError
from rocketmq_tx.filter.bloom import BloomSize, bloom_places, bloom_size, murmur3_low64
from rocketmq_tx.protocol.bodies import ConsumerFilterTable, SubscriptionData
from tests import golden
from tests.unit.broker_parts import HeldRunner, MemoryFile
from tests.unit.read_parts import at_once

DAY_MS = 86_400_000


def sql(topic: str, expression: str, version: int = 1, kind: str | None = "SQL92") -> SubscriptionData:
    return SubscriptionData(topic, expression, sub_version=version, expression_type=kind)


class TableCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.now_ms = 1_000_000
        self.config = BrokerConfig()
        self.expressions = CompiledExpressions()
        self.filters = GroupFilters(self.config, self.expressions.compiled, lambda: self.now_ms)

    def facts(self, topic: str = "t", group: str = "g") -> tuple[str, int, int, int] | None:
        """(expression, version, born, dead)."""
        one = self.filters.find(topic, group)
        if one is None:
            return None
        return one.expression.text, one.client_version, one.born_time_ms, one.dead_time_ms


class Registration(TableCase):
    def test_expressions_of_a_heartbeat_are_kept_by_topic_and_tags_are_not(self) -> None:
        self.filters.register("g", [sql("t", "a > 1"), sql("u", "b > 2"), sql("v", "TagA", kind="TAG")])
        self.assertEqual(self.facts(), ("a > 1", 1, 1_000_000, 0))
        self.assertEqual(set(self.filters.of_group("g")), {"t", "u"})
        self.assertIsNone(self.filters.find("t", "other"))
        self.filters.register("g", [sql("t", "", 2), sql("w", "a", kind=None)])
        self.assertEqual(self.facts("t"), ("a > 1", 1, 1_000_000, 1_000_000))

    def test_a_newer_version_replaces_the_expression_and_an_older_one_is_ignored(self) -> None:
        self.filters.register("g", [sql("t", "a > 1", 5)])
        self.now_ms += 10
        for version in (4, 5):
            self.filters.register("g", [sql("t", "a > 2", version)])
            self.assertEqual(self.facts(), ("a > 1", 5, 1_000_000, 0))
        self.filters.register("g", [sql("t", "a > 1", 6)])
        self.assertEqual(self.facts(), ("a > 1", 6, 1_000_000, 0))
        self.filters.register("g", [sql("t", "a > 2", 7)])
        self.assertEqual(self.facts(), ("a > 2", 7, 1_000_010, 0))

    def test_what_cannot_be_compiled_is_not_kept_nor_is_what_it_replaced(self) -> None:
        self.filters.register("g", [sql("t", "a >", 1)])
        self.assertIsNone(self.facts())
        self.filters.register("g", [sql("t", "a > 1", 2)])
        self.filters.register("g", [sql("t", "a >", 3)])
        self.assertIsNone(self.facts())

    def test_megabytes_of_expressions_are_compiled_a_little_at_a_time(self) -> None:
        long = "a IN (" + ", ".join(f"'{number}'" for number in range(6000)) + ")"
        subscriptions = [sql(f"t{number}", f"{long} OR b = {number}") for number in range(20)]
        counts = []
        for _ in range(6):
            self.filters.register("g", subscriptions)
            counts.append(len(self.filters.of_group("g")))
            self.now_ms += 30_000
        self.assertEqual(counts, [5, 10, 15, 20, 20, 20])

    def test_topics_left_out_and_groups_that_left_are_dead_until_they_come_back(self) -> None:
        self.filters.register("g", [sql("t", "a > 1", 1), sql("u", "a > 1", 1)])
        self.now_ms += 5
        self.filters.register("g", [sql("t", "a > 1", 1)])
        self.assertEqual((self.facts("t")[3], self.facts("u")[3]), (0, 1_000_005))
        self.filters.leave("g")
        self.assertEqual(self.facts("t")[3], 1_000_005)
        self.now_ms += 5
        self.filters.leave("g")
        self.assertEqual(self.facts("t")[3], 1_000_005)
        self.filters.register("g", [sql("t", "a > 1", 1), sql("u", "a > 1", 2)])
        self.assertEqual((self.facts("t")[3], self.facts("u")[3]), (0, 0))

    def test_the_dead_are_forgotten_after_the_time_that_is_set(self) -> None:
        self.filters.register("g", [sql("t", "a > 1"), sql("u", "a > 1")])
        self.now_ms += 5
        self.filters.register("g", [sql("t", "a > 1")])
        self.now_ms += DAY_MS
        self.filters.drop_expired()
        self.assertIsNotNone(self.facts("u"))
        self.now_ms += 1
        self.filters.drop_expired()
        self.assertEqual(set(self.filters.of_group("g")), {"t"})
        self.filters.leave("g")
        self.config.filter_data_clean_time_span = 0
        self.now_ms += 1
        self.filters.drop_expired()
        self.assertEqual(self.filters.snapshot(), ConsumerFilterTable())


class ApacheFile(TableCase):
    def recorded(self) -> bytes:
        with tarfile.open(golden.path("store/cqext.tar.gz")) as archive:
            member = archive.extractfile("cqext/config/consumerFilter.json")
            assert member is not None
            return member.read()

    def test_a_file_of_apache_is_taken_and_written_as_apache_does(self) -> None:
        self.filters.merge(ConsumerFilterTable.from_bytes(self.recorded()))
        self.assertEqual(
            self.facts("GoldenSql", "golden_sql_cg0"),
            ("a > 5 and b is not null", 1795241211557, 1795241211513, 1795241216665),
        )
        written = self.filters.snapshot().to_bytes(pretty=True)
        self.assertEqual(json.loads(written), json.loads(self.recorded()))
        # the order of the groups is that of a Java hash map
        self.assertEqual(sorted(line.rstrip(b",") for line in written.split(b"\n")),
                         sorted(line.rstrip(b",") for line in self.recorded().split(b"\n")))  # fmt: skip

    def test_groups_that_were_alive_count_as_dead_since_shortly_before_the_start(self) -> None:
        self.filters.register("g", [sql("t", "a > 1")])
        self.filters.register("h", [sql("t", "a > 1")])
        kept = self.filters.snapshot()
        kept.filter_data_by_topic["t"].group_filter_data["h"].born_time = 5_000_000
        kept.filter_data_by_topic["t"].group_filter_data["bad"] = type(
            kept.filter_data_by_topic["t"].group_filter_data["h"]
        )(consumer_group="bad", topic="t", expression="a like 'x'", expression_type="SQL92")
        kept.filter_data_by_topic["t"].group_filter_data["kind"] = type(
            kept.filter_data_by_topic["t"].group_filter_data["h"]
        )(consumer_group="kind", topic="t", expression="a", expression_type="XPATH")
        self.now_ms = 6_000_000
        again = GroupFilters(self.config, self.expressions.compiled, lambda: self.now_ms)
        again.merge(kept)
        self.filters = again
        self.assertEqual(self.facts("t", "g")[3], 5_970_000)
        self.assertEqual(self.facts("t", "h")[3], 5_970_000)
        self.assertIsNone(self.facts("t", "bad") or self.facts("t", "kind"))

    def test_the_places_of_bits_are_apaches(self) -> None:
        size = bloom_size(20, 32)
        self.assertEqual(size, BloomSize(3, 112))
        self.assertEqual(bloom_places("golden_sql_cg1#GoldenSql", size), (0, 15, 0))
        self.assertEqual(bloom_places("golden_sql_cg0#GoldenSql", size), (83, 14, 31))
        self.assertEqual(bloom_size(0, 32), size)
        self.assertEqual(bloom_size(1, 1000), BloomSize(7, 9592))
        # published values of the hash
        self.assertEqual(murmur3_low64(b""), 0)
        self.assertEqual(murmur3_low64(b"The quick brown fox jumps over the lazy dog"), 0xE34BBC7BBC071B6C)


class Keeping(TableCase):
    def service(self, file: Any, off_reactor: Any = at_once) -> FilterFile:
        self.clock = Clock()
        service = FilterFile(self.filters, file, off_reactor, self.clock)
        service.startService()
        return service

    def test_changes_are_written_every_ten_seconds_and_at_the_stop(self) -> None:
        file = MemoryFile()
        service = self.service(file)
        self.clock.advance(SAVE_INTERVAL_S)
        self.assertEqual(file.saved, [])
        self.filters.register("g", [sql("t", "a > 1")])
        self.clock.advance(SAVE_INTERVAL_S)
        self.clock.advance(SAVE_INTERVAL_S)
        self.assertEqual(len(file.saved), 1)
        self.filters.leave("g")
        self.successResultOf(service.stopService())
        self.assertEqual(len(file.saved), 2)
        self.filters = GroupFilters(self.config, self.expressions.compiled, lambda: self.now_ms)
        again = self.service(file)
        self.assertEqual(self.facts(), ("a > 1", 1, 1_000_000, 1_000_000))
        self.successResultOf(again.stopService())
        self.assertEqual(len(file.saved), 2)

    def test_what_could_not_be_written_is_written_later(self) -> None:
        file = MemoryFile()
        service = self.service(file)
        self.filters.register("g", [sql("t", "a > 1")])
        file.broken = True
        self.clock.advance(SAVE_INTERVAL_S)
        self.assertEqual(len(self.flushLoggedErrors(StoreError)), 1)
        file.broken = False
        self.clock.advance(SAVE_INTERVAL_S)
        self.assertEqual(len(file.saved), 1)
        self.filters.leave("g")
        file.broken = True
        self.successResultOf(service.stopService())

    def test_the_stop_waits_for_a_write_that_is_on_its_way(self) -> None:
        runner = HeldRunner()
        service = self.service(MemoryFile(), runner.run)
        self.filters.register("g", [sql("t", "a > 1")])
        self.clock.advance(SAVE_INTERVAL_S)
        stopped: Deferred[None] = service.stopService()
        self.assertNoResult(stopped)
        runner.finish()
        self.successResultOf(stopped)

    def test_a_file_that_cannot_be_read_keeps_nobody_from_starting(self) -> None:
        class Damaged(MemoryFile):
            def load(self, parse: Any) -> Any:
                raise StoreDamaged("consumerFilter.json: not a table of filters")

        service = self.service(Damaged())
        self.filters.register("g", [sql("t", "a > 1")])
        self.successResultOf(service.stopService())


class Compiled(SynchronousTestCase):
    def test_an_expression_is_compiled_once_and_refused_once(self) -> None:
        expressions = CompiledExpressions()
        self.assertIs(expressions.compiled("a > 1"), expressions.compiled("a > 1"))
        first = self.assertRaises(ExpressionError, expressions.compiled, "a >")
        self.assertIs(self.assertRaises(ExpressionError, expressions.compiled, "a >"), first)

    def test_what_is_kept_is_bounded_in_number_and_length(self) -> None:
        self.patch(compiled_expressions, "CACHED_MAX", 10)
        self.patch(compiled_expressions, "CACHED_CHARS_MAX", 100)
        expressions = CompiledExpressions()
        for number in range(30):
            expressions.compiled(f"a = {number}")
        self.assertEqual(len(expressions._by_text), 10)
        for number in range(30):
            expressions.compiled(f"a = '{'x' * 30}{number}'")
        self.assertEqual(len(expressions._by_text), 2)
        expressions.compiled(f"a = '{'x' * 200}'")
        self.assertEqual((len(expressions._by_text), expressions._chars), (2, 76))
