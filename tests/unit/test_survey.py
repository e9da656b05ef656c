"""Whom a slave finds when it looks around before it takes over, and what an operator is shown of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.survey import Survey, take_survey
from rocketmq_tx.cli.promote import Promotion
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import RequestTimeout
from rocketmq_tx.failover.epochs import EpochHistory
from rocketmq_tx.failover.state import BrokerState
from rocketmq_tx.failover.verdict import judge
from rocketmq_tx.protocol.bodies import BrokerData, ClusterInfo
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import PromoteResponseHeader

NAME_SERVER = "192.0.2.9:9876"
MINE, MASTER, OTHER = "192.0.2.2:10911", "192.0.2.1:10911", "192.0.2.3:10911"
CONFIG = BrokerConfig(broker_name="n", broker_cluster_name="c")


def state(address: str, role: BrokerRole) -> BrokerState:
    broker_id = 0 if role.is_master else 1
    return BrokerState("c", "n", address, broker_id, role, role, EpochHistory(), 0, 700, 700)


class Others:
    """Who is called: brokers of ours with a state, Apache's with None; nobody else answers."""

    def __init__(self, brokers: dict[str, BrokerState | None], registered: dict[int, str]) -> None:
        self._brokers = brokers
        self._registered = registered

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        if address == NAME_SERVER:
            data = BrokerData("c", "n", self._registered)
            return succeed(frame.answer(body=ClusterInfo({"n": data}, {}).to_bytes()))
        if address not in self._brokers:
            return fail(RequestTimeout(f"{address} does not answer"))
        found = self._brokers[address]
        if found is None:
            return succeed(frame.answer(ResponseCode.REQUEST_CODE_NOT_SUPPORTED))
        return succeed(frame.answer(header=found.to_header()))


class SurveyTests(SynchronousTestCase):
    def survey(
        self,
        brokers: dict[str, BrokerState | None],
        followed: str | None = MASTER,
        registered: Sequence[str] = (MASTER, MINE, OTHER),
    ) -> Survey:
        caller = Others(brokers, dict(enumerate(registered)))
        mine = state(MINE, BrokerRole.SLAVE)
        asking = Deferred.fromCoroutine(take_survey(caller, [NAME_SERVER], CONFIG, mine, followed))
        return self.successResultOf(asking)

    def shown(self, survey: Survey) -> str:
        out = Console(file=io.StringIO(), width=200)
        promotion = Promotion(MINE, False, True, out, out)
        verdict, reason = judge(survey.mine, survey.master, None, survey.others)
        header = PromoteResponseHeader(verdict=verdict.name, reason=reason, epoch=1)
        promotion._show(json.loads(survey.to_body()), header)
        return out.file.getvalue()

    def test_a_master_and_slaves_of_ours_say_how_far_they_are(self) -> None:
        others = {MASTER: state(MASTER, BrokerRole.SYNC_MASTER), OTHER: state(OTHER, BrokerRole.SLAVE)}
        survey = self.survey(others)
        self.assertEqual((survey.master, survey.others), (others[MASTER], {OTHER: others[OTHER]}))
        self.assertEqual((survey.rival, survey.foreign_master), (None, None))
        self.assertEqual(self.shown(survey).count("700"), 3)

    def test_the_example_of_the_document_shows_what_it_says(self) -> None:
        shown = self.shown(
            self.survey({MASTER: state(MASTER, BrokerRole.SYNC_MASTER)}, registered=[MASTER, MINE])
        )
        lines = [line.rstrip() for line in shown.splitlines()]
        document = (Path(__file__).parents[2] / "docs/cluster.md").read_text("utf-8")
        self.assertIn("\n".join([f"$ bin/mqpromote {MINE} --ask", *lines]), document)

    def test_who_does_not_answer_is_told_from_a_broker_of_apaches(self) -> None:
        survey = self.survey({MASTER: None})
        self.assertEqual((survey.master, survey.foreign_master), (None, MASTER))
        lines = {line.split()[0]: line for line in self.shown(survey).splitlines()}
        self.assertIn("not of rocketmq_tx", lines[MASTER])
        self.assertIn("no answer", lines[OTHER])

    def test_a_registered_master_that_is_not_followed_and_silent_is_a_rival(self) -> None:
        self.assertEqual(self.survey({}, followed=OTHER).rival, MASTER)
        self.assertIsNone(self.survey({}).rival, "it is the one that is followed")
        foreign = self.survey({MASTER: None}, followed=OTHER)
        self.assertEqual((foreign.rival, foreign.foreign_master), (None, MASTER))
