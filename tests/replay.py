"""A whole broker in memory, and recorded requests served by it: what Apache answered is the referee.

Requests enter as bytes through `FrameProtocol`, so decoder, registry, handlers, store and encoder are all
in the loop; clock, disk and transport are the tests' own. A recording's cases build on each other: they are
served in order, on one connection.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from rocketmq_tx.broker.service import BrokerParts
from rocketmq_tx.protocol.codes import SerializeType
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.remoting.protocol import FrameProtocol
from tests.memory_broker import NoThread, ThreadlessClock
from tests.memory_disk import MemoryDisk
from tests.unit.broker_parts import broker_settings

BEGAN_MS = 1_795_239_814_400


class ReplayedBroker:
    """The parts of a broker as the daemon has them, behind one connection without a socket."""

    def __init__(self, **keys: Any) -> None:
        self.clock = ThreadlessClock()
        small_files = {
            "mappedFileSizeCommitLog": 16 << 20,
            "mappedFileSizeConsumeQueue": 6000,
            "maxHashSlotNum": 500,
            "maxIndexNum": 2000,
        }
        settings = broker_settings(
            enablePropertyFilter=True, storePathRootDir="/store", **small_files, **keys
        )
        self.parts = BrokerParts(settings, self.clock, self.now_ms, MemoryDisk(), NoThread)
        self.parts.store.open(self.now_ms())
        self.parts.redelivery.schedule.startService()
        self.connections = self.parts.connections
        self.connect()

    def now_ms(self) -> int:
        return BEGAN_MS + int(self.clock.seconds() * 1000)

    def connect(self, close_other: bool = True) -> None:
        """A client connects, and the one before, if any, goes, unless both are to stay."""
        if self.connections.open and close_other:
            self.protocol.connectionLost()
        self.protocol = FrameProtocol(self.connections)
        self.transport = StringTransport(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 28911),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 40_000),
        )
        self.protocol.makeConnection(self.transport)

    def serve(self, request: bytes, wait_s: float = 0.0) -> list[Frame]:
        """What comes back within the time, pushes included, in order."""
        self.transport.clear()
        self.protocol.dataReceived(request)
        while not self.transport.value() and wait_s > 0:
            self.clock.advance(0.05)
            wait_s -= 0.05
        self.clock.advance(0)
        return list(frames_of(self.transport.value()))


JAVA_EXCEPTION = re.compile(r"(java\.|com\.alibaba\.|org\.apache\.rocketmq\.|Cannot invoke )")
"""How a remark begins that is Java's text for an exception; ours is a sentence of its own."""
_ADDRESS = re.compile(r"127\.0\.0\.1:\d+")


def recorded(frame: dict[str, Any]) -> tuple[Any, ...]:
    """(code, remark, extFields) of a recorded frame; only its code where the remark is Java's text."""
    remark = frame.get("remark")
    if remark and JAVA_EXCEPTION.match(remark):
        return (frame["code"],)
    return frame["code"], remark and _ADDRESS.sub("ADDRESS", remark), frame.get("extFields")


def answered(frame: Frame) -> tuple[Any, ...]:
    """The same of a frame of ours."""
    return frame.code, frame.remark and _ADDRESS.sub("ADDRESS", frame.remark), frame.ext_fields


def frames_of(data: bytes) -> Iterator[Frame]:
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        yield decode_frame(data[4:size])
        data = data[size:]


@attrs.define
class Case:
    """One recorded case: the request's bytes, and the frames that came back."""

    name: str
    request: bytes
    code: int
    waited_s: float
    expected: list[dict[str, Any]]
    """Recorded frames: what the broker pushed, then its answer."""


def case_of(line: dict[str, Any]) -> Case | None:
    """None for what is no request: bytes that are no frame, recorded to see the connection close."""
    request = line["request"]
    if line["outcome"] == "closed" or "code" not in request:
        return None
    return Case(
        line["case"],
        _request_bytes(request),
        request["code"],
        (line.get("waitedMs") or 0) / 1000,
        [*(line.get("pushed") or ()), *line["responses"]],
    )


def _request_bytes(request: dict[str, Any]) -> bytes:
    """The frame as it was sent; long ones were recorded in part and are filled up again."""
    if "rawTruncatedTo" not in request:
        return base64.b64decode(request["raw"])
    fields = {key: _filled_up(value) for key, value in request["extFieldsAbbreviated"].items()}
    frame = Frame(request["code"], request["opaque"], ext_fields=fields)
    is_json = base64.b64decode(request["raw"])[4] == SerializeType.JSON
    frame.serialize = SerializeType.JSON if is_json else SerializeType.ROCKETMQ
    missing = request["bytes"] - len(encode_frame(frame))
    frame.body = b"x" * max(missing, 1)
    return encode_frame(frame)


def _filled_up(text: str) -> str:
    """A value recorded as `P\\1vvv...(32700 chars)`, in its full length; it ends with a separator."""
    start, dots, length = text.partition("...(")
    return start.ljust(int(length.split()[0]) - 1, start[-1:]) + "\x02" if dots else text
