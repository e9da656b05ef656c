"""Listener and client over real loopback sockets."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tracemalloc

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SkipTest, TestCase

from rocketmq_tx.errors import ConnectFailed, ConnectionLost, RequestTimeout, StartError
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.remoting.caller import RemotingClient
from rocketmq_tx.remoting.connections import Connections, Limits
from rocketmq_tx.remoting.listener import Listener
from rocketmq_tx.remoting.registry import Registry, Reply, serves

ECHO = RequestCode.GET_BROKER_CONFIG
HELD = RequestCode.GET_ALL_TOPIC_CONFIG
BIG = RequestCode.GET_ALL_CONSUMER_OFFSET


class Handlers:
    def __init__(self) -> None:
        self.held: list[Deferred] = []

    @serves(ECHO)
    def echo(self, peer, frame, header) -> Reply:
        return Reply(remark=peer.address[0], body=frame.body)

    @serves(HELD)
    def hold(self, peer, frame, header) -> Deferred:
        self.held.append(Deferred())
        return self.held[-1]

    @serves(BIG)
    def answer_much(self, peer, frame, header) -> Reply:
        return Reply(body=bytes(1_000_000))

    def release(self) -> None:
        held, self.held = self.held, []
        for deferred in held:
            deferred.callback(Reply(body=b"released"))


def until(condition, deadline_s: float = 10.0) -> Deferred:
    """Fires when the condition holds; fails after the deadline."""

    @inlineCallbacks
    def poll():
        end = reactor.seconds() + deadline_s
        while not condition():
            if reactor.seconds() > end:
                raise AssertionError("the condition never came true")
            yield deferLater(reactor, 0.005)

    return poll()


class Sockets(TestCase):
    def setUp(self) -> None:
        self.handlers = Handlers()

    @inlineCallbacks
    def listen(self, limits: Limits | None = None, clock=reactor, **more):
        connections = Connections(clock, Registry(self.handlers), limits=limits)
        more = {"host": "127.0.0.1", "port": 0, "release": [self.handlers.release], **more}
        listener = Listener(reactor, connections, **more)
        yield listener.startService()
        self.addCleanup(lambda: listener.running and listener.stopService())
        return listener

    def client(self, **more) -> RemotingClient:
        client = RemotingClient(reactor, **more)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    def plain(self, port: int, protocol: Protocol | None = None) -> Deferred:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        made = connectProtocol(endpoint, protocol or Protocol())

        def close_after(connected: Protocol) -> Protocol:
            self.addCleanup(connected.transport.abortConnection)
            return connected

        return made.addCallback(close_after)


class CallTests(Sockets):
    @inlineCallbacks
    def test_calls_to_one_address_share_a_connection(self):
        listener, client = (yield self.listen()), self.client()
        answers = yield gatherResults(
            [client.call(listener.address, Frame.request(ECHO, body=b"%d" % n), 3) for n in range(100)]
        )
        self.assertEqual([answer.body for answer in answers], [b"%d" % n for n in range(100)])
        self.assertEqual(len(listener.connections.open), 1)
        yield client.oneway(listener.address, Frame.request(ECHO))
        answer = yield client.call(f"localhost:{listener.port}", Frame.request(ECHO, body=b"by name"), 3)
        self.assertEqual(answer.body, b"by name")

    @inlineCallbacks
    def test_a_listener_on_an_ipv6_address_is_called_there(self):
        try:
            listener = yield self.listen(host="::1")
        except StartError as error:
            raise SkipTest(str(error)) from None
        answer = yield self.client().call(listener.address, Frame.request(ECHO), 3)
        self.assertEqual((listener.address, answer.remark), (f"[::1]:{listener.port}", "::1"))

    @inlineCallbacks
    def test_listening_on_all_of_ipv6_takes_ipv4_peers_as_such(self):
        try:
            listener = yield self.listen(host="::")
        except StartError as error:
            raise SkipTest(str(error)) from None
        answer = yield self.client().call(f"127.0.0.1:{listener.port}", Frame.request(ECHO), 3)
        self.assertEqual(answer.remark, "127.0.0.1")

    @inlineCallbacks
    def test_big_bodies_arrive_whole_in_both_directions(self):
        listener, client = (yield self.listen()), self.client()
        body = os.urandom(4 << 20)
        answer = yield client.call(listener.address, Frame.request(ECHO, body=body), 10)
        self.assertEqual(answer.body, body)

    @inlineCallbacks
    def test_nobody_there_is_an_error_that_names_address_and_command_and_the_next_call_tries_again(self):
        listener = yield self.listen()
        address, port = listener.address, listener.port
        yield listener.stopService()
        client = self.client()
        for _ in range(2):
            error = yield self.assertFailure(client.call(address, Frame.request(ECHO), 3), ConnectFailed)
            self.assertIn(f"GET_BROKER_CONFIG: no connection to {address}: ", str(error))
        yield self.assertFailure(client.call("nonsense", Frame.request(ECHO), 3), ConnectFailed)
        yield self.listen(port=port)
        answer = yield client.call(address, Frame.request(ECHO, body=b"back"), 3)
        self.assertEqual(answer.body, b"back")

    @inlineCallbacks
    def test_a_peer_that_goes_fails_the_calls_in_progress_and_the_next_call_connects_again(self):
        listener, client = (yield self.listen()), self.client()
        waiting = client.call(listener.address, Frame.request(HELD), 3)
        waiting.addErrback(lambda failure: failure.trap(ConnectionLost) and str(failure.value))
        yield until(lambda: self.handlers.held)
        for protocol in list(listener.connections.open):
            protocol.transport.abortConnection()
        self.assertIn("GET_ALL_TOPIC_CONFIG to 127.0.0.1:", (yield waiting))
        self.assertEqual((yield client.call(listener.address, Frame.request(ECHO), 3)).code, 0)

    @inlineCallbacks
    def test_a_frozen_peer_delays_its_own_callers_only(self):
        accepted: list[Protocol] = []

        class Frozen(Protocol):
            def connectionMade(self) -> None:
                accepted.append(self)
                self.transport.pauseProducing()

        factory = ServerFactory.forProtocol(Frozen)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        frozen = f"127.0.0.1:{port.getHost().port}"
        listener, client = (yield self.listen()), self.client()
        stuck = client.call(frozen, Frame.request(ECHO), 0.3)
        start_s = reactor.seconds()
        yield client.call(listener.address, Frame.request(ECHO), 3)
        self.assertLess(reactor.seconds() - start_s, 0.25)
        yield self.assertFailure(stuck, RequestTimeout)
        yield self.assertFailure(client.call(frozen, Frame.request(ECHO), 0.1), RequestTimeout)
        yield until(lambda: len(accepted) == 2)  # the silent connection was given up
        for each in accepted:
            each.transport.abortConnection()
        yield client.stopService()

    @inlineCallbacks
    def test_waiting_for_a_connection_ends_with_the_time_of_the_call(self):
        client = self.client(connect_timeout_s=5)
        client._endpoint = lambda host, port: type("Never", (), {"connect": lambda _, __: Deferred()})()
        yield self.assertFailure(client.call("127.0.0.1:1", Frame.request(ECHO), 0.05), RequestTimeout)

    @inlineCallbacks
    def test_the_client_closes_what_is_idle_and_everything_when_it_stops(self):
        listener = yield self.listen()
        client = RemotingClient(reactor)
        client.connections.limits.idle_s = 0.1
        client.startService()
        yield client.call(listener.address, Frame.request(ECHO), 3)
        yield until(lambda: not client.connections.open)
        yield client.call(listener.address, Frame.request(ECHO), 3)
        waiting = self.assertFailure(client.call(listener.address, Frame.request(HELD), 3), ConnectionLost)
        yield client.stopService()
        yield waiting
        self.assertEqual(len(client.connections.open), 0)
        yield self.assertFailure(client.call(listener.address, Frame.request(ECHO), 3), ConnectionLost)


class ListenerTests(Sockets):
    @inlineCallbacks
    def test_a_taken_port_fails_the_start_by_one_sentence(self):
        first = yield self.listen()
        error = yield self.assertFailure(self.listen(port=first.port), StartError)
        self.assertEqual(
            str(error),
            f"cannot listen on 127.0.0.1:{first.port}: {os.strerror(errno.EADDRINUSE)};"
            " another process has the port; stop it, or set listenPort to a free port",
        )

    @inlineCallbacks
    def test_an_address_that_the_machine_has_not_is_said(self):
        error = yield self.assertFailure(self.listen(host="192.0.2.1"), StartError)
        self.assertIn("set bindAddress to one that it has", str(error))

    @inlineCallbacks
    def test_the_alias_answers_everything_and_a_taken_alias_is_no_failure(self):
        listener = yield self.listen(alias_offsets=(-2,))
        if not listener.alias_ports:
            raise SkipTest("the port two below a free one happens to be taken")
        [alias] = listener.alias_ports
        self.assertEqual(alias, listener.port - 2)
        answer = yield self.client().call(f"127.0.0.1:{alias}", Frame.request(ECHO, body=b"vip"), 3)
        self.assertEqual(answer.body, b"vip")
        blocked = yield self.listen(port=0, alias_offsets=(0,))
        self.assertEqual(blocked.alias_ports, [])

    @inlineCallbacks
    def test_stopping_answers_held_requests_then_closes_every_connection(self):
        listener, client = (yield self.listen()), self.client()
        held = client.call(listener.address, Frame.request(HELD), 3)
        yield until(lambda: self.handlers.held)
        yield listener.stopService()
        self.assertEqual((yield held).body, b"released")
        yield until(lambda: not client.connections.open)
        self.assertEqual(len(listener.connections.open), 0)

    @inlineCallbacks
    def test_stopping_does_not_wait_for_ever_for_requests_or_peers_that_hang(self):
        listener = yield self.listen(release=[], drain_timeout_s=0.1)
        plain = yield self.plain(listener.port)
        plain.transport.pauseProducing()
        plain.transport.write(encode_frame(Frame.request(HELD)) + encode_frame(Frame.request(BIG)) * 40)
        yield until(lambda: self.handlers.held)
        yield listener.stopService()
        self.assertEqual(len(listener.connections.open), 0)

    @inlineCallbacks
    def test_connections_above_the_limit_are_closed_at_once(self):
        listener = yield self.listen(Limits(connections_max=2))
        for _ in range(2):
            yield self.plain(listener.port)
        yield until(lambda: len(listener.connections.open) == 2)
        lost: Deferred = Deferred()

        class Refused(Protocol):
            def connectionLost(self, reason) -> None:
                lost.callback(None)

        yield self.plain(listener.port, Refused())
        yield lost
        self.assertEqual(len(listener.connections.open), 2)

    @inlineCallbacks
    def test_slowloris_does_not_slow_others_down_and_holds_little_memory(self):
        listener, client = (yield self.listen()), self.client()
        frame = encode_frame(Frame.request(ECHO, body=bytes(100)))
        slow = yield gatherResults([self.plain(listener.port) for _ in range(300)])
        for position in range(20):
            for each in slow:
                each.transport.write(frame[position : position + 1])
            start_s = reactor.seconds()
            yield client.call(listener.address, Frame.request(ECHO), 3)
            self.assertLess(reactor.seconds() - start_s, 0.5)
        self.assertLessEqual(listener.connections.load.bytes, 300 * 20)

    @inlineCallbacks
    def test_a_peer_that_never_reads_is_held_within_bounds_then_closed_and_others_are_served(self):
        clock = Clock()
        listener, client = (yield self.listen(clock=clock)), self.client()
        plain = yield self.plain(listener.port)
        plain.transport.pauseProducing()
        plain.transport.write(encode_frame(Frame.request(BIG)) * 500)
        [protocol] = listener.connections.open
        yield until(lambda: protocol._outgoing.held_bytes > 1 << 20)
        self.assertLess(protocol._outgoing.held_bytes, 34 << 20)
        self.assertEqual((yield client.call(listener.address, Frame.request(ECHO), 3)).code, 0)
        for _ in range(14):
            clock.advance(5)
            listener.connections.sweep()
        yield until(lambda: protocol not in listener.connections.open)
        self.assertEqual((yield client.call(listener.address, Frame.request(ECHO), 3)).code, 0)

    @inlineCallbacks
    def test_a_slow_reader_is_not_closed(self):
        clock = Clock()
        listener = yield self.listen(clock=clock)
        plain = yield self.plain(listener.port)
        plain.transport.pauseProducing()
        plain.transport.write(encode_frame(Frame.request(BIG)) * 100)
        [protocol] = listener.connections.open
        yield until(lambda: protocol._outgoing.held_bytes > 1 << 20)
        for _ in range(5):
            before = protocol._outgoing.passed_on_bytes
            plain.transport.resumeProducing()
            yield until(lambda before=before: protocol._outgoing.passed_on_bytes > before)
            plain.transport.pauseProducing()
            clock.advance(50)
            listener.connections.sweep()
        self.assertTrue(protocol.is_open)

    @inlineCallbacks
    def test_an_idle_connection_costs_little_memory(self):
        """The figure of FrameProtocol's docstring, transport and buffers of Twisted included: under 8 KiB."""
        listener = yield self.listen()
        ends = [socket.socket() for _ in range(200)]
        self.addCleanup(lambda: [end.close() for end in ends])
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for number, end in enumerate(ends):
            end.connect(("127.0.0.1", listener.port))
            end.sendall(encode_frame(Frame.request(ECHO)))
            yield until(lambda number=number: len(listener.connections.open) == number + 1)
        after, _ = tracemalloc.get_traced_memory()
        self.assertLess((after - before) / 200, 8192)


