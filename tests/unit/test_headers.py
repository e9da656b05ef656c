"""Command headers: what is refused, what is tolerated, and that recorded headers come out as they went in."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import HeaderError
from rocketmq_tx.protocol import headers
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.commands import COMMANDS, command_name
from rocketmq_tx.protocol.hash_map_order import in_hash_map_order
from rocketmq_tx.protocol.header_fields import Header, read_bool, read_int, read_long
from rocketmq_tx.protocol.headers import (
    CreateTopicRequestHeader,
    EndTransactionRequestHeader,
    GetRouteInfoRequestHeader,
    PullMessageRequestHeader,
    PutKVConfigRequestHeader,
    SendMessageRequestHeader,
    SendMessageRequestHeaderV2,
    SendMessageResponseHeader,
    UnregisterClientRequestHeader,
)
from tests import golden

ALL: list[type[Header]] = [getattr(headers, name) for name in headers.__all__]

PULL = {
    "consumerGroup": "g",
    "topic": "t",
    "queueId": "1",
    "queueOffset": "2",
    "maxMsgNums": "32",
    "sysFlag": "2",
    "commitOffset": "0",
    "suspendTimeoutMillis": "15000",
    "subscription": "*",
    "subVersion": "9",
    "expressionType": "TAG",
}
SEND = {
    "producerGroup": "g",
    "topic": "t",
    "defaultTopic": "TBW102",
    "defaultTopicQueueNums": "4",
    "queueId": "1",
    "sysFlag": "0",
    "bornTimestamp": "1700000000000",
    "flag": "0",
    "properties": "",
    "reconsumeTimes": "0",
    "unitMode": "false",
    "batch": "false",
}


def without(fields: dict[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name != key}


def values_of(header: type[Header]) -> st.SearchStrategy[Header]:
    """Headers of a class with any values that its fields can hold."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "bool": st.booleans(),
        "string": st.text(max_size=10),
    }
    fields = {}
    for field in header.FIELDS:
        values = kinds[field.type_name] if field.allowed is None else st.sampled_from(field.allowed)
        fields[field.attribute] = values | st.none() if field.missing is None and not field.needed else values
    return st.builds(header, **fields)


class Every(SynchronousTestCase):
    def test_all_eighty_are_there(self) -> None:
        ours = {
            "GetAllTopicConfigRequestHeader",
            "GetOpenTransactionsRequestHeader",
            "CompareLogRequestHeader",
            "CompareLogResponseHeader",
            "FailoverStateResponseHeader",
            "FollowRequestHeader",
            "HandOverRequestHeader",
            "HandOverResponseHeader",
            "PromoteRequestHeader",
            "PromoteResponseHeader",
        }
        self.assertEqual(len({header.__name__ for header in ALL} - ours), 80)

    @given(st.sampled_from(ALL).flatmap(values_of))
    def test_header_survives_its_way_through_ext_fields(self, header: Header) -> None:
        self.assertEqual(type(header).from_ext_fields(header.to_ext_fields()), header)

    def test_header_without_needed_fields_is_made_of_defaults_when_there_are_no_ext_fields(self) -> None:
        for header in ALL:
            if not any(field.needed for field in header.FIELDS):
                self.assertEqual(header.from_ext_fields(None), header())

    def test_header_names_the_first_needed_field_that_is_missing(self) -> None:
        for header in ALL:
            needed = [field.key for field in header.FIELDS if field.needed]
            if needed:
                error = self.assertRaises(HeaderError, header.from_ext_fields, {})
                self.assertEqual((error.header, error.field), (header.__name__, needed[0]))


