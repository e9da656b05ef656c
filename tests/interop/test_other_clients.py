"""Clients other than Java 4.9.7, unmodified: Java 4.5.1 and 5.1.4, Go, Node and C++, against our servers."""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable
from typing import Any

from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import CreateTopicRequestHeader, GetRouteInfoRequestHeader
from tests.clusters import Cluster, ClusterTestCase
from tests.integration.fault_parts import Client
from tests.interop.foreign_builds import BUILDS
from tests.interop.foreign_client import ForeignClient
from tests.interop.java_client import bodies, message
from tests.interop.test_java_client import each_once
from tests.waiting import wait_until

#: Level 1 is for delayed messages; the levels from 3 on, which are short here, for retries.
SETTINGS = {"messageDelayLevel": " ".join(["1s", *["2s"] * 17])}
DELAY_S = 1
TOLERANCE_S = 1.0

LONG = "0123456789 " * 1000
"""All clients but Node compress a body of this size."""


@functools.cache
def cluster_with_short_delays() -> Cluster:
    cluster = Cluster.start(settings=SETTINGS)
    atexit.register(cluster.stop)
    return cluster


class OtherClientTests(ClusterTestCase):
    """Each client does the same in topics and groups of its own."""

    def start(self, name: str, group: str) -> ForeignClient:
        BUILDS[name].require()
        client = ForeignClient(BUILDS[name], self._servers().namesrv_address, group)
        self.addCleanup(client.stop)
        return client

    def _servers(self) -> Cluster:
        self.cluster = cluster = cluster_with_short_delays()
        return cluster

    def create_topic(self, topic: str, queues: int = 4) -> None:
        cluster = self._servers()
        with Client(cluster.broker().port) as broker:
            header = CreateTopicRequestHeader(
                topic=topic, default_topic="TBW102", read_queue_nums=queues, write_queue_nums=queues, perm=6,
                topic_filter_type="SINGLE_TAG", order=False,
            )  # fmt: skip
            answer = broker.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, header)
            self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)
        with Client(int(cluster.namesrv_address.rpartition(":")[2])) as namesrv:
            route = GetRouteInfoRequestHeader(topic=topic)
            wait_until(
                lambda: namesrv.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, route).code == ResponseCode.SUCCESS,
                f"{topic} is routed",
            )

    def scenario(self, name: str) -> None:
        """Sends tags of which some are wanted, a long body, delayed messages, and one that fails once."""
        topic = group = name.replace(".", "_")
        client = self.start(name, group)
        sent = [
            message(topic, f"{tag} {number} grün", tags=tag, keys=f"key-{number}")
            for number in range(20)
            for tag in ("TagA", "TagB", "TagC")
        ]
        sent.append(message(topic, LONG, tags="TagA", keys="long"))
        ids = client.send(sent)
        self.assertEqual(len(set(ids)), len(sent))

        client.subscribe(topic, "TagA || TagC")
        wanted = [f"{tag} {number} grün" for number in range(20) for tag in ("TagA", "TagC")]
        self.assertEqual(len(client.received(41)), 41)
        # By itself: the C++ client counts all messages of one pull as failed when one of them has.
        client.send([message(topic, "fail once", tags="TagC", keys="fails")])
        self.assertEqual(len(client.received(42)), 42)
        client.send(
            [message(topic, f"delayed {n}", tags="TagA", keys="late", delayLevel=1) for n in range(3)]
        )
        received = client.received(46)

        delayed = [f"delayed {n}" for n in range(3)]
        self.assertEqual(
            bodies(received), each_once([*wanted, LONG, *delayed]) + each_once(["fail once", "fail once"])
        )
        self.assertEqual({one["tags"] for one in received}, {"TagA", "TagC"})
        keys = {*(f"key-{number}" for number in range(20)), "long", "fails", "late"}
        self.assertEqual({one["keys"] for one in received}, keys)
        again = [one["reconsumeTimes"] for one in received if one["keys"] == "fails"]
        self.assertEqual(again, [0, 1])
        late = [one for one in received if one["keys"] == "late"]
        for one in late:
            waited_s = (one["storeTimestamp"] - one["bornTimestamp"]) / 1000
            self.assertGreaterEqual(waited_s, DELAY_S - 0.1)
            self.assertLess(waited_s, DELAY_S + TOLERANCE_S)

    def test_java_4_5_1_sends_and_consumes(self) -> None:
        self.scenario("java-4.5.1")

    def test_java_5_1_4_sends_and_consumes(self) -> None:
        self.scenario("java-5.1.4")

    def test_go_sends_and_consumes(self) -> None:
        self.scenario("go")

    def test_node_sends_and_consumes(self) -> None:
        self.create_topic("node")  # this client sends to no topic that is not there yet
        self.scenario("node")

    def test_cpp_sends_and_consumes(self) -> None:
        self.scenario("cpp")

    def test_every_client_reads_what_every_other_has_sent(self) -> None:
        self.create_topic("polyglot")
        clients = {name: self.start(name, f"polyglot-{name.replace('.', '_')}") for name in BUILDS}
        wanted = []
        for name, client in clients.items():
            texts = [f"{name} {number}" for number in range(10)] + [f"{name} {LONG}"]
            client.send([message("polyglot", text, tags=name, keys=text[:20]) for text in texts])
            wanted += texts

        for client in clients.values():
            client.subscribe("polyglot")
        received: dict[str, list[dict[str, Any]]] = {
            name: client.received(len(wanted)) for name, client in clients.items()
        }

        tag_of: Callable[[bytes], str] = lambda body: body.split(b" ")[0].decode()  # noqa: E731
        for name, messages in received.items():
            self.assertEqual(bodies(messages), each_once(wanted), name)
            for one in messages:
                (body,) = bodies([one])
                self.assertEqual(one["tags"], tag_of(body), name)
