"""The short cut for ends leaves the same log, table and figures as the general way."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import half_outlines
from rocketmq_tx.broker.half_outlines import HalfOutlines
from rocketmq_tx.broker.scanned_ends import ScannedEnds
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.decoder import SCANNED_END, FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import EndTransactionRequestHeader
from rocketmq_tx.protocol.properties import pack_properties
from rocketmq_tx.protocol.send_scan import SendScanner
from tests.unit.transaction_parts import COMMIT, GROUP, ROLLBACK, TOPIC, Bench

PEER: Any = None


def end_bytes(place: Any, key: str, decision: int, group: str = GROUP) -> bytes:
    header = EndTransactionRequestHeader(
        producer_group=group,
        bname="broker-a",
        tran_state_table_offset=place.queue_offset,
        commit_log_offset=place.commit_log_offset,
        commit_or_rollback=decision,
        from_transaction_check=False,
        msg_id=key,
    )
    return encode_frame(Frame.request(37, header, oneway=True))


class ScannedBench(Bench):
    """A bench whose ends come as bytes of a connection."""

    def __init__(self, *arguments: Any, **keys: Any) -> None:
        super().__init__(*arguments, **keys)
        self.scanned = ScannedEnds(self.settings.store, self.appending, self.log, self.ends, self.now_ms)
        self.appends = 0
        append = self.appending.append

        def counted(*arguments: Any) -> Any:
            self.appends += 1
            return append(*arguments)

        self.appending.append = counted  # type: ignore[method-assign]

    def receive(self, data: bytes, scan: bool = True) -> list[Any]:
        answers: list[Any] = []
        for code, run in FrameDecoder(scanner=SendScanner() if scan else None).feed(data):
            answers += (
                self.scanned.end_scanned(PEER, run) if code == SCANNED_END else self.ends.end(PEER, run)
            )
        return answers

    def log_content(self) -> bytes:
        return self.store.log_bytes(0, 1 << 20)

    def state(self) -> tuple[Any, ...]:
        table = self.log.table
        figures = attrs.asdict(self.log.figures)
        return (
            self.log_content(), self.open_keys(), table.progress, figures, self.delivered(), self.ops(),
        )  # fmt: skip


EXTRAS = st.sampled_from(
    [
        {},
        {"KEYS": "order-1 order-2"},
        {"DELAY": "3"},
        {"DELAY": "none"},
        {"colour": "UNIQ_KEY"},
        {"TRAN_PREPARED_QUEUE_OFFSET": "0"},
        {"TIMER_DELAY_SEC": "5"},
    ]
)


class BothWays(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from("ABCAD"), EXTRAS), min_size=1, max_size=6),
        st.lists(
            st.lists(
                st.tuples(
                    st.integers(0, 5),
                    st.sampled_from([COMMIT, ROLLBACK, COMMIT]),
                    st.sampled_from([GROUP, GROUP, GROUP, "others"]),
                    st.sampled_from([0, 0, 0, 1]),
                ),
                max_size=6,
            ),
            max_size=3,
        ),
        st.booleans(),
    )
    def test_they_leave_the_same(
        self,
        halves: list[tuple[str, dict[str, str]]],
        reads: list[list[tuple[int, int, str, int]]],
        restart: bool,
    ) -> None:
        """One read after the other is the same for both; within one the short cut goes first."""
        states = []
        for scan in (True, False):
            bench: Any = ScannedBench()
            bench.connect()
            places = [bench.send(key, b"body " + key.encode(), **extras) for key, extras in halves]
            if restart:
                bench.advance(61)
                bench = bench.next_run()
            for read in reads:
                seen: set[str] = set()
                for number, decision, group, error in read:
                    key = halves[number % len(halves)][0]
                    place = places[number % len(places)]
                    wrong = place._replace(queue_offset=place.queue_offset + error)
                    if key not in seen:  # else the order would be another one
                        bench.receive(end_bytes(wrong, key, decision, group), scan)
                    seen.add(key)
            states.append(bench.state())
        self.assertEqual(*states)


class ShortCutTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = ScannedBench()

    def test_a_run_is_stored_by_one_append(self) -> None:
        places = [self.bench.send(f"K{number}", b"%d" % number) for number in range(40)]
        self.bench.appends = 0
        decisions = [COMMIT, ROLLBACK] * 20
        data = b"".join(
            end_bytes(place, f"K{number}", decision)
            for number, (place, decision) in enumerate(zip(places, decisions, strict=True))
        )
        self.assertEqual(self.bench.receive(data), [])
        self.assertEqual(self.bench.appends, 1)
        self.assertEqual(self.bench.delivered(), {b"%d" % number: 1 for number in range(0, 40, 2)})
        self.assertEqual(self.bench.ops(), [b"%d" % number for number in range(40)])
        figures = self.bench.log.figures
        self.assertEqual((figures.commits, figures.rollbacks, figures.repeated_ends), (20, 20, 0))
        self.assertEqual(self.bench.open_keys(), [])

    def test_the_first_decision_counts_also_within_a_run(self) -> None:
        place = self.bench.send("K1")
        data = end_bytes(place, "K1", ROLLBACK) + end_bytes(place, "K1", COMMIT)
        self.assertEqual(self.bench.receive(data), [])
        self.assertEqual(self.bench.delivered(), {})
        self.assertEqual(self.bench.ops(), [b"0"])
        self.assertEqual(self.bench.log.figures.repeated_ends, 1)

    def test_what_no_check_passes_ends_nothing(self) -> None:
        place = self.bench.send("K1")
        wrong = place._replace(queue_offset=7)
        data = (
            end_bytes(place, "K1", COMMIT, "others")
            + end_bytes(wrong, "K1", COMMIT)
            + end_bytes(place._replace(commit_log_offset=5), "K1", COMMIT)
        )
        self.assertEqual(self.bench.receive(data), [])
        self.assertEqual(self.bench.open_keys(), ["K1"])
        self.assertEqual(self.bench.log.figures.refused_ends, 3)

    def test_one_that_is_out_of_the_ordinary_does_not_keep_others_from_the_short_cut(self) -> None:
        delayed, plain = self.bench.send("K1", b"delayed", DELAY="1"), self.bench.send("K2", b"plain")
        self.bench.appends = 0
        self.bench.receive(end_bytes(delayed, "K1", COMMIT) + end_bytes(plain, "K2", COMMIT))
        self.assertEqual(self.bench.appends, 2)
        self.assertEqual(self.bench.delivered(), {b"plain": 1})
        self.assertEqual([each.body for each in self.bench.queue("SCHEDULE_TOPIC_XXXX", 0)], [b"delayed"])

    def test_a_slave_ends_nothing(self) -> None:
        place = self.bench.send("K1")
        self.bench.settings.store.broker_role = BrokerRole.SLAVE
        before = self.bench.log_content()
        self.assertEqual(self.bench.receive(end_bytes(place, "K1", COMMIT)), [])
        self.assertEqual(self.bench.log_content(), before)

    def test_while_the_store_takes_nothing_the_transaction_stays_open(self) -> None:
        place = self.bench.send("K1")
        self.bench.store.refuse("test", "no")
        self.assertEqual(self.bench.receive(end_bytes(place, "K1", COMMIT)), [])
        self.bench.store.accept("test")
        self.assertEqual(self.bench.open_keys(), ["K1"])
        self.assertEqual(self.bench.log.figures.commits, 0)
        self.bench.receive(end_bytes(place, "K1", COMMIT))
        self.assertEqual(self.bench.delivered(), {b"paid": 1})


class OutlineTests(SynchronousTestCase):
    def outline(self, key: str = "K1", **properties: str) -> Any:
        pairs = {"PGROUP": "pg", "UNIQ_KEY": "K1", "REAL_TOPIC": TOPIC, "REAL_QID": "2", **properties}
        return HalfOutlines().of(pack_properties(pairs), key)

    def test_it_says_whose_it_is_and_where_it_goes(self) -> None:
        self.assertEqual(tuple(self.outline()), ("pg", True, (TOPIC, 2)))
        self.assertEqual(HalfOutlines().of(b"UNIQ_KEY\x01K1", "K1"), ("", True, None))
        self.assertFalse(self.outline(TRANSACTION_CHECK_TIMES="1").is_producers)
        self.assertIsNone(self.outline(DELAY="1").real_queue)
        self.assertIsNone(self.outline(REAL_QID="x").real_queue)

    def test_another_key_has_none(self) -> None:
        for key in ("K", "K11", "", "pg"):
            self.assertIsNone(self.outline(key), key)
        self.assertIsNone(HalfOutlines().of(b"XUNIQ_KEY\x01K1", "K1"))
        self.assertIsNone(HalfOutlines().of(b"UNIQ_KEY\x01K1\x02UNIQ_KEY\x01K2", "K1"))

    def test_what_is_remembered_is_bounded(self) -> None:
        self.patch(half_outlines, "OUTLINES_MAX", 3)
        outlines = HalfOutlines()
        for number in range(10):
            properties = b"PGROUP\x01g%d\x02UNIQ_KEY\x01K" % number
            for _ in range(2):
                outline = outlines.of(properties, "K")
                assert outline is not None
                self.assertEqual(outline.producer_group, f"g{number}")
            outlines.of(properties + b"\x02KEYS\x01a%d" % number, "K")
        self.assertLessEqual(len(outlines._known), 3)