class Refusals(SynchronousTestCase):
    """As errors-broker and errors-namesrv record them: where Apache ends in a NullPointerException."""

    def assert_needed(self, header: type[Header], fields: dict[str, str], needed: str) -> None:
        for key in fields:
            if key in needed.split():
                error = self.assertRaises(HeaderError, header.from_ext_fields, without(fields, key))
                self.assertEqual(error.field, key)
                self.assertIn("is missing", str(error))
            else:
                header.from_ext_fields(without(fields, key))

    def test_a_send_without_a_needed_field_is_refused_by_its_name(self) -> None:
        needed = "queueId sysFlag bornTimestamp flag"
        self.assert_needed(SendMessageRequestHeader, SEND, needed)
        fields = SendMessageRequestHeader.from_ext_fields(SEND)
        letters = SendMessageRequestHeaderV2(
            **{f.attribute: getattr(fields, f.attribute) for f in fields.FIELDS}
        )
        self.assert_needed(SendMessageRequestHeaderV2, letters.to_ext_fields(), "e f g h")

    def test_a_pull_without_a_needed_field_is_refused_by_its_name(self) -> None:
        needed = "consumerGroup topic queueId queueOffset maxMsgNums sysFlag"
        self.assert_needed(PullMessageRequestHeader, PULL, needed)

    def test_a_number_that_is_none_is_missing(self) -> None:
        error = self.assertRaises(
            HeaderError, SendMessageRequestHeader.from_ext_fields, {**SEND, "queueId": "abc"}
        )
        self.assertIn("'abc' is no number of type int", str(error))
        header = SendMessageRequestHeader.from_ext_fields({**SEND, "defaultTopicQueueNums": "4.0"})
        self.assertIsNone(header.default_topic_queue_nums)

    def test_a_number_that_is_none_refuses_a_header_with_a_fast_codec(self) -> None:
        with self.assertRaises(HeaderError):
            PullMessageRequestHeader.from_ext_fields({**PULL, "subVersion": "x"})

    def test_values_that_apache_checks_while_decoding(self) -> None:
        end = {"tranStateTableOffset": "1", "commitLogOffset": "2", "commitOrRollback": "8"}
        self.assertEqual(EndTransactionRequestHeader.from_ext_fields(end).commit_or_rollback, 8)
        with self.assertRaises(HeaderError):
            EndTransactionRequestHeader.from_ext_fields({**end, "commitOrRollback": "5"})
        topic = {"readQueueNums": "1", "writeQueueNums": "1", "perm": "6", "topicFilterType": "SINGLE_TAG"}
        self.assertEqual(CreateTopicRequestHeader.from_ext_fields(topic).perm, 6)
        with self.assertRaises(HeaderError):
            CreateTopicRequestHeader.from_ext_fields({**topic, "topicFilterType": "NOPE"})

    def test_missing_texts_are_blank_or_none(self) -> None:
        self.assertEqual(SendMessageRequestHeader.from_ext_fields(without(SEND, "topic")).topic, "")
        self.assertEqual(UnregisterClientRequestHeader.from_ext_fields({"producerGroup": "p"}).client_id, "")
        self.assertIsNone(GetRouteInfoRequestHeader.from_ext_fields(None).topic)
        self.assertIsNone(PutKVConfigRequestHeader.from_ext_fields({"namespace": "n", "key": "k"}).value)


class Texts(SynchronousTestCase):
    def test_numbers_are_read_as_java_reads_them(self) -> None:
        for text, number in {"0": 0, "-1": -1, "+7": 7, "007": 7, "2147483647": 2**31 - 1}.items():
            self.assertEqual(read_int(text), number)
        self.assertEqual(read_long("-9223372036854775808"), -(2**63))
        for text in ("", "-", "1_000", " 1", "1 ", "1.0", "0x1", "--1", "2147483648", "9" * 5000):
            with self.assertRaises(ValueError):
                read_int(text)
        with self.assertRaises(ValueError):
            read_long("9223372036854775808")

    def test_only_true_is_true(self) -> None:
        self.assertEqual(
            [read_bool(text) for text in ("true", "TRUE", "1", "yes", "")], [True, True] + [False] * 3
        )

    def test_absent_fields_are_left_out_and_flags_always_written(self) -> None:
        answer = SendMessageResponseHeader(msg_id="ID", queue_id=3, queue_offset=5)
        self.assertEqual(answer.to_ext_fields(), {"msgId": "ID", "queueId": "3", "queueOffset": "5"})
        header = SendMessageRequestHeaderV2(
            producer_group="g", topic="t", queue_id=1, sys_flag=0, born_timestamp=3, flag=0
        )
        self.assertIsInstance(header, SendMessageRequestHeader)
        self.assertEqual(list(header.to_ext_fields()), list("abcefghkm"))

    def test_each_command_is_called_by_the_name_of_its_code(self) -> None:
        self.assertEqual(command_name(310), "SEND_MESSAGE_V2")
        self.assertEqual(command_name(7777), "7777")


class Recorded(SynchronousTestCase):
    def test_requests_and_answers_of_apache_come_out_as_they_went_in(self) -> None:
        """Every recorded header that fits its class, in the recorded order of its fields.

        Left aside: frames with fields that no header declares (ACL, ReqT, trace fields of answers, which
        other parts add), and requests that the hand-made client put together in an order of its own.
        """
        compared = 0
        for name in (
            golden.names("frames/accept-") + golden.names("frames/mqadmin") + golden.names("frames/ha-c")
        ):
            for line in golden.lines(name):
                header = header_of(line)
                fields = line.get("extFields")
                if header is None or not fields or set(fields) - {f.key for f in header.FIELDS}:
                    continue
                if line["type"] != "response" or line["code"] == 0:
                    again = header.from_ext_fields(fields).to_ext_fields()
                    if line["serialize"] == "JSON":
                        again = in_hash_map_order(again)
                    self.assertEqual(list(again.items()), list(fields.items()), (name, line["code"]))
                    compared += 1
        self.assertGreater(compared, 1500)


def header_of(line: dict[str, Any]) -> type[Header] | None:
    code = line.get("requestCode") if line.get("type") == "response" else line.get("code")
    command = COMMANDS.get(RequestCode(code)) if code in COMMANDS else None
    if command is None:
        return None
    return command.response_header if line["type"] == "response" else command.request_header
