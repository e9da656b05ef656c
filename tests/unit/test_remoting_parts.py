"""Addresses, the registry of handlers, and the sending side of a socket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import tcp
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import ConnectFailed, InvariantBroken
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.decoder import FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.addresses import format_address, is_ip, is_ipv6, parse_address, plain_host
from rocketmq_tx.remoting.outgoing import Outgoing
from rocketmq_tx.remoting.registry import Registry, Reply, serves, serves_runs


class AddressTests(SynchronousTestCase):
    def test_hosts_names_and_ipv6_are_read(self) -> None:
        self.assertEqual(parse_address("127.0.0.1:9876"), ("127.0.0.1", 9876))
        self.assertEqual(parse_address(" name.example:1 "), ("name.example", 1))
        self.assertEqual(parse_address("[::1]:65535"), ("::1", 65535))
        self.assertEqual(parse_address("::1:9876"), ("::1", 9876))

    def test_what_is_no_address_is_refused_by_a_sentence_with_the_text(self) -> None:
        for text in ("", "host", "host:", ":9876", "host:0", "host:65536", "host:-1", "host:9²", "host:x"):
            with self.assertRaises(ConnectFailed) as caught:
                parse_address(text)
            self.assertIn(repr(text), str(caught.exception))

    @given(st.ip_addresses(), st.integers(1, 65535))
    def test_writing_an_address_and_reading_it_gives_the_same(self, ip, port: int) -> None:
        self.assertEqual(parse_address(format_address(str(ip), port)), (str(ip), port))
        self.assertEqual((is_ip(str(ip)), is_ipv6(str(ip))), (True, ip.version == 6))

    def test_scopes_and_mapped_addresses_are_made_plain(self) -> None:
        self.assertEqual(plain_host("fe80::1%eth0"), "fe80::1")
        self.assertEqual(plain_host("::FFFF:10.0.0.1"), "10.0.0.1")
        self.assertEqual(plain_host("::ffff:a00:1"), "::ffff:a00:1")
        self.assertFalse(is_ip("localhost"))


class One:
    @serves(RequestCode.HEART_BEAT, RequestCode.LOCK_BATCH_MQ)
    def beat(self, peer, frame, header) -> Reply:
        return Reply()


class Other:
    @serves_runs(RequestCode.HEART_BEAT)
    def beats(self, peer, run) -> list:
        return []


class Nobody:
    name = "nobody"


class Unwritable:
    """Answers that cannot be written where a request has no body, at once and by a coroutine."""

    @serves(RequestCode.HEART_BEAT)
    def beat(self, peer, frame, header) -> Reply:
        return Reply(remark=frame.remark, body=b"" if frame.body else None)  # type: ignore[arg-type]

    @serves(RequestCode.LOCK_BATCH_MQ)
    async def later(self, peer, frame, header) -> Reply:
        return self.beat(peer, frame, header)


class RegistryTests(SynchronousTestCase):
    def test_an_answer_that_cannot_be_written_concerns_its_own_request_only(self) -> None:
        for code in (RequestCode.HEART_BEAT, RequestCode.LOCK_BATCH_MQ):
            run = [
                Frame(code, opaque, remark=f"r{opaque}", body=b"x" * (opaque != 2)) for opaque in (1, 2, 3)
            ]
            answers = Registry(Unwritable()).serve(Nobody(), code, run)  # type: ignore[arg-type]
            ((_, frames),) = FrameDecoder().feed(b"".join(answers))
            found = [(frame.opaque, frame.code, frame.remark) for frame in frames]
            self.assertEqual([(1, 0, "r1"), (3, 0, "r3")], found[::2])
            self.assertEqual((2, ResponseCode.SYSTEM_ERROR), found[1][:2])

    def test_two_handlers_of_one_code_are_refused_and_both_named(self) -> None:
        with self.assertRaises(InvariantBroken) as caught:
            Registry(One(), Other())
        self.assertEqual(str(caught.exception), "HEART_BEAT is served by One.beat and by Other.beats")

    def test_a_handler_of_a_base_class_is_found_and_may_be_replaced_by_a_subclass(self) -> None:
        class Better(One):
            @serves(RequestCode.HEART_BEAT)
            def beat(self, peer, frame, header) -> Reply:
                return Reply()

        self.assertEqual(set(Registry(Better()).handlers), {RequestCode.HEART_BEAT})

    def test_it_lists_what_a_role_should_serve_and_nobody_does(self) -> None:
        unserved = Registry(One()).unserved("broker")
        self.assertIn(RequestCode.SEND_MESSAGE, unserved)
        self.assertNotIn(RequestCode.HEART_BEAT, unserved)
        self.assertNotIn(RequestCode.REGISTER_BROKER, unserved)
        self.assertIn(RequestCode.REGISTER_BROKER, Registry().unserved("namesrv"))


class Socket:
    """Takes `room` bytes of each send, then says that it is full."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent = b""

    def setblocking(self, blocking: bool) -> None: ...

    def fileno(self) -> int:
        return -1

    def send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self.sent += taken
        return len(taken)


class Reactor:
    def addWriter(self, writer) -> None: ...


class OutgoingTests(SynchronousTestCase):
    def connection(self, room: int) -> tuple[tcp.Connection, Socket, Outgoing]:
        socket = Socket(room)
        connection = tcp.Connection(socket, None, Reactor())
        connection.connected = 1
        self.drained: list[None] = []
        return connection, socket, Outgoing(connection, lambda: self.drained.append(None))

    def test_an_idle_socket_is_written_to_directly(self) -> None:
        connection, socket, outgoing = self.connection(100)
        self.assertEqual(outgoing.send(b"x" * 100), 0)
        self.assertEqual((socket.sent, outgoing.held_bytes, outgoing.passed_on_bytes), (b"x" * 100, 0, 100))
        self.assertEqual(connection._tempDataLen, 0)

    def test_what_the_socket_does_not_take_is_left_to_the_transport_and_order_is_kept(self) -> None:
        connection, socket, outgoing = self.connection(3)
        self.assertEqual(outgoing.send(b"abcde"), 2)
        socket.room = 100
        self.assertEqual(outgoing.send(b"fg"), 4)  # not past the bytes that wait
        self.assertEqual(socket.sent, b"abc")
        self.assertEqual(b"".join(connection._tempDataBuffer), b"defg")

    def test_a_full_socket_leaves_all_to_the_transport(self) -> None:
        _, socket, outgoing = self.connection(0)
        self.assertEqual(outgoing.send(b"abc"), 3)
        self.assertEqual((socket.sent, outgoing.passed_on_bytes), (b"", 0))

    def test_tls_is_written_to_through_its_transport(self) -> None:
        connection, socket, outgoing = self.connection(100)
        connection.TLS = True
        written: list[bytes] = []
        connection.write = written.append
        outgoing.send(b"secret")
        self.assertEqual((written, socket.sent), ([b"secret"], b""))
