"""Expressions become subscriptions by Apache's rules."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.java import string_hash
from rocketmq_tx.protocol.subscription import build_subscription, split_tags
from tests import golden


class Subscriptions(SynchronousTestCase):
    def test_subscriptions_are_the_recorded_ones(self) -> None:
        for line in golden.lines("client/subscription.jsonl"):
            expression, kind = line.get("build") or (line["subString"], "TAG")
            if "error" in line["out"]:
                error = self.assertRaises(MessageError, build_subscription, "T", expression, kind)
                self.assertIn(str(error), line["out"]["error"])
                continue
            expected = line["out"]["result"]
            made = build_subscription("T", expression, kind, 5)
            self.assertEqual((made.topic, made.sub_version), ("T", 5))
            self.assertEqual(made.sub_string, expected["subString"])
            self.assertEqual(sorted(made.tags_set), sorted(expected["tagsSet"]))
            self.assertEqual(sorted(made.code_set), sorted(expected["codeSet"]))
            self.assertEqual(made.expression_type, expected["expressionType"])
            self.assertEqual(made.class_filter_mode, expected.get("classFilterMode", False))

    def test_separators_around_blanks_alone_name_no_tag(self) -> None:
        made = build_subscription("T", " || ")
        self.assertEqual((made.sub_string, made.tags_set, made.code_set), (" || ", [], []))

    def test_tags_with_one_hash_have_one_code(self) -> None:
        made = build_subscription("T", "Aa||BB")
        self.assertEqual((made.tags_set, made.code_set), (["Aa", "BB"], [2112]))

    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="|"), min_size=1), min_size=1))
    def test_each_tag_has_its_hash(self, tags: list[str]) -> None:
        made = build_subscription("T", "||".join([*tags, "last"]))
        self.assertEqual(made.tags_set, split_tags(made.sub_string))
        self.assertEqual(set(made.code_set), {string_hash(tag) for tag in made.tags_set})
