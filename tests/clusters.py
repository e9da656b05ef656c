"""Clusters of real server processes for tests: one NameServer and any number of brokers on loopback ports.

    with Cluster.start() as cluster:
        cluster.namesrv_address, cluster.broker().restart()

`Ours` starts the twistd commands of this project. `Apache` starts Apache RocketMQ 4.9.7 by the same
interface: for comparing, and for proving that a scenario is right. The environment variable
ROCKETMQ_TX_SERVERS chooses what tests get: ours, apache, our-broker or our-namesrv (the rest Apache's).
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field
from twisted.trial.unittest import TestCase

from tests.interop import toolchain
from tests.ports import free_broker_port, free_port
from tests.processes import ServerProcess
from tests.waiting import wait_until

HOST = "127.0.0.1"
KIND_VARIABLE = "ROCKETMQ_TX_SERVERS"
NAMESRV_BANNER = "The Name Server boot success. serializeType=JSON"
GET_BROKER_CLUSTER_INFO = 106

#: Small files, so that a cluster in a test is cheap to make and to throw away.
SMALL_STORE = {"mappedFileSizeCommitLog": str(64 << 20), "mappedFileSizeConsumeQueue": str(20 * 30_000)}


class Kind(Protocol):
    """Whose servers: how their processes are started."""

    def namesrv_command(self, folder: Path, config: Path) -> list[str]: ...

    def broker_command(self, folder: Path, config: Path) -> list[str]: ...

    def environment(self, folder: Path) -> dict[str, str]: ...


class Ours:
    """The `twistd` commands of this project, in the foreground."""

    def namesrv_command(self, folder: Path, config: Path) -> list[str]:
        return self._twistd("rocketmq-namesrv", config)

    def broker_command(self, folder: Path, config: Path) -> list[str]:
        return self._twistd("rocketmq-broker", config)

    def _twistd(self, command: str, config: Path) -> list[str]:
        twistd = str(Path(sys.executable).parent / "twistd")
        return [sys.executable, twistd, "--nodaemon", "--pidfile=", command, "--config", str(config)]

    def environment(self, folder: Path) -> dict[str, str]:
        return {"HOME": str(folder), "ROCKETMQ_HOME": str(folder)}


class Apache:
    """Apache RocketMQ 4.9.7 on Java 17."""

    _JAVA = [
        "java",
        *(
            f"--add-opens=java.base/{package}=ALL-UNNAMED"
            for package in ("java.nio", "sun.nio.ch", "java.lang", "jdk.internal.ref")
        ),
        "-XX:MaxDirectMemorySize=1g",
        "-XX:-UseLargePages",
    ]
    _LOGBACK = '<configuration><root level="WARN"/></configuration>\n'

    def __init__(self, heap: Sequence[str] = ("-Xms256m", "-Xmx1g")) -> None:
        """`heap` are the JVM's flags for its size."""
        self._heap = heap

    def namesrv_command(self, folder: Path, config: Path) -> list[str]:
        return self._java(folder, "org.apache.rocketmq.namesrv.NamesrvStartup", config)

    def broker_command(self, folder: Path, config: Path) -> list[str]:
        return self._java(folder, "org.apache.rocketmq.broker.BrokerStartup", config)

    def _java(self, folder: Path, main_class: str, config: Path) -> list[str]:
        conf = folder / "conf"
        conf.mkdir(parents=True, exist_ok=True)
        for name in ("logback_namesrv.xml", "logback_broker.xml"):
            (conf / name).write_text(self._LOGBACK)
        (conf / "plain_acl.yml").write_text("accounts: []\n")
        class_path = toolchain.apache_class_path()
        java = [*self._JAVA, *self._heap, f"-Duser.home={folder}", "-cp", class_path]
        return [*java, main_class, "-c", str(config)]

    def environment(self, folder: Path) -> dict[str, str]:
        return {"ROCKETMQ_HOME": str(folder)}


@define
class Mixed:
    """The NameServer of one kind and the brokers of another."""

    namesrv: Kind
    broker: Kind

    def namesrv_command(self, folder: Path, config: Path) -> list[str]:
        return self.namesrv.namesrv_command(folder, config)

    def broker_command(self, folder: Path, config: Path) -> list[str]:
        return self.broker.broker_command(folder, config)

    def environment(self, folder: Path) -> dict[str, str]:
        return self.namesrv.environment(folder) | self.broker.environment(folder)


def wanted_kind() -> Kind:
    """What ROCKETMQ_TX_SERVERS says; our own servers by default."""
    kinds: dict[str, Kind] = {
        "ours": Ours(),
        "apache": Apache(),
        "our-broker": Mixed(Apache(), Ours()),
        "our-namesrv": Mixed(Ours(), Apache()),
    }
    return kinds[os.environ.get(KIND_VARIABLE, "ours")]


