"""Sends read as columns are what they are one by one; what only resembles them is read as what it is."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.alike_sends import ALIKE_LEAST, AlikeSends
from rocketmq_tx.protocol.decoder import SCANNED_END, SCANNED_SEND, FrameDecoder, Run
from rocketmq_tx.protocol.send_scan import SendScanner

KEY_CHARS = "0123456789ABCDEF"


def frame(
    number: int,
    opaque: int | str,
    *,
    queue_id: int = 0,
    group: str = "PG",
    born: int | str = 1_700_000_000_000,
    key: str = "",
    tail: str = "\\u0002WAIT\\u0001true",
    flag: int = 0,
    body: bytes = b"body",
) -> bytes:
    """A send as Java writes it, its key made from `number` unless one is given."""
    header = (
        f'{{"code":310,"extFields":{{"a":"{group}","b":"TopicTest","c":"TBW102","d":"4","e":"{queue_id}",'
        f'"f":"0","g":"{born}","h":"0","i":"UNIQ_KEY\\u0001{key or f"7F000001{number:024X}"}{tail}","j":"0",'
        f'"k":"false","m":"false"}},"flag":{flag},"language":"JAVA","opaque":{opaque},'
        '"serializeTypeCurrentRPC":"JSON","version":407}'
    ).encode()
    return b"".join(
        [(4 + len(header) + len(body)).to_bytes(4, "big"), len(header).to_bytes(4, "big"), header, body]
    )


def end_of_transaction(key: str) -> bytes:
    """A one-way end, scanned as such."""
    header = (
        '{"code":37,"extFields":{"producerGroup":"PG","bname":"broker-a","commitLogOffset":"5130116",'
        f'"msgId":"{key}","tranStateTableOffset":"8","commitOrRollback":"8","fromTransactionCheck":"false"}},'
        '"flag":2,"language":"JAVA","opaque":8,"serializeTypeCurrentRPC":"JSON","version":407}'
    ).encode()
    return (4 + len(header)).to_bytes(4, "big") + len(header).to_bytes(4, "big") + header


def decoder() -> FrameDecoder:
    """One that knows the routes of queues 0 to 3 already."""
    found = FrameDecoder(scanner=SendScanner())
    for queue_id in range(4):
        found.feed(frame(0, 1, queue_id=queue_id))
    return found


def items(runs: list[Run]) -> list[object]:
    """What came, in order, comparable across scanners."""
    return [
        (
            code,
            item
            if code != SCANNED_SEND
            else (item[0].header, item[1], item[2], item[3].before, item[3].after, *item[4:]),
        )
        for code, run in runs
        for item in run
    ]


def read(parts: list[bytes]) -> list[object]:
    """What comes of bytes that arrive in these parts, "broken" at the end when they are no frames."""
    own = decoder()
    found: list[object] = []
    for part in parts:
        try:
            found += items(own.feed(part))
        except FrameError:
            return [*found, "broken"]
        if own.broken is not None:
            return [*found, "broken"]
    return found


def ways(runs: list[Run]) -> list[tuple[bool, int]]:
    """Of each run whether it has columns, and its length."""
    return [(isinstance(run, AlikeSends), len(run)) for _, run in runs]


VARIED = st.fixed_dictionaries(
    {},
    optional={
        "queue_id": st.integers(0, 11),
        "group": st.sampled_from(["PG", "GP", 'P"', "P}", "P\\"]),
        "born": st.sampled_from([1_700_000_000_001, "0700000000000", "17000000000x0", "1_00000000000", "1"]),
        "key": st.sampled_from(["A" * 32, "z" * 32, "_" * 32, "A" * 31 + '"', "A" * 31 + "é", "A" * 31]),
        "tail": st.sampled_from(
            ["\\u0002WAIT\\u0001TRUE", "\\u0002WAIT\\u0001tru\\", "", "\\u0002KEYS\\u0001abcd"]
        ),
        "flag": st.sampled_from([2, 1]),
        "body": st.binary(min_size=3, max_size=5),
    },
)
OPAQUES = st.one_of(
    st.integers(100, 999),
    st.integers(0, 12),
    st.sampled_from(["012", "1_0", "+10", 2_147_483_647, 2_147_483_648]),
)


class OneByOneAndByColumns(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.tuples(OPAQUES, st.one_of(st.just({}), VARIED)), min_size=1, max_size=40),
        st.integers(0, 3),
        st.data(),
    )
    def test_both_read_the_same(
        self, sends: list[tuple[int | str, dict[str, object]]], calm: int, data: st.DataObject
    ) -> None:
        """`calm` times as many of them differ in what columns allow only, so that there are columns."""
        queues = data.draw(st.sampled_from([[0], [0, 1, 2, 3]]))
        frames = [frame(at, 100 + at, queue_id=queues[at % len(queues)]) for at in range(10 * calm)]
        frames += [frame(at, opaque, **how) for at, (opaque, how) in enumerate(sends)]  # type: ignore[arg-type]
        frames += [frame(at, 500 + at, queue_id=queues[at % len(queues)]) for at in range(10 * calm)]
        self.assertEqual(read([b"".join(frames)]), read(frames))

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, 15), st.integers(0, 420), st.integers(0, 255))
    @example(7, 3, 0)
    @example(7, 7, 0)
    def test_a_byte_that_is_another_changes_what_it_changes_alone(
        self, which: int, at: int, value: int
    ) -> None:
        frames = [frame(number, 100 + number, queue_id=number % 2) for number in range(16)]
        changed = bytearray(frames[which])
        changed[at % len(changed)] = value
        frames[which] = bytes(changed)
        stream = b"".join(frames)
        parts = [stream[start : start + 300] for start in range(0, len(stream), 300)]
        self.assertEqual(read([stream]), read(parts))


class Columns(SynchronousTestCase):
    def test_sends_of_one_read_to_known_queues_come_as_columns(self) -> None:
        frames = [
            frame(number, 100 + number, queue_id=number % 4, born=1_700_000_000_000 + number)
            for number in range(20)
        ]
        ((code, run),) = decoder().feed(b"".join(frames))
        self.assertEqual(code, SCANNED_SEND)
        assert isinstance(run, AlikeSends)
        self.assertEqual([route.queue_id for route in run.routes], [0, 1, 2, 3] * 5)
        self.assertEqual(list(run.opaques), [b"%d" % (100 + number) for number in range(20)])
        self.assertEqual(list(run.born_timestamps), [1_700_000_000_000 + number for number in range(20)])
        self.assertEqual(list(run.unique_keys), [b"7F000001%024X" % number for number in range(20)])
        self.assertEqual(run.tail.after, b"\x02WAIT\x01true")

    def test_a_few_come_one_by_one(self) -> None:
        for count, columns in ((ALIKE_LEAST - 1, False), (ALIKE_LEAST, True)):
            runs = decoder().feed(b"".join(frame(number, 10 + number) for number in range(count)))
            self.assertEqual(ways(runs), [(columns, count)])

    def test_columns_end_where_something_differs_and_begin_again_behind_it(self) -> None:
        frames = [frame(number, 100 + number) for number in range(30)]
        frames[8] = frame(8, 108, tail="\\u0002WAIT\\u0001TRUE")
        runs = decoder().feed(b"".join(frames))
        self.assertEqual(ways(runs), [(True, 8), (False, ALIKE_LEAST), (True, 22 - ALIKE_LEAST)])
        frames[8] = frame(8, 108, body=b"longer")
        runs = decoder().feed(b"".join(frames))
        self.assertEqual(ways(runs), [(True, 8), (False, 1), (True, 21)])

    def test_a_queue_that_is_new_is_read_alone_first(self) -> None:
        own = decoder()
        frames = [frame(number, 100 + number, queue_id=number % 2 + 7) for number in range(20)]
        self.assertEqual(ways(own.feed(b"".join(frames[:10]))), [(False, 10)])
        self.assertEqual(ways(own.feed(b"".join(frames))), [(True, 20)])

    def test_half_a_frame_at_the_end_waits(self) -> None:
        own = decoder()
        stream = b"".join(frame(number, 100 + number) for number in range(20))
        self.assertEqual(ways(own.feed(stream[:-7])), [(True, 19)])
        self.assertEqual(ways(own.feed(stream[-7:])), [(False, 1)])

    def test_ends_of_transactions_come_behind_them(self) -> None:
        frames = [frame(number, 100 + number) for number in range(20)]
        stream = end_of_transaction("A") + b"".join(frames) + end_of_transaction("B")
        runs = decoder().feed(stream)
        self.assertEqual([code for code, _ in runs], [SCANNED_SEND, SCANNED_END])
        self.assertEqual(ways(runs), [(True, 20), (False, 2)])

    def test_an_end_stays_behind_the_send_of_its_key(self) -> None:
        frames = [frame(number, 100 + number) for number in range(20)]
        stream = end_of_transaction(f"7F000001{3:024X}") + b"".join(frames) + frame(1, 7)
        runs = decoder().feed(stream)
        self.assertEqual([code for code, _ in runs], [SCANNED_END, SCANNED_SEND, SCANNED_SEND])
        self.assertEqual(items(runs)[1:], read([*frames, frame(1, 7)]))
