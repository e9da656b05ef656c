"""The frame protocol over an imaginary wire: serving, calling, closing, limits."""

from __future__ import annotations

import random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import BodyError, ConnectionLost, RequestRefused, RequestTimeout
from rocketmq_tx.protocol.codes import RequestCode, SerializeType
from rocketmq_tx.protocol.decoder import FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader
from rocketmq_tx.remoting.connections import Connections, Limits
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.remoting.registry import Registry, Reply, serves, serves_runs
from tests.wire import Wire, answer_to, joined

ECHO = RequestCode.GET_BROKER_CONFIG
SLOW = RequestCode.GET_ALL_TOPIC_CONFIG
BIG = RequestCode.GET_ALL_CONSUMER_OFFSET
FAULTY = RequestCode.GET_ALL_DELAY_OFFSET
RAW = RequestCode.HEART_BEAT
COROUTINE = RequestCode.GET_BROKER_RUNTIME_INFO
AT_ONCE = RequestCode.GET_NAMESRV_CONFIG
STEPS = RequestCode.UNLOCK_BATCH_MQ
SILENT = RequestCode.LOCK_BATCH_MQ


class Handlers:
    """One handler of each kind."""

    def __init__(self) -> None:
        self.slow: list[Deferred] = []
        self.raw_runs: list[int] = []
        self.served = 0
        self.error: Exception = ValueError("no such luck")

    @property
    def dangerous(self) -> None:
        raise AssertionError("a registry must not look at properties")

    @serves(ECHO)
    def echo(self, peer, frame, header) -> Reply:
        self.served += 1
        return Reply(remark=frame.remark, body=frame.body)

    @serves(RequestCode.GET_MAX_OFFSET)
    def max_offset(self, peer, frame, header: GetMaxOffsetRequestHeader) -> Reply:
        return Reply(header=GetMaxOffsetResponseHeader(offset=header.queue_id * 100))

    @serves(SLOW)
    def answer_later(self, peer, frame, header) -> Deferred[Reply]:
        self.slow.append(Deferred())
        return self.slow[-1]

    @serves(BIG)
    def answer_much(self, peer, frame, header) -> Reply:
        return Reply(body=bytes(100_000))

    @serves(FAULTY)
    def fail(self, peer, frame, header) -> Reply:
        raise self.error

    @serves(SILENT)
    def say_nothing(self, peer, frame, header) -> None:
        return None

    @serves(COROUTINE)
    async def wait_first(self, peer, frame, header) -> Reply:
        self.slow.append(Deferred())
        return Reply(body=await self.slow[-1])

    @serves(AT_ONCE)
    async def wait_for_nothing(self, peer, frame, header) -> Reply:
        if not frame.body:
            raise RequestRefused(17, "nothing to say")
        return Reply(body=frame.body)

    @serves(STEPS)
    async def wait_twice(self, peer, frame, header) -> Reply:
        self.slow += [Deferred(), Deferred()]
        heard = []
        for slow in self.slow[-2:]:
            try:
                heard.append(await slow)
            except BodyError as error:
                heard.append(str(error).encode())
        if b"end" in heard:
            raise RequestRefused(17, "the end")
        return Reply(body=b" ".join(heard))

    @serves_runs(RAW)
    def runs(self, peer, run: list[Frame]) -> list:
        self.raw_runs.append(len(run))
        return [encode_frame(frame.answer()) for frame in run if not frame.is_oneway]


