"""Every body that Apache wrote is read into its type and written back to the same bytes."""

import base64
import enum
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol import bodies
from rocketmq_tx.protocol.bodies import (
    BrokerData,
    ClusterInfo,
    ConsumerData,
    ConsumerOffsetSerializeWrapper,
    ConsumeStats,
    DataVersion,
    HeartbeatData,
    MessageModel,
    MessageQueue,
    OffsetWrapper,
    QueueTimeSpan,
    ResetOffsetBody,
    SubscriptionGroupConfig,
    TopicConfig,
    TopicConfigSerializeWrapper,
    TopicRouteData,
)
from rocketmq_tx.protocol.bodies import fields as body_fields
from rocketmq_tx.protocol.bodies.fields import Bits, Body
from rocketmq_tx.protocol.bodies.stats import time_text
from rocketmq_tx.protocol.codes import LanguageCode
from tests import golden

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
BODY_TYPES = sorted(
    {value for value in vars(bodies).values() if isinstance(value, type) and issubclass(value, Body)}
    - {Body},
    key=lambda cls: cls.__name__,
)


PLAIN = {
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    str: texts,
    float: st.floats(allow_nan=False, allow_infinity=False),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field by its annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bits = [note.bits for note in arguments[1:] if isinstance(note, Bits)]
        values = st.integers(-(1 << bits[0] - 1), (1 << bits[0] - 1) - 1) if bits else values_of(arguments[0])
    elif origin in (list, tuple):
        values = st.lists(values_of(arguments[0]), max_size=2).map(origin)
    elif origin is dict:
        values = st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=2)
    elif arguments:
        values = st.none() | values_of(arguments[0])
    elif issubclass(hint, enum.Enum):
        values = st.sampled_from(hint)
    elif issubclass(hint, Body):
        values = bodies_of(hint)
    else:
        values = PLAIN[hint]
    return values


def bodies_of(cls: type[Body]) -> st.SearchStrategy[Body]:
    """Bodies of one type; fields that may be missing keep their default, so None is not drawn for those."""
    hints = get_type_hints(cls, include_extras=True)
    drawn = {}
    for field in body_fields.declared(cls):
        values = values_of(hints[field.name])
        drawn[field.name] = (
            values if field.default is None else values.filter(lambda value: value is not None)
        )
    return st.builds(cls, **drawn)


def recorded_frames() -> Iterator[tuple[dict[str, Any], bool]]:
    """All frames with whole bodies, and whether they were made by hand instead of by Apache."""
    for name in golden.names("frames/"):
        if not name.endswith(".jsonl"):
            continue
        for line in golden.lines(name):
            if "case" not in line:
                yield line, False
                continue
            yield line["request"] or {}, True
            for answer in (line.get("responses") or []) + (line.get("pushed") or []):
                yield answer | {"requestCode": line["request"].get("code")}, False


