"""docs/operations.md quotes lines of the log, figures and keys: they are those of the program."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.cli.config_docs import SECTIONS
from rocketmq_tx.config.keys import keys_of
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from tests.memory_broker import MemoryBroker

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "docs/operations.md").read_text("utf-8")
OF_EACH_LEVEL = "_LEVEL"
OF_CLIENTS_AND_TOOLS = {
    "brokerStatus", "clusterList", "consumerConnection", "consumerProgress", "pollNameServerInterval",
    "setUseTLS", "statsAll", "topicStatus",
}  # fmt: skip


def first_cells(heading: str) -> list[str]:
    """What is in code marks in the first column of the table with that first heading."""
    rows = TEXT.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [quoted for row in rows for quoted in re.findall(r"`([^`]+)`", row.split("|")[1])]


def texts_of_the_program() -> str:
    """A line each, those that are written in pieces in one."""
    modules = (ast.parse(file.read_text("utf-8")) for file in (PROJECT / "rocketmq_tx").rglob("*.py"))
    nodes = (node for module in modules for node in ast.walk(module) if isinstance(node, ast.Constant))
    return "\n".join(node.value.replace("\n", " ") for node in nodes if isinstance(node.value, str))


def shown_figures() -> set[str]:
    """Names in a broker's runtime information."""
    answer = MemoryBroker().ask(Frame.request(RequestCode.GET_BROKER_RUNTIME_INFO))
    return set(KVTable.from_bytes(answer.body).table)


class OperationsDocumentTests(SynchronousTestCase):
    def test_the_program_logs_the_lines_that_the_page_explains(self) -> None:
        lines, texts = first_cells("line begins with"), texts_of_the_program()
        self.assertGreater(len(lines), 8)
        self.assertEqual([line for line in lines if f"\n{line}" not in texts], [])

    def test_a_broker_shows_the_figures_that_the_page_explains(self) -> None:
        names = {name for name in first_cells("figure") if not name.endswith(OF_EACH_LEVEL)}
        self.assertGreater(len(names), 4)
        self.assertLessEqual(names, shown_figures())

    def test_the_keys_that_the_page_names_exist(self) -> None:
        keys = {key.name for _, settings, _ in SECTIONS for key in keys_of(settings)}
        named = set(re.findall(r"`([a-z]+[A-Z][A-Za-z0-9]*)[`=(]", TEXT))
        self.assertEqual(named - keys - shown_figures() - OF_CLIENTS_AND_TOOLS, set())
        self.assertGreater(len(named & keys), 8)
