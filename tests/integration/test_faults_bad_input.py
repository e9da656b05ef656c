"""Faults 20, 23 and 25, with real processes: bytes that are no frames, answers nobody reads, cut lines."""

from __future__ import annotations

import random
import socket
import struct

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from tests.clusters import HOST
from tests.integration.fault_parts import (
    Client,
    FaultCase,
    Server,
    connections_of,
    pull_header,
    send_header,
    wait_for_connections,
)
from tests.waiting import wait_until

ROUNDS = 3000
WARM_UP_ROUNDS = 1000
MEMORY_MARGIN_BYTES = 12 << 20
"""Caches that are bounded fill up, and an allocator keeps a few pages: a leak of 4 KiB a round shows."""

EACH_MAX_BYTES = 12 << 20
"""Of a connection that reads nothing: the configured 4 MiB, and the answers to one slice of its requests."""

LENGTHS = (0, 1, 3, 4, 5, -1, -(1 << 31), (1 << 31) - 1, 16 << 20, (16 << 20) + 1)


def broker_frames() -> list[bytes]:
    frames = [
        Frame.request(RequestCode.SEND_MESSAGE_V2, send_header(), b"body"),
        Frame.request(RequestCode.PULL_MESSAGE, pull_header("Faults", 0, 0)),
        Frame.request(
            RequestCode.HEART_BEAT, body=b'{"clientID":"c","consumerDataSet":[],"producerDataSet":[]}'
        ),
        Frame.request(RequestCode.GET_BROKER_CONFIG),
    ]
    return [encode_frame(frame) for frame in frames]


class Noise:
    """One connection a round: random bytes, lengths that lie, or whole frames with a few bytes changed."""

    def __init__(self, port: int, frames: list[bytes]) -> None:
        self._port = port
        self._frames = frames
        self._chance = random.Random(20)

    def round(self) -> None:
        with socket.create_connection((HOST, self._port), timeout=10) as connection:
            connection.settimeout(0.001)
            try:
                connection.sendall(self._bytes())
                connection.recv(1 << 16)
            except (TimeoutError, ConnectionError):
                pass

    def _bytes(self) -> bytes:
        chance = self._chance
        kind = chance.randrange(3)
        if kind == 0:
            return chance.randbytes(chance.randrange(1, 200))
        if kind == 1:
            return struct.pack(">i", chance.choice(LENGTHS)) + chance.randbytes(chance.randrange(60))
        data = bytearray(b"".join(chance.choices(self._frames, k=chance.randrange(1, 4))))
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data)


class NoiseCase(FaultCase):
    def disturb(self, server: Server, frames: list[bytes], check: object) -> None:
        """`check(number)` asks over a good connection all the while, and fails when anything is amiss."""
        noise = Noise(server.port, frames)
        before = 0
        for number in range(ROUNDS):
            noise.round()
            if number % 10 == 0:
                check(number)  # type: ignore[operator]
            if number == WARM_UP_ROUNDS:
                before = server.memory_bytes()
        wait_for_connections(server.port, 1)
        self.assertLess(server.memory_bytes() - before, MEMORY_MARGIN_BYTES)
        said = server.lines("connection closed")
        self.assertGreater(len(said), 0)
        self.assertLess(len(said), 30, "more than now and then a line")


class NoiseTests(NoiseCase):
    """Fault 20: random bytes, changed frames, lengths of 0, 2^31-1 and below 0."""

    def test_a_broker_serves_others_while_it_gets_bytes_that_are_no_frames(self) -> None:
        server = self.broker()
        client = self.client(server)
        offset = 0

        def check(number: int) -> None:
            nonlocal offset
            body = b"message %d" % number
            self.assertEqual(client.send_message("Good", body).code, 0)
            answer = client.pull(offset, "Good")
            self.assertIn(body, answer.body)
            offset += 1

        self.disturb(server, broker_frames(), check)


class SlowReaderTests(FaultCase):
    """Fault 23: a consumer that never reads its answers."""

    def test_what_is_kept_for_it_is_bounded_and_it_is_closed_with_one_line(self) -> None:
        server = self.broker(maxUnsentBytesPerConnection=1 << 20)
        client = self.client(server)
        for _ in range(32):
            self.assertEqual(client.send_message(body=bytes(8000)).code, 0)
        asking = encode_frame(Frame.request(RequestCode.PULL_MESSAGE, pull_header("Faults", 0, 0)))
        self.assertGreater(len(client.pull(0).body), 200_000)
        before = server.memory_bytes()
        for _ in range(4):
            deaf = [self._deaf(server, asking) for _ in range(8)]
            for number in range(20):
                self.assertEqual(client.send_message("Good", b"%d" % number).code, 0)
            self.assertLess(server.memory_bytes() - before, 8 * EACH_MAX_BYTES)
            for connection in deaf:
                connection.close()
            wait_for_connections(server.port, 1)
        self.assertLess(server.memory_bytes() - before, 6 * EACH_MAX_BYTES, "what was unsent stays in memory")
        self.assertEqual(len(server.lines("connection closed", "the peer does not read")), 1)

    def _deaf(self, server: Server, asking: bytes) -> socket.socket:
        """Asks for 1,000 times a quarter of a megabyte, as far as it is listened to, and reads nothing."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.3)
        connection.connect((HOST, server.port))
        self.addCleanup(connection.close)
        try:
            connection.sendall(asking * 1000)
        except (TimeoutError, ConnectionError):
            pass
        return connection


class CutLineTests(FaultCase):
    """Fault 25: a connection that is cut within a request, or before its answer was read."""

    def test_a_request_cut_at_each_byte_leaves_nothing_behind(self) -> None:
        server = self.broker()
        client = self.client(server)
        request = encode_frame(
            Frame.request(RequestCode.SEND_MESSAGE_V2, send_header(), b"whole or not at all")
        )
        for cut in range(1, len(request)):
            with socket.create_connection((HOST, server.port)) as connection:
                connection.sendall(request[:cut])
        wait_for_connections(server.port, 1)
        self.assertEqual(client.send_message("Faults", b"the first").code, 0)
        answer = client.pull(0)
        self.assertEqual(answer.ext_fields["maxOffset"], "1")  # type: ignore[index]
        self.assertIn(b"the first", answer.body)

    def test_a_send_whose_answer_was_never_read_is_stored_once(self) -> None:
        server = self.broker()
        for number in range(20):
            with Client(server.port) as connection:
                connection.send(Frame.request(RequestCode.SEND_MESSAGE_V2, send_header(), b"%d" % number))
        client = self.client(server)
        wait_until(
            lambda: int((client.pull(0).ext_fields or {})["maxOffset"]) == 20, "all twenty messages are there"
        )
        self.assertEqual(connections_of(server.port), 1)