class RecordedBodies(SynchronousTestCase):
    def test_bodies_in_frames_are_written_back_to_the_same_bytes(self) -> None:
        seen: Counter[str] = Counter()
        for frame, by_hand in recorded_frames():
            answer = frame.get("type") == "response"
            if not frame.get("body") or "rawTruncatedTo" in frame or (answer and frame["code"] != 0):
                continue
            table = bodies.RESPONSE_BODIES if answer else bodies.REQUEST_BODIES
            kind = table.get(frame["requestCode" if answer else "code"])
            if kind is None:
                continue
            data = base64.b64decode(frame["raw"])[-frame["body"]["size"] :]
            if data == b"garbage":
                self.assertRaises(BodyError, kind.from_bytes, data)
                continue
            body = kind.from_bytes(data)
            written = body.to_bytes(quoted_keys=kind is TopicRouteData and b'{"0":' in data)
            self.assertEqual(kind.from_bytes(written) if by_hand else written, body if by_hand else data)
            seen[kind.__name__] += 1
        self.assertGreaterEqual(len(seen), 30, seen)
        self.assertGreater(seen.total(), 1000)

    def test_bodies_of_the_java_program_are_written_back_to_the_same_bytes(self) -> None:
        for line in golden.lines("client/json_bodies.jsonl"):
            if "class" not in line:
                continue
            kind, data = getattr(bodies, line["class"]), base64.b64decode(line["bytes"])
            body = kind.from_bytes(data)
            if b"$ref" in data:
                self.assertEqual(body.stats_hour, body.stats_day)
            elif line["name"] in ("TopicRouteData", "TopicRouteData.empty"):
                # Java had null in fields that ours fills with empty tables, as Apache's NameServer does
                self.assertEqual(body.filter_server_table, {})
            else:
                self.assertEqual(body.to_bytes(), data, line["name"])

    def test_routes_and_tables_of_a_fresh_broker_are_written_back(self) -> None:
        for name in golden.names("config/route-"):
            data = golden.path(name).read_bytes().strip()
            self.assertEqual(TopicRouteData.from_bytes(data).to_bytes(quoted_keys=True), data)
        for name, kind in (
            ("config/broker-all-topic-config.json", TopicConfigSerializeWrapper),
            ("config/broker-all-subscription-groups.json", bodies.SubscriptionGroupWrapper),
            ("config/broker-runtime-info.json", bodies.KVTable),
            ("config/namesrv-kvConfig.json", bodies.KVConfigSerializeWrapper),
        ):
            data = golden.path(name).read_bytes().strip()
            self.assertEqual(kind.from_bytes(data).to_bytes(), data)

    def test_configuration_files_of_apaches_stores_are_written_back(self) -> None:
        seen = set()
        for archive in golden.names("store/"):
            if not archive.endswith(".tar.gz"):
                continue
            with tarfile.open(golden.path(archive)) as tar:
                for member in tar:
                    kind = bodies.CONFIG_FILES.get(member.name.rpartition("/")[2].removesuffix(".bak"))
                    file = tar.extractfile(member) if kind else None
                    if kind is None or file is None:
                        continue
                    data = file.read()
                    self.assertEqual(kind.from_bytes(data).to_bytes(pretty=True), data, member.name)
                    seen.add(kind.__name__)
        self.assertEqual(len(seen), 5, seen)

    def test_offsets_of_a_broadcasting_client_are_written_back(self) -> None:
        data = golden.path("client/broadcast_offsets.json").read_bytes()
        table = bodies.OffsetSerializeWrapper.from_bytes(data)
        self.assertEqual(table.offset_table[MessageQueue("Broadcastnbzt9", "broker-a", 3)], 26)
        self.assertEqual(table.to_bytes(pretty=True), data)


