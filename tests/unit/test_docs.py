"""Examples in the documents run, and what documents point to exists."""

from __future__ import annotations

import re
import textwrap
import unittest
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md"), *PROJECT.glob("*/README.md")])


def python_examples(document: Path) -> list[str]:
    """The fenced Python blocks of a document, in order."""
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```", document.read_text("utf-8"), re.S | re.M)
    return [textwrap.dedent(block) for _, block in blocks]


def places(document: Path) -> set[str]:
    """What a link may name behind `#`: headings in lower case, without marks, with hyphens for blanks."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run_examples(document: Path) -> dict[str, Any]:
    """Runs all blocks of a document as one program; returns its names."""
    names: dict[str, Any] = {"__name__": f"example_of_{document.stem}"}
    for block in python_examples(document):
        exec(compile(block, str(document), "exec"), names)
    return names


class DocumentTests(SynchronousTestCase):
    def test_how_to_add_a_request_code_works_as_written(self) -> None:
        names = run_examples(PROJECT / "CONTRIBUTING.md")
        tests = unittest.defaultTestLoader.loadTestsFromTestCase(names["QueueLengthTests"])
        result = unittest.TestResult()
        tests.run(result)
        self.assertEqual((result.testsRun, result.failures, result.errors), (2, [], []))

    def test_the_handler_of_the_guide_answers_a_request(self) -> None:
        from rocketmq_tx.remoting.registry import Registry  # noqa: PLC0415

        names = run_examples(PROJECT / "CONTRIBUTING.md")

        class OneQueue:
            def queue_offsets(self, topic: str, queue_id: int) -> tuple[int, int]:
                return (2, 5)

        handlers = names["QueueLengths"](OneQueue())
        header = names["GetQueueLengthRequestHeader"](topic="T", queue_id=0)
        self.assertEqual(handlers.length(None, None, header).header.length, 3)
        self.assertIn(names["GET_QUEUE_LENGTH"], Registry(handlers).handlers)

    def test_the_example_of_the_filters_works_as_written(self) -> None:
        self.assertIn("expression", run_examples(PROJECT / "docs" / "filters.md"))

    def test_links_between_documents_lead_somewhere(self) -> None:
        missing = [
            f"{document.name}: {target}"
            for document in DOCUMENTS
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
            if not (document.parent / target).exists()
        ]
        self.assertEqual(missing, [])

    def test_links_to_a_place_in_a_document_lead_to_a_heading(self) -> None:
        missing = [
            f"{document.name}: {target}#{place}"
            for document in DOCUMENTS
            for target, place in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text("utf-8"))
            if place not in places(document.parent / target if target else document)
        ]
        self.assertEqual(missing, [])

    def test_files_that_documents_name_exist(self) -> None:
        pattern = re.compile(r"`((?:bin|docs|conf|tests|benchmarks|examples|rocketmq_tx)/[\w./-]+\w)`")
        missing = [
            f"{document.name}: {name}"
            for document in DOCUMENTS
            for name in pattern.findall(document.read_text("utf-8"))
            if not (PROJECT / name).exists()
        ]
        self.assertEqual(missing, [])

    def test_no_semicolon_ends_a_line_of_a_sequence_diagram_early(self) -> None:
        diagrams = [
            (document.name, diagram)
            for document in DOCUMENTS
            for diagram in re.findall(
                r"```mermaid\nsequenceDiagram\n(.*?)```", document.read_text("utf-8"), re.S
            )
        ]
        self.assertGreater(len(diagrams), 3)
        self.assertEqual([name for name, diagram in diagrams if ";" in diagram], [])