OUT_OF_DESCRIPTORS = """
import resource, socket, sys
from twisted.internet import reactor
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.listener import Listener
from rocketmq_tx.remoting.registry import Registry
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
listener = Listener(reactor, Connections(reactor, Registry()), host="127.0.0.1", port=0)
listener.startService().addCallback(lambda _: print(listener.port, flush=True))
reactor.run()
"""


class DescriptorTests(TestCase):
    def test_accepting_resumes_when_descriptors_are_free_again(self) -> None:
        """Twisted's Port closes what it cannot accept by a descriptor kept in reserve: held to it here."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        server = subprocess.Popen(
            [sys.executable, "-c", OUT_OF_DESCRIPTORS], stdout=subprocess.PIPE, env=environment, text=True
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        port = int(server.stdout.readline())
        self.addCleanup(server.stdout.close)
        first = self.connect(port)
        self.assertTrue(self.is_answered(first))
        crowd = [self.connect(port) for _ in range(60)]
        self.assertFalse(all(self.is_answered(each) for each in crowd))
        self.assertTrue(self.is_answered(first))
        for each in crowd:
            each.close()
        for _ in range(100):
            if self.is_answered(self.connect(port)):
                return
        self.fail("nothing is accepted any more")

    def connect(self, port: int) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.addCleanup(made.close)
        return made

    def is_answered(self, connection: socket.socket) -> bool:
        try:
            connection.sendall(encode_frame(Frame.request(ECHO)))
            return bool(connection.recv(1000))
        except OSError:
            return False
