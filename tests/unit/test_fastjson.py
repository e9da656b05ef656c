"""What fastjson writes is read, what is written is what fastjson writes, and bombs are refused."""

import json
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol import fastjson, fastjson_reader
from rocketmq_tx.protocol.fastjson import ObjectKey, dumps, java_double, loads
from rocketmq_tx.protocol.fastjson_reader import read_leniently

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
int64 = st.integers(-(2**63), 2**63 - 1)
plain = st.none() | st.booleans() | int64 | texts | st.floats(allow_nan=False, allow_infinity=False)
bare_keys = int64 | st.dictionaries(texts, texts | int64, max_size=3).map(
    lambda pairs: ObjectKey(tuple(pairs.items()))
)
documents = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts.filter(lambda key: key != "$ref"), inner, max_size=4)
        | st.dictionaries(bare_keys, inner, max_size=4)
    ),
    max_leaves=20,
)


def without_nulls(value: Any) -> Any:
    """What is left when pairs without a value are not written."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


class Reading(SynchronousTestCase):
    def refused(self, document: bytes | str, problem: str) -> None:
        with self.assertRaisesRegex(BodyError, problem):
            loads(document)

    @given(st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20))
    def test_all_json_is_read_by_the_lenient_reader_too(self, value: Any) -> None:
        document = json.dumps(value)
        if '"$ref"' not in document:
            self.assertEqual(read_leniently(document), json.loads(document))
            self.assertEqual(loads(document), json.loads(document))

    def test_integers_stand_as_keys_with_or_without_quotes(self) -> None:
        self.assertEqual(loads(b'{"t":{0:10,-1:20}}'), {"t": {0: 10, -1: 20}})
        self.assertEqual(loads(b'{"t":{"0":10}}'), {"t": {"0": 10}})
        self.assertEqual(loads(b"{0 : 10\n, ,1:2 ,2:'x',3:4.5,4:-5}"), {0: 10, 1: 2, 2: "x", 3: 4.5, 4: -5})

    def test_objects_stand_as_keys(self) -> None:
        read = loads(b'{{"brokerName":"b","queueId":0}:5,{"brokerName":"b","queueId":1}:6}')
        self.assertEqual([key.as_dict() for key in read], [{"brokerName": "b", "queueId": n} for n in (0, 1)])
        self.assertEqual(list(read.values()), [5, 6])

    def test_names_need_no_quotes_and_quotes_may_be_single(self) -> None:
        self.assertEqual(loads("{name:'it\\'s',$x:\"'\"}"), {"name": "it's", "$x": "'"})

    def test_commas_may_be_repeated_or_trailing(self) -> None:
        self.assertEqual(loads(b'{"a":[1,,2,],,"b":3,}'), {"a": [1, 2], "b": 3})

    def test_escapes_are_understood(self) -> None:
        self.assertEqual(loads(r"['\u4e2d\uD83D\uDE00\n\t\b\f\r\v\/\\']"), ["中😀\n\t\b\f\r\v/\\"])

    def test_blanks_between_are_skipped(self) -> None:
        self.assertEqual(loads(b"\r\n{ \t0 :\n1.5e3 , 1 : null }\n"), {0: 1500.0, 1: None})

    def test_references_to_earlier_objects_are_resolved(self) -> None:
        read = loads(b'{"a":{"x":1},"b":{"$ref":"$.a"},"l":[[1],{"$ref":"$.l[0]"}],"m":{"$ref":"$[\'a\']"}}')
        self.assertEqual(read, {"a": {"x": 1}, "b": {"x": 1}, "l": [[1], [1]], "m": {"x": 1}})
        read = loads(b'{"a.b":{"x":1},"c":{"$ref":"$[\\"a.b\\"]"}}')
        self.assertEqual(read["c"], {"x": 1})

    def test_references_that_lead_nowhere_or_into_a_circle_are_refused(self) -> None:
        for path in ('"$.none"', '"$.l[7]"', '"$.n.x"', '"$.l..b"'):
            self.refused(f'{{"n":1,"l":[],"r":{{"$ref":{path}}}}}', "leads nowhere")
        for path in ('"$"', '".."', '"@"', '"$.later"', '"$.r"', "5", '"$.n"'):
            self.refused(
                f'{{"n":1,"r":{{"$ref":{path}}},"later":{{}}}}', "does not name an object that came before"
            )

    def test_references_cannot_expand_without_end(self) -> None:
        levels = ['"a0":[' + "1," * 100 + "1]"]
        levels += [f'"a{n}":[{",".join([json.dumps({"$ref": f"$.a{n - 1}"})] * 100)}]' for n in range(1, 4)]
        self.refused("{" + ",".join(levels) + "}", "expand to more than 100000 values")

    def test_errors_name_the_position_and_the_problem(self) -> None:
        for document, problem in (
            ("", "character 0: the document ends here"),
            ("garbage", "character 0: 'garbage' is no value"),
            ("{0:1", "character 4: ',' or '}' expected"),
            ("{0:", "character 3: the document ends here"),
            ("{0 1}", "character 3: ':' expected"),
            ("[1 2]", "character 3: ',' or ']' expected"),
            ("[1", "character 2: ',' or ']' expected"),
            ("[1,", "character 3: the document ends here"),
            ("{0:1}x", "character 5: more text after the document's end"),
            ("{1.5:1}", "character 4: a fraction as key"),
            ("{[1]:1}", "character 1: a value expected"),
            ("{{x:[1]}:1}", "character 1: an object as key holds more than plain values"),
            ("{{{x:1}:1}:1}", "character 1: an object as key holds more than plain values"),
            ("{a:'x}", "character 3: a string without an end"),
            ("{a:'x\\", "an unknown escape"),
            ("{a:'\\q'}", "character 5: an unknown escape"),
            ("{a:'\\u12'}", "character 5: four hexadecimal digits expected"),
            ("{a:'\\ud800'}", "character 3: a string with half a surrogate pair"),
            ("{a:1e999}", "character 3: a number out of range"),
            ("{a:12x}", "character 3: a value expected"),
            ("{a:" + "1" * 65 + "}", "character 3: a number of more than 64 characters"),
            (b"{a:'\xff'}", "byte 4: no UTF-8"),
            ("{a:'\ud800'}", "no UTF-8"),
        ):
            self.refused(document, problem)

    def test_deep_nesting_is_refused(self) -> None:
        self.assertTrue(loads("[" * 64 + "'x'" + "]" * 64))
        for opening in ("[", "{a:", "{'a':[", "{{"):
            self.refused(opening * 100_000, "nested deeper than 64")
        self.refused(b"[" * 100_000, "nested deeper than 64")

    def test_too_many_values_are_refused_before_they_cost_memory(self) -> None:
        self.refused(b"[" + b"1," * 2_000_001 + b"1]", "more than 2000000 values")
        self.assertEqual(len(loads(b'["' + b"x" * 2_000_001 + b'"]')[0]), 2_000_001)

    @given(st.text(st.sampled_from("{}[]:,'\"\\u0019ad$ref.-eE \n"), max_size=60))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            loads(text)
        except BodyError:
            pass

    def test_the_lenient_reader_is_the_only_one_that_sees_references(self) -> None:
        self.assertEqual(fastjson_reader.read_leniently('{"a":[],"b":{"$ref":"$.a"}}'), {"a": [], "b": []})


class Writing(SynchronousTestCase):
    @given(documents)
    def test_what_is_written_is_read_back(self, value: Any) -> None:
        expected = without_nulls(value)
        self.assertEqual(loads(dumps(value)), expected)
        self.assertEqual(loads(dumps(value, pretty=True)), expected)

    @given(st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20))
    def test_quoted_keys_give_strict_json_in_ascii(self, value: Any) -> None:
        data = dumps(value, quoted_keys=True)
        self.assertTrue(data.isascii())
        self.assertEqual(json.loads(data), without_nulls(value))

    def test_integer_keys_are_bare_and_objects_stand_as_keys(self) -> None:
        queue = ObjectKey((("brokerName", "b"), ("queueId", 0)))
        self.assertEqual(dumps({"t": {1: 5, 0: 6}, "o": {queue: 7}}),
                         b'{"t":{1:5,0:6},"o":{{"brokerName":"b","queueId":0}:7}}')  # fmt: skip

    def test_quoted_keys_are_sorted_by_number_or_by_utf16(self) -> None:
        self.assertEqual(dumps({10: "a", 9: "b"}, quoted_keys=True), b'{"9":"b","10":"a"}')
        self.assertEqual(dumps({"\uffff": 1, "😀": 2, "a": 3}, quoted_keys=True),
                         b'{"a":3,"\\uD83D\\uDE00":2,"\\uFFFF":1}')  # fmt: skip

    def test_controls_and_line_separators_are_escaped_as_fastjson_does(self) -> None:
        controls = dumps('\x00\b\t\n\x0b\f\r\x1f"\\/\x7f\x9f\u2028\xa0中').decode()
        self.assertEqual(
            controls, '"\\u0000\\b\\t\\n\\u000B\\f\\r\\u001F\\"\\\\/\\u007F\\u009F\\u2028\xa0中"'
        )
        self.assertEqual(dumps("a/中\x7f~", quoted_keys=True), b'"a\\/\\u4E2D\\u007F~"')
        self.assertEqual(dumps("\ud800"), b'"\\uD800"')

    def test_pretty_lists_have_an_item_a_line(self) -> None:
        self.assertEqual(dumps({"a": [1, {"b": []}], "c": {}}, pretty=True),
                         b'{\n\t"a":[\n\t\t1,\n\t\t{\n\t\t\t"b":[]\n\t\t}\n\t],\n\t"c":{}\n}')  # fmt: skip
        self.assertEqual(dumps({"a": (1, 2), "b": ()}, pretty=True), b'{\n\t"a":[1,2],\n\t"b":[]\n}')

    def test_doubles_are_written_as_java_does(self) -> None:
        for value, text in (
            (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (4.6, "4.6"), (0.001, "0.001"), (1e7, "1.0E7"),
            (9999999.0, "9999999.0"), (123456789.5, "1.234567895E8"), (-1.5e-5, "-1.5E-5"), (1e22, "1.0E22"),
            (sys.float_info.max, "1.7976931348623157E308"), (5e-324, "5.0E-324"),
        ):  # fmt: skip
            self.assertEqual(java_double(value), text)
        self.assertEqual(dumps([float("nan"), float("inf")]), b"[null,null]")

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_doubles_keep_their_value(self, value: float) -> None:
        self.assertEqual(float(java_double(value)), value)

    def test_values_of_other_kinds_are_a_mistake_of_ours(self) -> None:
        self.assertRaises(TypeError, fastjson.dumps, {1, 2})
