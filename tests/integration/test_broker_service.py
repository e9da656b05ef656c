"""A whole broker on real sockets and files: what it keeps, what it refuses, how it starts and stops."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from rocketmq_tx.broker.service import make_broker
from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.settings import BrokerSettings, load_broker
from rocketmq_tx.errors import StartError, StoreLocked
from rocketmq_tx.protocol.bodies import RegisterBrokerBody
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    CreateTopicRequestHeader,
    DeleteTopicRequestHeader,
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    PullMessageRequestHeader,
    RegisterBrokerRequestHeader,
    SendMessageRequestHeaderV2,
    SendMessageResponseHeader,
    UnRegisterBrokerRequestHeader,
)
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.remoting.caller import RemotingClient
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.listener import Listener
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import Registry, Reply, serves
from rocketmq_tx.runtime.services import OrderedServices, Phase
from tests.integration.processes import ProcessCase
from tests.ports import free_broker_port, free_port

HOST = "127.0.0.1"
CALL_TIMEOUT_S = 10.0


class RecordingNameServer:
    """Answers registrations and keeps what it was told."""

    def __init__(self) -> None:
        self.topics: list[list[str]] = []
        self.unregistered: list[str] = []
        self.heard: list[Callable[[], object]] = []

    @serves(RequestCode.REGISTER_BROKER)
    def register(self, peer: Peer, frame: Frame, header: RegisterBrokerRequestHeader) -> Reply:
        body = RegisterBrokerBody.from_bytes(frame.body)
        self.topics.append(sorted(body.topic_config_serialize_wrapper.topic_config_table))
        for hear in self.heard:
            hear()
        return Reply()

    @serves(RequestCode.UNREGISTER_BROKER)
    def unregister(self, peer: Peer, frame: Frame, header: UnRegisterBrokerRequestHeader) -> Reply:
        self.unregistered.append(header.broker_addr)
        return Reply()


class BrokerCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.port = free_broker_port()
        self.client = RemotingClient(reactor)
        self.addCleanup(self.client.close)
        self.said: list[str] = []

    def settings(self, **keys: Any) -> BrokerSettings:
        values = {
            "brokerName": "broker-a",
            "brokerIP1": HOST,
            "listenPort": self.port,
            "bindAddress": HOST,
            "storePathRootDir": os.path.join(self.folder, "store"),
            "mappedFileSizeCommitLog": 1 << 20,
            "mappedFileSizeConsumeQueue": 20 * 1000,
            "maxHashSlotNum": 500,
            "maxIndexNum": 2000,
            **keys,
        }
        texts = {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in values.items()
        }
        return load_broker(overrides=texts, facts=HostFacts())

    async def start(self, **keys: Any) -> OrderedServices:
        broker = make_broker(self.settings(**keys), reactor, self.said.append)
        await broker.startService()
        self.addCleanup(broker.stopService)
        return broker

    async def restart(self, broker: OrderedServices) -> None:
        """Stops in order, and starts on the same store."""
        await broker.stopService()
        self.assertFalse(exists(self.folder, "store", "abort"))
        await self.client.close()
        self.client = RemotingClient(reactor)
        self.addCleanup(self.client.close)
        await self.start()

    async def call(self, frame: Frame, port: int | None = None) -> Frame:
        return await self.client.call(f"{HOST}:{port or self.port}", frame, CALL_TIMEOUT_S)

    async def send(self, body: bytes, topic: str = "Orders", **fields: Any) -> SendMessageResponseHeader:
        answer = await self.call(send_frame(body, topic, **fields))
        self.assertEqual(answer.code, 0, answer.remark)
        return SendMessageResponseHeader.from_ext_fields(answer.ext_fields)

    async def pull(self, topic: str = "Orders", offset: int = 0, suspend_ms: int = 0) -> list[bytes]:
        header = PullMessageRequestHeader(
            consumer_group="readers",
            topic=topic,
            queue_id=0,
            queue_offset=offset,
            max_msg_nums=32,
            sys_flag=4 | (2 if suspend_ms else 0),
            commit_offset=0,
            suspend_timeout_millis=suspend_ms,
            subscription="*",
            sub_version=0,
        )
        answer = await self.call(Frame.request(RequestCode.PULL_MESSAGE, header))
        return [record.body for record in decode_records(answer.body)]

    async def max_offset(self, topic: str) -> int:
        header = GetMaxOffsetRequestHeader(topic=topic, queue_id=0)
        answer = await self.call(Frame.request(RequestCode.GET_MAX_OFFSET, header))
        return GetMaxOffsetResponseHeader.from_ext_fields(answer.ext_fields).offset


def send_frame(body: bytes, topic: str, **fields: Any) -> Frame:
    values = {
        "producer_group": "writers",
        "topic": topic,
        "default_topic": "TBW102",
        "default_topic_queue_nums": 4,
        "queue_id": 0,
        "sys_flag": 0,
        "born_timestamp": 1700000000000,
        "flag": 0,
        "properties": "WAIT\x01true",
        **fields,
    }
    return Frame.request(RequestCode.SEND_MESSAGE_V2, SendMessageRequestHeaderV2(**values), body)


def exists(*path: str) -> bool:
    return os.path.exists(os.path.join(*path))


def content(*path: str) -> str:
    return Path(*path).read_text(encoding="utf-8")


def broker_command(folder: str, port: int) -> list[str]:
    """A broker in the foreground of twistd, with its file, log and store in `folder`."""
    file = Path(folder, "broker.properties").absolute()
    file.parent.mkdir()
    file.write_text(
        f"brokerName=broker-a\nbrokerIP1={HOST}\nlistenPort={port}\n"
        f"storePathRootDir={file.parent}/store\nmappedFileSizeCommitLog=1048576\n",
        encoding="utf-8",
    )
    twistd = str(Path(sys.executable).parent / "twistd")
    options = ["-n", "--pidfile=", f"--logfile={file.parent}/log"]
    return [sys.executable, twistd, *options, "rocketmq-broker", "-c", str(file)]


class ABroker(BrokerCase):
    async def test_what_is_sent_can_be_pulled_also_after_a_restart(self) -> None:
        broker = await self.start()
        for number in range(10):
            stored = await self.send(b"message %d" % number)
            self.assertEqual(stored.queue_offset, number)
        expected = [b"message %d" % number for number in range(10)]
        self.assertEqual(await self.pull(), expected)
        await self.restart(broker)
        self.assertEqual(await self.pull(), expected)
        stored = await self.send(b"one more")
        self.assertEqual(stored.queue_offset, 10)

    async def test_a_message_wakes_a_held_pull(self) -> None:
        await self.start()
        await self.send(b"first")
        held = Deferred.fromCoroutine(self.pull(offset=1, suspend_ms=20_000))
        await self.send(b"second")
        self.assertEqual(await held, [b"second"])

    async def test_synchronous_flush_answers_when_the_disk_has_it(self) -> None:
        await self.start(flushDiskType="SYNC_FLUSH")
        sends = [Deferred.fromCoroutine(self.send(b"x")) for _ in range(50)]
        offsets = sorted(stored.queue_offset for stored in await gatherResults(sends))
        self.assertEqual(offsets, list(range(50)))

    async def test_the_vip_port_answers_everything(self) -> None:
        await self.start()
        answer = await self.call(send_frame(b"by the side door", "Orders"), self.port - 2)
        self.assertEqual(answer.code, 0)
        self.assertEqual(await self.pull(), [b"by the side door"])

    async def test_a_deleted_topic_starts_anew_and_stays_so_after_a_restart(self) -> None:
        broker = await self.start()
        for number in range(5):
            await self.send(b"old %d" % number)
        deleted = await self.call(
            Frame.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader(topic="Orders"))
        )
        self.assertEqual(deleted.code, 0)
        self.assertEqual(await self.max_offset("Orders"), 0)
        self.assertEqual((await self.send(b"new")).queue_offset, 0)
        await self.restart(broker)
        self.assertEqual(await self.pull(), [b"new"])

    async def test_a_store_that_is_in_use_is_refused_in_one_sentence(self) -> None:
        await self.start()
        second = make_broker(self.settings(listenPort=free_broker_port()), reactor, self.said.append)
        error = await self.assertFailure(second.startService(), StoreLocked)
        self.assertIn("store", str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(second.phase, Phase.FAILED)

    async def test_a_port_that_is_taken_is_refused_and_the_store_is_let_go(self) -> None:
        await self.start()
        keys = {"storePathRootDir": os.path.join(self.folder, "other")}
        second = make_broker(self.settings(**keys), reactor, self.said.append)
        error = await self.assertFailure(second.startService(), StartError)
        self.assertIn(str(self.port), str(error))
        third = make_broker(self.settings(listenPort=free_broker_port(), **keys), reactor, self.said.append)
        await third.startService()
        await third.stopService()

    async def test_settings_change_while_it_runs_and_the_file_follows(self) -> None:
        await self.start()
        await self.send(b"before")
        answer = await self.call(
            Frame.request(RequestCode.UPDATE_BROKER_CONFIG, None, b"brokerPermission=4\n")
        )
        self.assertEqual((answer.code, answer.remark), (0, None))
        self.assertEqual((await self.call(send_frame(b"after", "Orders"))).code, 16)
        self.assertIn("brokerPermission=4", content(self.folder, "store", "config", "broker.properties"))


class Announcing(BrokerCase):
    async def start_name_server(self) -> RecordingNameServer:
        told = RecordingNameServer()
        self.name_server_port = free_port()
        connections = Connections(reactor, Registry(told))
        listener = Listener(reactor, connections, host=HOST, port=self.name_server_port)
        await listener.startService()
        self.addCleanup(listener.stopService)
        return told

    async def test_the_banner_comes_when_it_is_registered(self) -> None:
        told = await self.start_name_server()
        address = f"{HOST}:{self.name_server_port}"
        broker = await self.start(namesrvAddr=address)
        self.assertEqual(
            self.said,
            [
                f"The broker[broker-a, {HOST}:{self.port}] boot success. serializeType=JSON"
                f" and name server is {address}"
            ],
        )
        self.assertIn("TBW102", told.topics[0])
        await broker.stopService()
        self.assertEqual(told.unregistered, [f"{HOST}:{self.port}"])

    async def test_a_new_topic_is_registered_before_its_creation_is_answered(self) -> None:
        told = await self.start_name_server()
        await self.start(namesrvAddr=f"{HOST}:{self.name_server_port}")
        header = CreateTopicRequestHeader(
            topic="Orders", read_queue_nums=4, write_queue_nums=4, perm=6, topic_filter_type="SINGLE_TAG"
        )
        await self.call(Frame.request(RequestCode.UPDATE_AND_CREATE_TOPIC, header))
        self.assertEqual(told.topics[-1], ["Orders"])

    async def test_without_name_servers_the_banner_ends_early(self) -> None:
        await self.start()
        self.assertEqual(
            self.said, [f"The broker[broker-a, {HOST}:{self.port}] boot success. serializeType=JSON"]
        )

    async def test_name_servers_that_are_down_do_not_delay_start_or_stop(self) -> None:
        addresses = ";".join(f"{HOST}:{free_port()}" for _ in range(2))
        started_s = reactor.seconds()  # type: ignore[attr-defined]
        broker = await self.start(namesrvAddr=addresses)
        await broker.stopService()
        self.assertLess(reactor.seconds() - started_s, 3)  # type: ignore[attr-defined]
        self.assertEqual(len(self.said), 1)


class InAProcess(ProcessCase):
    """`twistd -n rocketmq-broker`, stopped by SIGTERM while it is being sent to."""

    async def test_sigterm_under_load_loses_nothing_that_was_acknowledged(self) -> None:
        folder = self.mktemp()
        port = free_broker_port()
        command = broker_command(folder, port)
        child = self.start(command)
        await child.line("boot success")
        client = RemotingClient(reactor)
        self.addCleanup(client.close)
        acknowledged = 0

        async def keep_sending() -> None:
            nonlocal acknowledged
            while True:
                answer = await client.call(f"{HOST}:{port}", send_frame(b"x" * 100, "Orders"), CALL_TIMEOUT_S)
                if answer.code == 0:
                    acknowledged += 1

        senders = [Deferred.fromCoroutine(keep_sending()) for _ in range(8)]
        while acknowledged < 500:
            await client.call(f"{HOST}:{port}", send_frame(b"y", "Others"), CALL_TIMEOUT_S)
        child.send(signal.SIGTERM)
        for sender in senders:
            sender.addErrback(lambda _: None)
            await sender
        await child.ended
        self.assertFalse(exists(folder, "store", "abort"))

        again = self.start(command)
        await again.line("boot success")
        header = GetMaxOffsetRequestHeader(topic="Orders", queue_id=0)
        answer = await client.call(
            f"{HOST}:{port}", Frame.request(RequestCode.GET_MAX_OFFSET, header), CALL_TIMEOUT_S
        )
        kept = GetMaxOffsetResponseHeader.from_ext_fields(answer.ext_fields).offset
        self.assertGreaterEqual(kept, acknowledged)
        again.send(signal.SIGTERM)
        await again.ended
