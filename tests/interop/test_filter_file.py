"""consumerFilter.json goes from our broker to Apache RocketMQ 4.9.7 and back, with the same filters in it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol import bodies
from rocketmq_tx.protocol.codes import RequestCode
from tests.integration.fault_parts import Client
from tests.interop import toolchain
from tests.interop.store_exchange import Exchange

KEYS = {"enablePropertyFilter": "true", "mappedFileSizeCommitLog": 1 << 20}


class FilterFileInterchange(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        toolchain.require_java()
        folder = Path(tempfile.mkdtemp(prefix="filters-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.exchange = Exchange(folder, KEYS)
        self.addCleanup(self.exchange.kill)

    def beat(self, client: Client, group: str, expression: str) -> None:
        subscription = bodies.SubscriptionData("Orders", expression, sub_version=7, expression_type="SQL92")
        consumer = bodies.ConsumerData(group, subscription_data_set=[subscription])
        data = bodies.HeartbeatData(f"client-of-{group}", consumer_data_set=[consumer])
        self.assertEqual(client.ask(RequestCode.HEART_BEAT, body=data.to_bytes()).code, 0)

    def turn(self, server: str, *groups: str) -> dict[str, Any]:
        """A broker's life, in which these groups come online; then the filters of the file by group."""
        with self.exchange.start(server) as client:
            for group in groups:
                self.beat(client, group, f"a > {len(group)}")
        self.exchange.stop()
        text = (self.exchange.store / "config/consumerFilter.json").read_text()
        filters: dict[str, Any] = json.loads(text)["filterDataByTopic"]["Orders"]["groupFilterData"]
        return filters

    def test_each_broker_keeps_what_the_other_has_written(self) -> None:
        ours = self.turn("ours", "g", "group-two")
        apaches = self.turn("apache", "third")
        again = self.turn("ours", "fourth_one")

        self.assertEqual({*ours}, {"g", "group-two"})
        self.assertEqual({*apaches}, {"g", "group-two", "third"})
        self.assertEqual({*again}, {"g", "group-two", "third", "fourth_one"})
        for known, later in ((ours, apaches), (apaches, again)):
            for group, data in known.items():
                # Apache drops the whole file when the places of the bits are not its own.
                for field in ("bloomFilterData", "bornTime", "clientVersion", "expression", "expressionType"):
                    self.assertEqual(later[group][field], data[field], (group, field))