@define(eq=False)
class Broker:
    """A broker process of a cluster; keeps its ports and store over restarts."""

    name: str
    broker_id: int
    port: int
    process: ServerProcess
    _namesrv_address: str

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Returns when the broker has said that it is up and clients can find it."""
        self.process.start()
        self.process.wait_for_output(f"The broker[{self.name}, {self.address}] boot success.")
        wait_until(self.is_routed, f"{self.name} is known to the NameServer")

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        self.process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def is_routed(self) -> bool:
        return f'"{self.address}"' in cluster_info(self._namesrv_address)


@define(eq=False)
class Cluster:
    """One NameServer and its brokers in a temporary folder."""

    kind: Kind
    folder: Path
    namesrv: ServerProcess
    namesrv_address: str
    brokers: dict[str, Broker] = field(factory=dict)

    @classmethod
    def start(
        cls, brokers: int = 1, settings: Mapping[str, str] | None = None, kind: Kind | None = None
    ) -> Cluster:
        """`brokers` masters named broker-a, broker-b, ... with `settings` beside the usual ones of tests."""
        kind = kind or wanted_kind()
        folder = Path(tempfile.mkdtemp(prefix="cluster-"))
        port = free_port()
        config = folder / "namesrv" / "namesrv.properties"
        write_properties(
            config, {"listenPort": str(port), "kvConfigPath": str(config.parent / "kvConfig.json")}
        )
        command = kind.namesrv_command(config.parent, config)
        namesrv = ServerProcess("namesrv", command, config.parent, kind.environment(config.parent))
        cluster = cls(kind, folder, namesrv, f"{HOST}:{port}")
        try:
            namesrv.start()
            namesrv.wait_for_output(NAMESRV_BANNER)
            for letter in "abcdefgh"[:brokers]:
                cluster.add_broker(f"broker-{letter}", settings=settings).start()
        except BaseException:
            cluster.kill()
            raise
        return cluster

    def add_broker(
        self,
        name: str,
        broker_id: int = 0,
        settings: Mapping[str, str] | None = None,
        kind: Kind | None = None,
    ) -> Broker:
        """A further broker, not started yet; with `kind` it is of another make than the rest."""
        kind = kind or self.kind
        folder = self.folder / (name if broker_id == 0 else f"{name}-{broker_id}")
        store = folder / "store"
        port = free_broker_port()
        config = folder / "broker.properties"
        write_properties(
            config,
            {
                "brokerClusterName": "DefaultCluster",
                "brokerName": name,
                "brokerId": str(broker_id),
                "brokerIP1": HOST,
                "brokerIP2": HOST,
                "listenPort": str(port),
                "namesrvAddr": self.namesrv_address,
                "storePathRootDir": str(store),
                "storePathCommitLog": str(store / "commitlog"),
                "autoCreateTopicEnable": "true",
                **SMALL_STORE,
                **(settings or {}),
            },
        )
        command = kind.broker_command(folder, config)
        process = ServerProcess(folder.name, command, folder, kind.environment(folder))
        broker = Broker(name, broker_id, port, process, self.namesrv_address)
        self.brokers[folder.name] = broker
        return broker

    def broker(self, name: str = "broker-a") -> Broker:
        return self.brokers[name]

    def stop(self) -> None:
        """Brokers first, then the NameServer; all are stopped even when one of them does not behave."""
        failures = []
        for process in [*(broker.process for broker in self.brokers.values()), self.namesrv]:
            try:
                process.stop()
            except AssertionError as failure:
                failures.append(failure)
        shutil.rmtree(self.folder, ignore_errors=True)
        if failures:
            raise failures[0]

    def kill(self) -> None:
        for process in [*(broker.process for broker in self.brokers.values()), self.namesrv]:
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tails(self) -> str:
        processes = [self.namesrv, *(broker.process for broker in self.brokers.values())]
        return "\n".join(process.log_tail() for process in processes)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@functools.cache
def shared_cluster() -> Cluster:
    """One cluster of a single broker for all tests of this run that are content with topics of their own."""
    cluster = Cluster.start()
    atexit.register(cluster.stop)
    return cluster


class ClusterTestCase(TestCase):
    """Shows what the servers printed when a test fails."""

    timeout = 300
    cluster: Cluster | None = None

    def run(self, result: Any) -> None:
        before = len(result.errors) + len(result.failures)
        super().run(result)
        if self.cluster is not None and len(result.errors) + len(result.failures) > before:
            print(self.cluster.log_tails())

    def own_cluster(self, **arguments: Any) -> Cluster:
        """A cluster for this test alone."""
        self.cluster = cluster = Cluster.start(**arguments)
        self.addCleanup(cluster.stop)
        return cluster


def write_properties(path: Path, values: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))


def cluster_info(namesrv_address: str) -> str:
    """The NameServer's table of brokers, by a request built here: the tests' own eyes, not our code's."""
    header = json.dumps(
        {"code": GET_BROKER_CLUSTER_INFO, "flag": 0, "language": "JAVA", "opaque": 1, "version": 407}
    ).encode()
    host, port = namesrv_address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(struct.pack(">ii", 4 + len(header), len(header)) + header)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            payload = answer.read(size)
    header_size = struct.unpack(">i", payload[:4])[0] & 0xFFFFFF
    return payload[4 + header_size :].decode()
