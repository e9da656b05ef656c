"""Filters by tag: Java's hash codes, built once for each subscription."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import tag_filter
from rocketmq_tx.broker.tag_filter import TagFilters, build_tag_filter
from rocketmq_tx.protocol.java import string_hash
from rocketmq_tx.protocol.subscription import build_subscription

Tags = st.lists(st.text(alphabet="abcXYZ", min_size=1, max_size=4), min_size=1, max_size=5)


class ByHashCode(SynchronousTestCase):
    def test_everything_needs_no_filter(self) -> None:
        for expression in (None, "", "*"):
            self.assertIsNone(build_tag_filter(build_subscription("t", expression)))

    @given(Tags, st.text(alphabet="abcXYZ", max_size=4))
    def test_a_message_passes_when_the_hash_of_its_tag_is_among_those_wanted(
        self, tags: list[str], tag: str
    ) -> None:
        matches = build_tag_filter(build_subscription("t", " || ".join(tags)))
        assert matches is not None
        self.assertEqual(matches(string_hash(tag)), string_hash(tag) in set(map(string_hash, tags)))

    def test_tags_with_one_hash_pass_together_for_the_consumer_to_tell_apart(self) -> None:
        matches = build_tag_filter(build_subscription("t", "Aa"))
        assert matches is not None
        self.assertTrue(matches(string_hash("BB")))


class Cache(SynchronousTestCase):
    def test_a_subscription_is_turned_into_a_filter_once(self) -> None:
        filters = TagFilters()
        subscription = build_subscription("t", "TagA")
        self.assertIs(filters.of(subscription), filters.of(subscription))

    def test_a_newer_subscription_gets_a_filter_of_its_own(self) -> None:
        filters = TagFilters()
        old, new = build_subscription("t", "TagA", version=1), build_subscription("t", "TagB", version=2)
        self.assertTrue(filters.of(old)(string_hash("TagA")))  # type: ignore[misc]
        self.assertFalse(filters.of(new)(string_hash("TagA")))  # type: ignore[misc]

    def test_the_cache_is_bounded(self) -> None:
        self.patch(tag_filter, "CACHED_FILTERS_MAX", 10)
        filters = TagFilters()
        for number in range(25):
            filters.of(build_subscription("t", f"Tag{number}"))
        filters.of(build_subscription("t", "x" * 5000))
        self.assertLessEqual(len(filters._built), 10)