class WithHandlers(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.handlers = Handlers()
        self.wire, self.client, self.server = joined(self.clock, Registry(self.handlers))

    def call(self, code: int, timeout_s: float = 3.0, **more: object) -> Deferred[Frame]:
        return self.client.peer.call(Frame.request(code, **more), timeout_s)

    def answer(self, code: int, **more: object) -> Frame:
        return answer_to(self.wire, self.client, Frame.request(code, **more))


class ServingTests(WithHandlers):
    def test_an_answer_keeps_the_opaque_and_the_serialization_of_its_request(self) -> None:
        for serialize in SerializeType:
            answer = self.answer(ECHO, remark="hi", body=b"x", serialize=serialize)
            self.assertEqual((answer.code, answer.remark, answer.body), (0, "hi", b"x"))
            self.assertEqual(answer.serialize, serialize)

    def test_headers_are_decoded_and_encoded_by_the_command_table(self) -> None:
        header = GetMaxOffsetRequestHeader(topic="t", queue_id=3)
        answer = self.answer(RequestCode.GET_MAX_OFFSET, header=header)
        self.assertEqual(answer.ext_fields, {"offset": "300"})

    def test_an_unknown_code_is_answered_3_with_apaches_remark(self) -> None:
        answer = self.answer(9999)
        self.assertEqual((answer.code, answer.remark), (3, " request type 9999 not supported"))

    def test_negative_codes_are_unknown_ones_and_not_those_of_our_runs(self) -> None:
        for code in (-1, -2, -3, -4, -5, -(1 << 31)):
            answer = self.answer(code)
            self.assertEqual((answer.code, answer.remark), (3, f" request type {code} not supported"))

    def test_frames_of_one_read_are_served_as_runs_and_answered_in_one_write(self) -> None:
        writes: list[bytes] = []
        write = self.wire.server.write
        self.wire.server.write = lambda data: (writes.append(data), write(data))
        answers = [self.call(RAW) for _ in range(50)] + [self.call(ECHO)]
        self.wire.pump()
        for answer in answers:
            self.assertEqual(self.successResultOf(answer).code, 0)
        self.assertEqual((self.handlers.raw_runs, len(writes)), ([32, 18], 1))

    def test_oneway_requests_get_no_answer_whatever_becomes_of_them(self) -> None:
        for code in (ECHO, RAW, FAULTY, SLOW, 9999):
            self.client.peer.push(Frame.request(code))
        self.wire.pump()
        self.handlers.slow[0].callback(Reply())
        self.wire.pump()
        self.assertEqual(self.client.connections.stray_answers, 0)
        self.assertEqual(self.handlers.served, 1)

    def test_an_answer_that_comes_later_is_written_when_it_is_there(self) -> None:
        first, second = self.call(SLOW), self.call(COROUTINE)
        self.wire.pump()
        self.assertNoResult(first)
        self.assertEqual(self.server.connections.awaited, 2)
        self.handlers.slow[1].callback(b"2")
        self.handlers.slow[0].callback(Reply(body=b"1"))
        self.wire.pump()
        self.assertEqual((self.successResultOf(first).body, self.successResultOf(second).body), (b"1", b"2"))
        self.assertEqual((self.server.connections.awaited, self.server.connections.load.bytes), (0, 0))

    def test_a_coroutine_that_never_waits_is_answered_like_any_other_handler(self) -> None:
        requests = [Frame.request(AT_ONCE, body=body, opaque=7) for body in (b"x", b"", b"y")]
        ((_, run),) = FrameDecoder().feed(b"".join(map(encode_frame, requests)))
        answers = self.server.connections.registry.serve(self.server.peer, AT_ONCE, run)
        frames = [FrameDecoder().feed(answer)[0][1][0] for answer in answers]  # no Deferred among them
        found = [(frame.code, frame.remark, frame.body) for frame in frames]
        self.assertEqual(found, [(0, None, b"x"), (17, "nothing to say", b""), (0, None, b"y")])

    def test_a_coroutine_goes_on_after_each_wait_and_hears_what_failed(self) -> None:
        answers = [self.call(STEPS) for _ in range(3)]
        self.wire.pump()
        for slow, end in zip(self.handlers.slow[::2], (b"1", BodyError("bad"), b"end"), strict=True):
            slow.callback(end) if isinstance(end, bytes) else slow.errback(end)
        self.wire.pump()
        for slow in self.handlers.slow[1::2]:
            slow.callback(b"2")
        self.wire.pump()
        found = [self.successResultOf(answer) for answer in answers]
        self.assertEqual([answer.body for answer in found], [b"1 2", b"bad 2", b""])
        self.assertEqual(found[2].remark, "the end")
        self.assertEqual((self.server.connections.awaited, self.server.connections.load.bytes), (0, 0))

    def test_a_handler_may_choose_to_answer_nothing(self) -> None:
        answer = self.call(SILENT)
        self.wire.pump()
        self.assertNoResult(answer)
        self.clock.advance(3)
        self.failureResultOf(answer, RequestTimeout)

    def test_late_answers_of_many_requests_share_one_write(self) -> None:
        answers = [self.call(SLOW) for _ in range(10)]
        self.wire.pump()
        for slow in self.handlers.slow:
            slow.callback(Reply())
        self.assertEqual(bytes(self.wire.server.out), b"")
        self.clock.advance(0)
        self.assertEqual(len(FrameDecoder().feed(bytes(self.wire.server.out))[0][1]), 10)
        self.wire.pump()
        for answer in answers:
            self.successResultOf(answer)

    def test_answers_woken_by_another_connections_read_leave_in_the_same_turn(self) -> None:
        held = self.call(SLOW)
        self.wire.pump()

        class Waker:
            @serves(ECHO)
            def wake(_, peer, frame, header) -> Reply:
                self.handlers.slow[0].callback(Reply(body=b"woken"))
                return Reply()

        self.server.connections.registry._handlers.pop(int(ECHO))
        self.server.connections.registry._names.pop(int(ECHO))
        self.server.connections.registry.add(Waker())
        other = FrameProtocol(self.server.connections)
        other.makeConnection(StringTransport())
        other.dataReceived(encode_frame(Frame.request(ECHO)))
        self.assertTrue(self.wire.server.out)  # no turn of the reactor in between
        self.wire.pump()
        self.assertEqual(self.successResultOf(held).body, b"woken")


class MishapTests(WithHandlers):
    def test_a_refusal_is_its_code_and_remark(self) -> None:
        self.handlers.error = RequestRefused(17, "no topic")
        answer = self.answer(FAULTY)
        self.assertEqual((answer.code, answer.remark), (17, "no topic"))

    def test_a_bad_body_or_header_is_answered_1_and_names_the_place(self) -> None:
        self.handlers.error = BodyError("HeartbeatData: clientID is missing")
        self.assertEqual(self.answer(FAULTY).remark, "HeartbeatData: clientID is missing")
        answer = self.answer(RequestCode.GET_MAX_OFFSET)
        self.assertEqual(answer.code, 1)
        self.assertIn("queueId", answer.remark or "")

    def test_an_unforeseen_error_is_answered_1_with_its_text_and_logged_once_a_minute(self) -> None:
        for _ in range(5):
            answer = self.answer(FAULTY)
            self.assertEqual((answer.code, answer.remark), (1, "ValueError: no such luck"))
        self.assertEqual(self.server.connections.registry.mishaps.count, 5)
        self.assertTrue(self.client.is_open)

    def test_a_handler_that_fails_later_is_answered_as_well(self) -> None:
        answer = self.call(SLOW)
        self.wire.pump()
        self.handlers.slow[0].errback(RequestRefused(10, "FLUSH_DISK_TIMEOUT"))
        self.wire.pump()
        self.assertEqual(self.successResultOf(answer).code, 10)

    def test_a_run_handler_that_fails_fails_each_request_of_its_run(self) -> None:
        class Broken:
            @serves_runs(RAW)
            def runs(self, peer, run: list[Frame]) -> list:
                raise ValueError("broken")

            @serves_runs(ECHO)
            def later(self, peer, run: list[Frame]) -> list:
                failing: Deferred = Deferred()
                failing.errback(ValueError("late"))
                return [failing]

        self.wire, self.client, self.server = joined(self.clock, Registry(Broken()))
        answers = [self.call(RAW) for _ in range(3)] + [self.call(ECHO)]
        self.wire.pump()
        self.assertEqual([self.successResultOf(answer).code for answer in answers], [1, 1, 1, 1])

    def test_bytes_that_are_no_frame_close_the_connection_and_no_other(self) -> None:
        other = FrameProtocol(self.server.connections)
        transport = StringTransport()
        other.makeConnection(transport)
        other.dataReceived(b"\x7f\xff\xff\xff garbage")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.answer(ECHO).code, 0)

    def test_good_frames_in_front_of_bad_bytes_are_answered(self) -> None:
        transport = StringTransport()
        protocol = FrameProtocol(self.server.connections)
        protocol.makeConnection(transport)
        protocol.dataReceived(encode_frame(Frame.request(ECHO)) + bytes(8))
        self.assertEqual(len(FrameDecoder().feed(transport.value())), 1)
        self.assertTrue(transport.disconnecting)
        protocol.dataReceived(encode_frame(Frame.request(ECHO)))
        self.assertEqual(self.handlers.served, 1)

    def test_a_peer_that_varies_its_mistakes_gets_one_line_a_minute_for_each_kind(self) -> None:
        """Fault 20: the log is no place for a peer to write to."""
        connections = self.server.connections
        said: list[str] = []
        self.patch(type(connections.log), "warn", lambda log, format, **facts: said.append(facts["reason"]))
        for length in range(5000):
            protocol = FrameProtocol(connections)
            protocol.makeConnection(StringTransport())
            protocol.dataReceived((length * 13 & 0xFFFFFFFF).to_bytes(4, "big") + b"\xff" * 8)
            protocol.connectionLost()
        self.assertLess(len(said), 4)

    def test_random_bytes_never_raise_and_hold_no_memory(self) -> None:
        chance = random.Random(4)
        good = encode_frame(Frame.request(ECHO, body=b"body", remark="r"))
        connections = self.server.connections
        for round_number in range(3000):
            protocol = FrameProtocol(connections)
            protocol.makeConnection(StringTransport())
            data = bytearray(good * 2) if round_number % 2 else bytearray(chance.randbytes(60))
            for _ in range(chance.randrange(4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            cut = chance.randrange(len(data))
            protocol.dataReceived(bytes(data[:cut]))
            protocol.dataReceived(bytes(data[cut:]))
            protocol.connectionLost()
        self.assertEqual((connections.load.bytes, connections.awaited, len(connections.open)), (0, 0, 1))
        self.assertEqual(self.flushLoggedErrors(), [])


class CuttingTests(WithHandlers):
    """Fault 25 on this layer."""

    def test_a_request_cut_at_each_byte_is_not_served_and_leaves_nothing_behind(self) -> None:
        data = encode_frame(Frame.request(ECHO, body=b"body"))
        for cut in range(len(data)):
            protocol = FrameProtocol(self.server.connections)
            protocol.makeConnection(StringTransport())
            protocol.dataReceived(data[:cut])
            protocol.connectionLost()
        self.assertEqual((self.handlers.served, self.server.connections.load.bytes), (0, 0))

    def test_an_answer_cut_at_each_byte_fails_its_call_with_connection_lost(self) -> None:
        size = len(encode_frame(Frame.request(ECHO, body=b"body").answer(body=b"body")))
        for cut in range(size):
            wire, client, _ = joined(self.clock, Registry(self.handlers))
            answer = client.peer.call(Frame.request(ECHO, body=b"body"), 3)
            self.clock.advance(0)
            wire._move(wire.client, wire.server)
            client.dataReceived(wire.server.take(cut)) if cut else None
            wire.cut()
            failure = self.failureResultOf(answer, ConnectionLost)
            self.assertIn("GET_BROKER_CONFIG to 127.0.0.1:10911", str(failure.value))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_feeding_byte_by_byte_gives_the_same_answers(self) -> None:
        wire, client, server = joined(self.clock, Registry(self.handlers), chunk=1)
        answers = [client.peer.call(Frame.request(code, body=b"b"), 3) for code in (ECHO, RAW, 9999)]
        wire.pump(10_000)
        self.assertEqual([self.successResultOf(answer).code for answer in answers], [0, 0, 3])
        self.assertEqual(server.connections.load.bytes, 0)

    def test_held_requests_of_a_lost_connection_are_not_counted_any_more(self) -> None:
        answer = self.call(SLOW)
        self.wire.pump()
        self.assertGreater(self.server.connections.load.bytes, 0)
        self.wire.cut()
        self.failureResultOf(answer, ConnectionLost)
        self.assertEqual((self.server.connections.load.bytes, self.server.connections.awaited), (0, 0))
        self.handlers.slow[0].callback(Reply())
        self.assertEqual((self.server.connections.load.bytes, self.server.connections.awaited), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class CallingTests(WithHandlers):
    def test_the_server_can_ask_the_client_on_the_same_connection(self) -> None:
        both = Registry(self.handlers)
        wire, client, server = joined(self.clock, both, both)
        asked = server.peer.call(Frame.request(ECHO, body=b"to client"), 3)
        replied = client.peer.call(Frame.request(ECHO, body=b"to server"), 3)
        wire.pump()
        self.assertEqual(self.successResultOf(asked).body, b"to client")
        self.assertEqual(self.successResultOf(replied).body, b"to server")

    def test_a_call_without_an_answer_times_out_and_names_address_and_command(self) -> None:
        answer = self.call(SLOW, timeout_s=2)
        self.wire.pump()
        self.clock.advance(2)
        text = str(self.failureResultOf(answer, RequestTimeout).value)
        self.assertEqual(text, "GET_ALL_TOPIC_CONFIG to 127.0.0.1:10911: no answer within 2 s")

    def test_late_repeated_and_invented_answers_are_ignored_and_counted(self) -> None:
        """Fault 26."""
        late = self.call(SLOW, timeout_s=2)
        self.answer(ECHO)
        self.clock.advance(2)
        self.failureResultOf(late, RequestTimeout)
        self.handlers.slow[0].callback(Reply())
        self.wire.pump()
        self.assertEqual(self.client.connections.stray_answers, 1)
        twice = encode_frame(Frame.request(ECHO, opaque=7).answer())
        self.client.dataReceived(twice + twice)
        self.assertEqual(self.client.connections.stray_answers, 3)
        self.assertEqual(self.answer(ECHO).code, 0)

    def test_the_same_opaque_twice_is_two_requests(self) -> None:
        request = encode_frame(Frame.request(ECHO, opaque=5))
        transport = StringTransport()
        protocol = FrameProtocol(self.server.connections)
        protocol.makeConnection(transport)
        protocol.dataReceived(request + request)
        [(_, answers)] = FrameDecoder().feed(transport.value())
        self.assertEqual([answer.opaque for answer in answers], [5, 5])

    def test_opaques_in_use_are_not_given_again_when_the_counter_wraps(self) -> None:
        self.client.peer._opaque = 0x7FFFFFFF
        answers = [self.call(SLOW) for _ in range(2)]
        self.client.peer._opaque = 0x7FFFFFFF
        answers += [self.call(SLOW) for _ in range(2)]
        self.assertEqual(sorted(self.client.peer._calls), [0, 1, 2, 0x7FFFFFFF])
        self.wire.cut()
        for answer in answers:
            self.failureResultOf(answer, ConnectionLost)

    def test_a_cancelled_call_is_forgotten(self) -> None:
        answer = self.call(SLOW)
        answer.addErrback(lambda failure: None)
        answer.cancel()
        self.assertEqual(self.client.peer.calls_waiting, 0)
        self.wire.cut()

    def test_calls_to_a_closed_connection_fail_and_pushes_vanish(self) -> None:
        self.wire.cut()
        self.failureResultOf(self.call(ECHO), ConnectionLost)
        self.client.peer.push(Frame.request(ECHO))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_closes_a_connection_on_which_nothing_was_heard_during_a_call(self) -> None:
        answer = self.call(SLOW, timeout_s=2)
        self.clock.advance(2)
        self.failureResultOf(answer, RequestTimeout)
        self.assertFalse(self.client.is_open)
        answer.addErrback(lambda failure: None)

    def test_a_call_that_times_out_on_a_living_connection_leaves_it_open(self) -> None:
        answer = self.call(SLOW, timeout_s=2)
        self.clock.advance(1)
        self.answer(ECHO)
        self.clock.advance(1)
        self.failureResultOf(answer, RequestTimeout)
        self.assertTrue(self.client.is_open)

    def test_a_peer_knows_both_addresses(self) -> None:
        self.assertEqual(self.server.peer.name, "127.0.0.1:40001")
        self.assertEqual(self.server.peer.packed_host, bytes.fromhex("7f00000100009c41"))
        self.assertEqual(self.server.peer.local_address, ("127.0.0.1", 10911))
        self.assertIn("open", repr(self.server.peer))

    def test_an_ipv4_peer_of_an_ipv6_socket_is_an_ipv4_peer(self) -> None:
        wire = Wire(self.clock)
        server = FrameProtocol(self.server.connections)
        wire.join(FrameProtocol(self.client.connections), server, "::ffff:192.0.2.7")
        self.assertEqual(server.peer.address, ("192.0.2.7", 40001))


class LimitTests(WithHandlers):
    def limits(self, **values: object) -> Connections:
        return Connections(self.clock, Registry(self.handlers), limits=Limits(**values))

    def never_reading(self, connections: Connections) -> None:
        self.wire = Wire(self.clock)
        self.client = FrameProtocol(Connections(self.clock, Registry()))
        self.server = FrameProtocol(connections)
        self.wire.join(self.client, self.server)
        self.wire.client.reads = False

    def test_nothing_more_is_read_from_a_peer_that_leaves_its_answers_unread_until_it_reads(self) -> None:
        self.never_reading(self.limits(unsent_high_bytes=1_000_000))
        answers = [self.call(BIG) for _ in range(300)]
        self.wire.pump()
        self.assertTrue(self.wire.server.paused)
        self.assertLess(len(self.wire.server.out), 6_000_000)
        self.wire.client.reads = True
        while self.wire.server.paused:
            self.wire.step()
            self.assertLess(len(self.wire.server.out), 6_000_000)
        self.wire.pump()
        self.assertEqual({len(self.successResultOf(answer).body) for answer in answers}, {100_000})
        self.assertFalse(self.wire.server.paused)

    def test_peers_that_leave_much_unread_together_get_two_answers_each_until_some_of_them_read(self) -> None:
        for asked in (20, 40):  # less and more than what is served at once otherwise
            connections = self.limits(unsent_all_bytes=1_000_000)
            answers, wires = [], []
            for _ in range(20):
                self.never_reading(connections)
                answers += [self.call(BIG) for _ in range(asked)]
                self.wire.pump()
                wires.append(self.wire)
            unsent = sum(len(wire.server.out) for wire in wires)
            self.assertLess(unsent, 3_300_000 + 19 * 210_000)
            self.assertEqual(connections.unsent.bytes, unsent)
            for wire in wires:
                self.assertTrue(wire.server.paused)
                wire.client.reads = True
                wire.pump()
            bodies = [self.successResultOf(answer).body for answer in answers]
            self.assertEqual([len(body) for body in bodies], [100_000] * asked * 20)
            self.assertEqual(connections.unsent.bytes, 0)
            self.assertFalse(any(wire.server.paused for wire in wires))

    def test_what_a_lost_connection_left_unread_is_counted_no_more(self) -> None:
        connections = self.limits()
        self.never_reading(connections)
        answer = self.call(BIG)
        self.wire.pump()
        self.call(BIG).addErrback(lambda failure: None)
        self.wire.pump()
        self.assertGreater(connections.unsent.bytes, 100_000)
        self.wire.cut()
        self.failureResultOf(answer, ConnectionLost)
        self.assertEqual(connections.unsent.bytes, 0)

    def test_a_peer_with_too_much_unread_is_closed(self) -> None:
        self.never_reading(self.limits(unsent_high_bytes=1_000_000, unsent_max_bytes=2_000_000))
        answers = [self.call(BIG) for _ in range(300)]
        self.wire.pump()
        self.assertFalse(self.server.is_open)
        for answer in answers:
            self.failureResultOf(answer, ConnectionLost)

    def test_a_peer_that_reads_nothing_for_a_minute_is_closed(self) -> None:
        connections = self.limits()
        self.never_reading(connections)
        answer = self.call(BIG, timeout_s=1000)
        self.wire.pump()
        for _ in range(11):
            self.clock.advance(5)
            connections.sweep()
        self.assertTrue(self.server.is_open)
        for _ in range(2):
            self.clock.advance(5)
            connections.sweep()
        self.assertFalse(self.server.is_open)
        self.wire.pump()
        self.failureResultOf(answer, ConnectionLost)

    def test_a_connection_on_which_nothing_happens_is_closed_after_the_idle_time(self) -> None:
        connections = self.server.connections
        self.clock.advance(119)
        self.answer(ECHO)
        self.clock.advance(119)
        connections.sweep()
        self.assertTrue(self.server.is_open)
        self.clock.advance(1)
        connections.sweep()
        self.assertFalse(self.server.is_open)
        self.wire.pump()
        self.assertEqual(len(connections.open), 0)

    def test_half_frames_are_dropped_when_memory_is_short_the_biggest_first(self) -> None:
        connections = self.limits(unanswered_max_bytes=250_000)
        ends = []
        for size in (50_000, 200_000, 20_000):
            protocol, transport = FrameProtocol(connections), StringTransport()
            protocol.makeConnection(transport)
            protocol.dataReceived((1_000_000).to_bytes(4, "big") + bytes(4) + bytes(size - 8))
            ends.append(protocol)
        connections.sweep()
        self.assertTrue(all(protocol.is_open for protocol in ends))
        self.clock.advance(11)
        connections.sweep()
        ends[1].connectionLost()
        self.assertEqual([protocol.is_open for protocol in ends], [True, False, True])
        self.assertEqual(connections.load.bytes, 70_000)

    def test_observers_hear_of_connections_and_why_they_ended(self) -> None:
        heard: list[str] = []

        class Observer:
            def connection_made(self, peer) -> None:
                heard.append(f"made {peer.name}")

            def connection_lost(self, peer, reason: str) -> None:
                heard.append(f"lost {peer.name}: {reason}")

        connections = Connections(self.clock, Registry(), observers=[Observer()])
        wire = Wire(self.clock)
        server = FrameProtocol(connections)
        wire.join(FrameProtocol(self.client.connections), server)
        closed = connections.when_all_closed()
        server.peer.close("no heartbeat for 120 s")
        wire.pump()
        self.assertEqual(heard, ["made 127.0.0.1:40001", "lost 127.0.0.1:40001: no heartbeat for 120 s"])
        self.successResultOf(closed)
        self.successResultOf(connections.when_all_closed())