class Types(SynchronousTestCase):
    @given(st.data())
    def test_each_body_is_read_back_from_each_of_its_forms(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(BODY_TYPES))
        body = data.draw(bodies_of(kind))
        self.assertEqual(kind.from_bytes(body.to_bytes()), body)
        self.assertEqual(kind.from_bytes(body.to_bytes(pretty=True)), body)

    def test_each_body_is_made_of_an_empty_object_and_says_its_duty(self) -> None:
        for kind in BODY_TYPES:
            kind.from_bytes(b"{}").to_bytes()
            self.assertTrue(kind.__doc__)

    def test_a_missing_field_keeps_its_default_and_an_unknown_one_is_ignored(self) -> None:
        config = SubscriptionGroupConfig.from_bytes(b'{"groupName":"g","brokerId":null,"newIn5":{"x":1}}')
        self.assertEqual(config, SubscriptionGroupConfig("g"))

    def test_numbers_and_booleans_may_be_texts_and_texts_numbers(self) -> None:
        config = TopicConfig.from_bytes(b'{"topicName":5,"perm":"7","order":"TRUE","readQueueNums":4}')
        self.assertEqual(
            (config.topic_name, config.perm, config.order, config.read_queue_nums), ("5", 7, True, 4)
        )
        self.assertEqual(TopicConfig.from_bytes(b'{"topicName":true,"order":0}').topic_name, "true")
        self.assertEqual(TopicConfig.from_bytes(b'{"topicName":false}').topic_name, "false")
        self.assertEqual(ConsumeStats.from_bytes(b'{"consumeTps":"1.5"}').consume_tps, 1.5)

    def test_enums_may_be_ordinals_and_unknown_names_are_none(self) -> None:
        read = ConsumerData.from_bytes(b'{"messageModel":1,"consumeType":"CONSUME_POP"}')
        self.assertEqual((read.message_model, read.consume_type), (MessageModel.CLUSTERING, None))
        self.assertEqual(bodies.Connection.from_bytes(b'{"language":"GO"}').language, LanguageCode.GO)

    def test_object_keys_may_be_quoted_texts(self) -> None:
        data = b'{"offsetTable":{"{\\"brokerName\\":\\"b\\",\\"queueId\\":1,\\"topic\\":\\"T\\"}":5}}'
        self.assertEqual(ResetOffsetBody.from_bytes(data).offset_table, {MessageQueue("T", "b", 1): 5})

    def test_integer_keys_may_be_quoted(self) -> None:
        read = ConsumerOffsetSerializeWrapper.from_bytes(b'{"offsetTable":{"T@g":{"0":5,1:6,"2":null}}}')
        self.assertEqual(read.offset_table, {"T@g": {0: 5, 1: 6}})

    def test_wrong_types_are_errors_that_name_body_field_and_value(self) -> None:
        for kind, data, problem in (
            (HeartbeatData, b"[]", "an object expected, not []"),
            (HeartbeatData, b'{"consumerDataSet":5}', "consumerDataSet: an array expected, not 5"),
            (
                HeartbeatData,
                b'{"consumerDataSet":[{"unitMode":7}]}',
                "consumerDataSet[0].unitMode: true or false expected, not 7",
            ),
            (HeartbeatData, b'{"producerDataSet":[null]}', "producerDataSet[0]: null in an array"),
            (HeartbeatData, b'{"clientID":{}}', "clientID: a text expected, not {}"),
            (ConsumerData, b'{"messageModel":2}', "messageModel: a name of MessageModel expected, not 2"),
            (TopicConfig, b'{"perm":1.5}', "perm: a whole number expected, not 1.5"),
            (TopicConfig, b'{"perm":true}', "perm: a whole number expected, not True"),
            (TopicConfig, b'{"perm":"x"}', "perm: a whole number expected, not 'x'"),
            (TopicConfig, b'{"perm":"' + b"9" * 60 + b'"}', "perm: a whole number expected, not '99999"),
            (TopicConfig, b'{"perm":2147483648}', "perm: 2147483648 does not fit 32 bits"),
            (DataVersion, b'{"counter":9223372036854775808}', "9223372036854775808 does not fit 64 bits"),
            (ConsumeStats, b'{"consumeTps":[]}', "consumeTps: a number expected, not []"),
            (ConsumeStats, b'{"consumeTps":"x"}', "consumeTps: a number expected, not 'x'"),
            (ClusterInfo, b'{"clusterAddrTable":[]}', "clusterAddrTable: an object expected, not []"),
            (BrokerData, b'{"brokerAddrs":{"x":""}}', "brokerAddrs['x']: a whole number expected, not 'x'"),
            (ResetOffsetBody, b'{"offsetTable":{"x":1}}', "offsetTable['x']: character 0: 'x' is no value"),
            (
                ResetOffsetBody,
                b"{offsetTable:{{queueId:'x'}:1}}",
                "queueId: a whole number expected, not 'x'",
            ),
            (ResetOffsetBody, b"{offsetTable:{5:1}}", "offsetTable[5]: an object expected, not 5"),
        ):
            error = self.assertRaises(BodyError, kind.from_bytes, data)
            self.assertTrue(str(error).startswith(f"{kind.__name__}: "), error)
            self.assertIn(problem, str(error))
            self.assertLess(len(str(error)), 250)

    def test_a_heartbeat_may_not_be_as_large_as_a_table(self) -> None:
        tables = b'{"consumerDataSet":[' + b"0," * 200_001 + b"]}"
        with self.assertRaisesRegex(BodyError, "HeartbeatData: more than 200000 values"):
            HeartbeatData.from_bytes(tables)
        ConsumerOffsetSerializeWrapper.from_bytes(tables)

    def test_an_annotation_that_no_field_can_have_is_noticed_at_once(self) -> None:
        @attrs.define
        class Odd(Body):
            when: bytes = b""

        self.assertRaises(TypeError, body_fields._fields, Odd)

    def test_message_queues_sort_by_topic_broker_and_queue(self) -> None:
        queues = [MessageQueue("T", "b", 0), MessageQueue("T", "a", 10), MessageQueue("T", "a", 9)]
        self.assertEqual(sorted(queues), queues[::-1])
        self.assertEqual(str(queues[0]), "MessageQueue [topic=T, brokerName=b, queueId=0]")

    def test_a_change_gives_the_next_version(self) -> None:
        self.assertEqual(DataVersion(5, 1).next(9), DataVersion(9, 2))

    def test_the_master_is_the_broker_with_id_zero(self) -> None:
        self.assertEqual(BrokerData("c", "b", {1: "slave", 0: "master"}).master_address, "master")
        self.assertIsNone(BrokerData("c", "b", {1: "slave"}).master_address)

    def test_what_waits_for_a_group_is_summed_over_its_queues(self) -> None:
        stats = ConsumeStats({MessageQueue("T", "b", n): OffsetWrapper(10, n) for n in range(3)})
        self.assertEqual(stats.total_diff, 27)

    def test_times_are_also_written_as_text(self) -> None:
        span = QueueTimeSpan(min_time_stamp=-1)
        self.assertEqual(span.to_json()["minTimeStampStr"], time_text(-1))
        self.assertRegex(time_text(1_700_000_000_431), r"^2023-11-1[45]#\d\d:\d\d:\d\d:431$")
        self.assertEqual(time_text(-1)[-3:], "999")
        self.assertEqual(time_text(2**62), str(2**62))
        self.assertEqual(list(span.to_json()), sorted(span.to_json()))
