"""Properties files read as Java reads them, and keep their comments when values change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.properties_file import MalformedEscape, decode, entries, escape_value, rewrite

# Java trims blanks at both ends of nothing but the line; we trim the value's end, too.
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(lambda text: text.strip())


def pairs(text: str) -> dict[str, str]:
    return {entry.key: entry.value for entry in entries(text)}


class ReadingTests(SynchronousTestCase):
    def test_three_separators_are_known(self) -> None:
        self.assertEqual(
            pairs("a=1\nb:2\nc 3\nd = 4\ne : 5\nf\tx"), dict(zip("abcdef", "12345x", strict=True))
        )

    def test_comments_and_empty_lines_are_skipped(self) -> None:
        self.assertEqual(pairs("# a=1\n\n  ! b=2\n   \nc=3 # not a comment"), {"c": "3 # not a comment"})

    def test_a_key_may_stand_alone(self) -> None:
        self.assertEqual(pairs("a\nb=\nc = "), {"a": "", "b": "", "c": ""})

    def test_trailing_blanks_do_not_belong_to_a_value(self) -> None:
        self.assertEqual(pairs("listenPort=10911 \t\nname=a b  "), {"listenPort": "10911", "name": "a b"})

    def test_a_protected_trailing_blank_stays(self) -> None:
        self.assertEqual(pairs("a=b\\  "), {"a": "b "})

    def test_only_the_first_separator_counts(self) -> None:
        self.assertEqual(pairs("a==b\nc=d:e\nf = = g"), {"a": "=b", "c": "d:e", "f": "= g"})

    def test_escapes_are_resolved(self) -> None:
        self.assertEqual(pairs(r"a\ b\:c=\t\u0041\n\q\\"), {"a b:c": "\tA\nq\\"})

    def test_a_character_beyond_the_first_plane_takes_two_escapes(self) -> None:
        self.assertEqual(pairs("a=\\ud83d\\ude80"), {"a": "\U0001f680"})

    def test_lines_continue_after_a_backslash(self) -> None:
        found = entries("a=1,\\\n    2,\\\n    3\nb=4\\\\\nc=5\\")
        self.assertEqual([(e.key, e.value) for e in found], [("a", "1,2,3"), ("b", "4\\"), ("c", "5")])
        self.assertEqual([(e.first_line, e.last_line) for e in found], [(1, 3), (4, 4), (5, 5)])

    def test_lines_end_in_any_way(self) -> None:
        self.assertEqual(pairs("a=1\r\nb=2\rc=3\n"), {"a": "1", "b": "2", "c": "3"})

    def test_a_malformed_escape_names_its_line(self) -> None:
        error = self.assertRaises(MalformedEscape, entries, "a=1\nb=\\u00g0")
        self.assertEqual(error.line, 2)

    def test_a_repeated_key_stands_there_as_often_as_written(self) -> None:
        self.assertEqual([e.value for e in entries("a=1\na=2")], ["1", "2"])

    def test_utf8_is_tried_before_latin1(self) -> None:
        self.assertEqual(decode("#所\na=ü".encode()), ("#所\na=ü", "utf-8"))
        self.assertEqual(decode("a=ü".encode("latin-1")), ("a=ü", "latin-1"))
        self.assertEqual(decode(b"\xef\xbb\xbfa=1"), ("a=1", "utf-8"))

    @given(st.text(max_size=200))
    def test_any_text_is_read_or_refused_by_line(self, text: str) -> None:
        try:
            entries(text)
        except MalformedEscape as error:
            self.assertGreaterEqual(error.line, 1)

    @given(VALUES)
    def test_a_written_value_reads_back(self, value: str) -> None:
        self.assertEqual(pairs(f"a={escape_value(value)}"), {"a": value})


class RewritingTests(SynchronousTestCase):
    def test_comments_order_and_spacing_stay(self) -> None:
        text = "# who\nbrokerName = a\n\n# how long\nfileReservedTime = 48   \nx=1\n"
        self.assertEqual(
            rewrite(text, {"fileReservedTime": "72"}),
            "# who\nbrokerName = a\n\n# how long\nfileReservedTime = 72\nx=1\n",
        )

    def test_new_keys_go_to_the_end(self) -> None:
        self.assertEqual(rewrite("a=1", {"b c": "2"}), "a=1\nb\\ c=2\n")
        self.assertEqual(rewrite("", {"b": "2"}), "b=2\n")

    def test_a_continued_value_is_replaced_as_a_whole(self) -> None:
        self.assertEqual(rewrite("a=1,\\\n  2\nb=3\n", {"a": "4", "b": "5"}), "a=4\nb=5\n")

    def test_of_a_repeated_key_the_place_that_counts_changes(self) -> None:
        self.assertEqual(rewrite("a=1\na=2\n", {"a": "3"}), "a=1\na=3\n")

    def test_another_spelling_is_kept(self) -> None:
        aliases = {"mapedFileSize": "mappedFileSize"}
        self.assertEqual(rewrite("mapedFileSize=1\n", {"mappedFileSize": "2"}, aliases), "mapedFileSize=2\n")

    def test_line_ends_of_windows_stay(self) -> None:
        self.assertEqual(rewrite("a=1\r\nb=2\r\n", {"b": "3", "c": "4"}), "a=1\r\nb=3\r\nc=4\r\n")

    def test_a_key_without_separator_gets_one(self) -> None:
        self.assertEqual(rewrite("a\n", {"a": "1"}), "a=1\n")

    @given(
        st.dictionaries(st.sampled_from("abcdef"), VALUES), st.dictionaries(st.sampled_from("abcdef"), VALUES)
    )
    def test_a_rewritten_file_holds_the_new_values_and_the_others(
        self, before: dict[str, str], changes: dict[str, str]
    ) -> None:
        text = "".join(f"# {key}\n{key} = {escape_value(value)}\n" for key, value in before.items())
        self.assertEqual(pairs(rewrite(text, changes)), before | changes)
