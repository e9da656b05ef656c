"""A broker that lives in memory: real parts, but its clock, its disk and its threads belong to the test.

    broker = MemoryBroker()
    broker.send(b"hello", properties={"DELAY": "1"})
    broker.pass_time(1.0)
    broker.bodies("Orders") == [b"hello"]

It has no listener: requests are served as a connection would have them served. `killed` and `restarted` give
the broker that begins where this one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from rocketmq_tx.broker.service import BrokerParts
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.decoder import FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import (
    ConsumerSendMsgBackRequestHeader,
    PullMessageRequestHeader,
)
from rocketmq_tx.protocol.message import MessageRecord, decode_records
from rocketmq_tx.protocol.properties import encode_properties
from tests.memory_disk import MemoryDisk
from tests.send_headers import send_header
from tests.unit.broker_parts import FakePeer, broker_settings

BEGAN_MS = 1_795_239_814_400
SMALL_FILES = {
    "mappedFileSizeCommitLog": 1 << 20,
    "mappedFileSizeConsumeQueue": 6000,
    "maxHashSlotNum": 500,
    "maxIndexNum": 2000,
}
SUBSCRIPTION = 4
A_MOMENT_S = 1e-6
"""Sums of seconds differ in their last digits: what is due now is due a moment later at the latest."""


class ThreadlessClock(Clock):
    """Time that the test moves, and a thread pool whose work is done in no time."""

    def getThreadPool(self) -> ThreadlessClock:
        return self

    def callInThreadWithCallback(
        self, ended: Callable[[bool, Any], object], call: Callable[..., Any], *arguments: Any
    ) -> None:
        execute(call, *arguments).addCallbacks(
            lambda result: ended(True, result), lambda failure: ended(False, failure)
        )

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        call(*arguments)


class NoThread:
    """Stands for `OwnThread`."""

    def __init__(self, reactor: object, name: str) -> None:
        self.name = name

    def run(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return execute(call, *arguments)

    def abandon(self) -> None:
        """There is nothing to abandon."""


class MemoryBroker:
    """`keys` are configuration keys; `calendar_ms` is what the clock on the wall shows beside its hands."""

    def __init__(self, disk: MemoryDisk | None = None, began_ms: int = BEGAN_MS, **keys: Any) -> None:
        self.keys = keys
        self.disk = disk or MemoryDisk()
        self.clock = ThreadlessClock()
        self.began_ms = began_ms
        self.set_by_ms = 0
        """By so much somebody has set the wall clock."""
        self.settings = broker_settings(**{"storePathRootDir": "/store", **SMALL_FILES, **keys})
        self.parts = BrokerParts(self.settings, self.clock, self.now_ms, self.disk, NoThread)
        self._services = [
            self.parts.store_service,
            self.parts.tables.service,
            self.parts.redelivery.schedule,
            self.parts.timers,
        ]
        for service in self._services:
            service.startService()
        self.pass_time(0)

    def start_transactions(self) -> None:
        """Most tests want none; retention asks whether they need what is to be deleted."""
        for service in self.parts.transactions.services():
            service.startService()
            self._services.append(service)

    def now_ms(self) -> int:
        return self.began_ms + self.set_by_ms + round(self.clock.seconds() * 1000)

    # -- time and ends -----------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Time passes; what is to be done at once is done as well."""
        self.clock.advance(seconds)
        self.clock.advance(A_MOMENT_S)
        for _ in range(100):
            self.clock.advance(0)

    def stop(self) -> None:
        for service in reversed(self._services):
            stopped = service.stopService()
            assert stopped is None or stopped.called

    def restarted(self, **keys: Any) -> MemoryBroker:
        """Stopped in order, then started again, perhaps with other settings."""
        self.stop()
        return MemoryBroker(self.disk, self.now_ms(), **{**self.keys, **keys})

    def killed(self, **keys: Any) -> MemoryBroker:
        """The process is gone, the machine is not: what was written is there."""
        return MemoryBroker(self.disk.after_kill(), self.now_ms(), **{**self.keys, **keys})

    # -- roles -------------------------------------------------------------------------------------------

    def becomes(self, role: BrokerRole) -> None:
        """It is master or slave from now on, and its parts are told so."""
        self.settings.store.broker_role = role
        self.parts.redelivery.schedule.role_changed()
        self.parts.timers.role_changed()
        self.parts.transactions.role_changed()

    def copy_from(self, master: MemoryBroker) -> None:
        """A slave gets what its master has stored and it has not, as its follower would bring it."""
        start, end = self.parts.store.written_to, master.parts.store.written_to
        while start < end:
            data = master.parts.store.log_bytes(start, end - start)
            for topic, queue_id in self.parts.store.append_raw(data, start, self.now_ms()):
                self.parts.arrivals.notify(topic, queue_id)
            start += len(data)

    # -- requests ----------------------------------------------------------------------------------------

    def ask(self, frame: Frame) -> Frame:
        """The answer to a request that is answered at once."""
        answers = []
        for code, run in FrameDecoder(1 << 30, self.parts.sending.scanner).feed(encode_frame(frame)):
            answers += self.parts.connections.registry.serve(FakePeer(), code, run)  # type: ignore[arg-type]
        data = b"".join(answer if isinstance(answer, bytes) else _now(answer) for answer in answers)
        ((_, (answer,)),) = FrameDecoder().feed(data)
        assert isinstance(answer, Frame)
        return answer

    def send(
        self,
        body: bytes = b"hello",
        topic: str = "Orders",
        queue_id: int = 0,
        properties: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Frame:
        stored = encode_properties(properties or {})
        header = send_header(topic, queue_id, born_timestamp=self.now_ms(), properties=stored, **fields)
        return self.ask(Frame.request(RequestCode.SEND_MESSAGE_V2, header, body))

    def pull(self, topic: str = "Orders", queue_id: int = 0, offset: int = 0, group: str = "cg") -> Frame:
        header = PullMessageRequestHeader(
            consumer_group=group,
            topic=topic,
            queue_id=queue_id,
            queue_offset=offset,
            max_msg_nums=32,
            sys_flag=SUBSCRIPTION,
            commit_offset=0,
            suspend_timeout_millis=0,
            subscription="*",
            sub_version=0,
        )
        return self.ask(Frame.request(RequestCode.PULL_MESSAGE, header))

    def send_back(
        self, record: MessageRecord | int, group: str = "cg", level: int = 0, **fields: Any
    ) -> Frame:
        offset = record if isinstance(record, int) else record.commit_log_offset
        version = fields.pop("version", 407)
        header = ConsumerSendMsgBackRequestHeader(offset=offset, group=group, delay_level=level, **fields)
        frame = Frame.request(RequestCode.CONSUMER_SEND_MSG_BACK, header)
        frame.version = version
        return self.ask(frame)

    # -- what is there -----------------------------------------------------------------------------------

    def records(self, topic: str = "Orders", queue_id: int | None = None) -> list[MessageRecord]:
        """All messages of a topic's queue, or of all its queues one after the other."""
        queues = sorted(
            number
            for name, number in self.parts.store.queues()
            if name == topic and queue_id in (None, number)
        )
        found = []
        for number in queues:
            offset, end = self.parts.store.queue_offsets(topic, number)
            while offset < end:
                result = self.parts.store.get_messages(topic, number, offset, 32)
                found += decode_records(result.body)
                offset = result.next_offset
        return found

    def bodies(self, topic: str = "Orders") -> list[bytes]:
        return [record.body for record in self.records(topic)]


def _now(answer: Deferred[bytes]) -> bytes:
    found = getattr(answer, "result", None)
    assert isinstance(found, bytes), f"not answered at once: {found!r}"
    return found
