"""Too many unanswered bytes: sends wait in line or are refused, everything else is served as always."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.remoting.connections import Connections, Limits
from rocketmq_tx.remoting.overload import Load
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.remoting.registry import Registry, Reply, serves, serves_runs
from tests.wire import Wire

SEND = RequestCode.SEND_MESSAGE_V2
PULL = RequestCode.PULL_MESSAGE


class Broker:
    """Sends wait for a flush that the test decides about; pulls are answered at once."""

    def __init__(self) -> None:
        self.flushes: list[tuple[Deferred, list[Frame]]] = []

    @serves_runs(SEND)
    def send(self, peer, run: list[Frame]) -> list:
        flushed: Deferred = Deferred()
        self.flushes.append((flushed, run))
        return [flushed]

    def flush(self) -> None:
        flushes, self.flushes = self.flushes, []
        for flushed, run in flushes:
            flushed.callback(b"".join([encode_frame(frame.answer()) for frame in run]))

    @serves_runs(PULL)
    def pull(self, peer, run: list[Frame]) -> list:
        return [encode_frame(frame.answer(19)) for frame in run]

    @serves(RequestCode.CONSUMER_SEND_MSG_BACK)
    def send_back(self, peer, frame, header) -> Reply:
        return Reply()


class LoadTests(SynchronousTestCase):
    def test_it_is_over_above_its_bound_and_relieved_at_four_fifths_of_it(self) -> None:
        load, relieved = Load(100), []
        load.relieved = lambda: relieved.append(load.bytes)
        load.add(100)
        self.assertFalse(load.over)
        load.add(1)
        self.assertTrue(load.over)
        load.remove(20)
        self.assertTrue(load.over)
        load.remove(1)
        self.assertEqual((load.over, relieved), (False, [80]))


class OverloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = Broker()
        self.patience_ms = 200.0
        self.connections = Connections(
            self.clock,
            Registry(self.broker),
            limits=Limits(unanswered_max_bytes=10_000),
            send_patience_ms=lambda: self.patience_ms,
        )
        self.producer, self.consumer, self.other = (self.connect() for _ in range(3))

    def connect(self) -> tuple[Wire, FrameProtocol]:
        client = FrameProtocol(Connections(self.clock, Registry()))
        return Wire(self.clock).join(client, FrameProtocol(self.connections)), client

    def ask(self, connection: tuple[Wire, FrameProtocol], code: int, size: int = 0, **more) -> Deferred:
        wire, client = connection
        answer = client.peer.call(Frame.request(code, body=bytes(size), **more), 1000)
        wire.pump()
        return answer

    def overload(self) -> Deferred:
        answer = self.ask(self.producer, SEND, 11_000)
        self.assertTrue(self.connections.load.over)
        return answer

    def pump(self) -> None:
        for wire, _ in (self.producer, self.consumer, self.other):
            wire.pump()

    def test_sends_wait_and_are_served_when_the_load_has_sunk(self) -> None:
        first = self.overload()
        second = self.ask(self.producer, SEND, 100)
        third = self.ask(self.other, SEND, 100)
        self.assertEqual((len(self.broker.flushes), len(self.connections.line)), (1, 2))
        self.assertTrue(self.producer[0].server.paused)
        self.clock.advance(0.1)
        self.broker.flush()
        self.assertEqual((len(self.broker.flushes), len(self.connections.line)), (2, 0))
        self.assertFalse(self.producer[0].server.paused)
        self.broker.flush()
        self.pump()
        self.assertEqual([self.successResultOf(answer).code for answer in (first, second, third)], [0, 0, 0])
        self.assertEqual((self.connections.load.bytes, self.connections.awaited), (0, 0))

    def test_what_waits_too_long_is_answered_busy_with_apaches_remark(self) -> None:
        self.overload().addErrback(lambda failure: None)
        late = self.ask(self.other, SEND, 100)
        later = self.ask(self.producer, SEND, 100)
        self.clock.advance(0.15)
        self.pump()
        self.assertNoResult(late)
        self.clock.advance(0.05)
        self.pump()
        answer = self.successResultOf(late)
        self.assertEqual(answer.code, 2)
        self.assertEqual(
            answer.remark,
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while,"
            " period in queue: 200ms, size of queue: 2",
        )
        self.assertEqual(self.successResultOf(later).code, 2)
        self.assertEqual((self.connections.line.refused, len(self.connections.line)), (2, 0))
        self.assertFalse(self.other[0].server.paused)

    def test_consumers_are_served_all_the_while(self) -> None:
        self.overload().addErrback(lambda failure: None)
        self.ask(self.other, SEND, 100).addErrback(lambda failure: None)
        self.assertEqual(self.successResultOf(self.ask(self.consumer, PULL)).code, 19)
        back = self.ask(self.consumer, RequestCode.CONSUMER_SEND_MSG_BACK)
        self.assertIn(self.successResultOf(back).code, (0, 1))
        self.assertFalse(self.consumer[0].server.paused)

    def test_patience_is_read_anew_each_time(self) -> None:
        self.patience_ms = 1000
        self.overload().addErrback(lambda failure: None)
        waiting = self.ask(self.other, SEND, 100)
        self.clock.advance(0.9)
        self.pump()
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.pump()
        self.assertEqual(self.successResultOf(waiting).code, 2)

    def test_a_connection_that_goes_leaves_the_line(self) -> None:
        self.overload().addErrback(lambda failure: None)
        self.ask(self.other, SEND, 100).addErrback(lambda failure: None)
        self.other[0].cut()
        self.assertEqual(len(self.connections.line), 0)
        self.clock.advance(1)
        self.broker.flush()
        self.assertEqual(self.connections.load.bytes, 0)

    def test_the_line_is_served_only_as_far_as_the_load_allows(self) -> None:
        for connection in (self.producer, self.other):
            self.ask(connection, SEND, 6_000)
        for _ in range(3):
            self.ask(self.connect(), SEND, 3_000)
        self.assertEqual(len(self.connections.line), 3)
        flushed, _ = self.broker.flushes[0]
        flushed.callback(b"")
        self.assertEqual((len(self.broker.flushes), len(self.connections.line)), (4, 1))
        self.broker.flushes.pop(0)
        self.broker.flush()
        self.assertEqual(len(self.connections.line), 0)

    def test_memory_stays_bounded_when_nothing_is_flushed_and_producers_go_on(self) -> None:
        self.overload().addErrback(lambda failure: None)
        for _ in range(200):
            self.ask(self.other, SEND, 1000).addErrback(lambda failure: None)
        self.assertLess(self.connections.load.bytes, 12_000)
        self.assertLess(self.connections.line.bytes, 10_001)
        self.assertGreater(len(self.other[0].client.out), 150_000)  # the rest waits on the wire

    def test_the_oldest_are_refused_when_the_line_itself_gets_too_long(self) -> None:
        self.overload().addErrback(lambda failure: None)
        connections = [self.connect() for _ in range(3)]
        answers = [self.ask(each, SEND, 4_000) for each in connections]
        connections[0][0].pump()
        self.assertEqual(self.successResultOf(answers[0]).code, 2)
        self.assertNoResult(answers[1])
        self.assertEqual(len(self.connections.line), 2)

    def test_ready_again_after_an_hour_of_overload(self) -> None:
        first = self.overload()
        for _ in range(20):
            refused = self.ask(self.other, SEND, 100)
            self.clock.advance(0.2)
            self.pump()
            self.assertEqual(self.successResultOf(refused).code, 2)
        self.broker.flush()
        again = self.ask(self.other, SEND, 100)
        self.broker.flush()
        self.pump()
        self.assertEqual((self.successResultOf(first).code, self.successResultOf(again).code), (0, 0))
