"""Every recorded request to Apache's broker, served by ours: same code, remark, fields, pushes, body size.

All requests are served, since they build on each other; those of the sending side are compared elsewhere
(`test_golden_broker_writes`). Where ours answers differently the case is listed by name with the reason; a
listed case that agrees after all fails, too, so the lists stay true. `LATER` are requests of features that
do not exist yet, and what follows from them; `BETTER` is decided in docs/differences.md.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.frame import Frame
from tests import golden
from tests.replay import Case, ReplayedBroker, answered, case_of, recorded
from tests.unit.test_golden_broker_writes import SERVED as WRITES

LATER = {
    "access control": r"acl .*",
}
BETTER = {
    "wrong filters are refused, with the place": (
        r"pull SQL92 bad expression|pull expressionType BAD|check client config bad sql"
    ),
    "a broker without write permission took no message: there is one less": (
        r"python language, version 0|other serialization on the same connection"
    ),
    "a success has no remark": r"query consume queue",
    "an end that knows nothing is answered": r"end transaction not-type",
    "only messages of transactions are resumed, and a refusal says why": r"resume check half.*",
    "a deleted topic takes its offsets along": r"consumer offsets",
    "a queue without messages is not behind": r"consume time span",
    "rates are zeros, not blanks": r"runtime info",
    "the answer was recorded without its fields, for its size": r"query message by key",
    "the store time is our clock's": r"earliest store time",
}

WITH_LIVE_CLIENTS = {
    "the recording's clients and topics were there before": (
        r"consumer connection, .*|consumer list|producer connection|consume time span"
    ),
    "the answer was recorded without its remark, for its size": r"pull after commits",
    "offsets of half messages are those of the recording's log": r"end: .*",
    "a sentence, not the text of an exception": r"send back, offset inside the log but no record",
    "requests that are passed on to consumers": r"consumer status.*|running info|reset offset .*",
}


class RecordedRequests(SynchronousTestCase):
    """The error recordings begin with a fresh broker, so each number must agree."""

    def replay(self, name: str, compare: Compare) -> dict[str, str]:
        """What differed, by case."""
        broker = ReplayedBroker()
        differing = {}
        for line in golden.lines(f"frames/{name}.jsonl"):
            case = case_of(line) if "case" in line else None
            if case is None:
                continue
            if case.name == "send queueId -1":  # our choice is Apache's, so that later offsets agree
                chosen = int(case.expected[0]["extFields"]["queueId"])
                self.patch(random, "randrange", lambda stop, chosen=chosen: chosen)
            if case.name == "send back unknown group":
                broker.connect()  # the recording went on with a new connection
            if case.name == "pull retry topic":
                broker.clock.advance(1.0)  # the recording waited for delay level 1, too
            got = broker.serve(case.request, case.waited_s)
            difference = compare(case, got)
            if difference and case.code not in WRITES:
                differing[case.name] = f"{case.name}: {difference}"
        return differing

    def check(self, name: str, compare: Compare, *lists: dict[str, str]) -> None:
        differing = self.replay(name, compare)
        patterns = [pattern for named in lists for pattern in named.values()]
        unlisted = [
            text
            for case, text in differing.items()
            if not any(re.fullmatch(pattern, case) for pattern in patterns)
        ]
        self.assertEqual(unlisted, [], "\n" + "\n".join(unlisted))
        agreeing = [
            pattern for pattern in patterns if not any(re.fullmatch(pattern, case) for case in differing)
        ]
        self.assertEqual(agreeing, [], "these agree now: take them from the list")

    def test_errors_are_answered_as_recorded_with_json_headers(self) -> None:
        self.check("errors-broker.json", everything, LATER, BETTER)

    def test_errors_are_answered_as_recorded_with_binary_headers(self) -> None:
        self.check("errors-broker.rocketmq", everything, LATER, BETTER)

    def test_extras_are_answered_as_recorded_with_clients_connected(self) -> None:
        """The recording's broker had been in use, so only codes and remarks can agree."""
        self.check("extras-broker.json", codes_and_remarks, WITH_LIVE_CLIENTS)


Compare = Callable[[Case, list[Frame]], str]


def everything(case: Case, got: list[Frame]) -> str:
    wanted = [recorded(frame) for frame in case.expected]
    ours: list[Any] = [answered(frame) for frame in got]
    if len(ours) == len(wanted):
        ours = [mine[: len(theirs)] for mine, theirs in zip(ours, wanted, strict=True)]
    sizes = [(frame.get("body") or {}).get("size", 0) for frame in case.expected]
    our_sizes = [len(frame.body) for frame in got]
    if (wanted, sizes) == (ours, our_sizes):
        return ""
    return f"Apache {wanted} {sizes}, ours {ours} {our_sizes}"


def codes_and_remarks(case: Case, got: list[Frame]) -> str:
    wanted = [recorded(frame)[:2] for frame in case.expected]
    ours = [answered(frame)[:2] for frame in got]
    return "" if wanted == ours else f"Apache {wanted}, ours {ours}"
