"""docs/architecture.md gives every module its place, and names none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "rocketmq_tx"
PACKAGES = [file.parent.name for file in PACKAGE.glob("*/__init__.py")]
TEXT = (PROJECT / "docs/architecture.md").read_text("utf-8")
BROKER, OTHERS = TEXT.partition("## Part by part")[2].partition("\n## ")[0].split("The other packages:")


def modules(package: str) -> set[str]:
    """Those that lie in a package."""
    return {file.stem for file in (PACKAGE / package).glob("*.py")} - {"__init__"}


def cells(table: str) -> list[tuple[str, str]]:
    """First and second cell of each row."""
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    return [(row[1].strip(" `"), row[2]) for row in rows[1:]]


def named(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell)) - {"autoFailover"}


class ArchitectureDocumentTests(SynchronousTestCase):
    def test_every_module_of_the_broker_has_one_place(self) -> None:
        places = sorted(name for _, cell in cells(BROKER) for name in named(cell))
        self.assertEqual(places, sorted(modules("broker") - {"service"}))

    def test_every_module_of_the_other_packages_has_its_place(self) -> None:
        places = dict(cells(OTHERS))
        self.assertEqual(set(places), set(PACKAGES) - {"broker"})
        for package in set(places) - {"store"}:
            self.assertEqual(named(places[package]), modules(package), package)

    def test_every_module_of_the_store_has_its_place_in_the_page_of_the_store(self) -> None:
        page = (PROJECT / "docs/storage.md").read_text("utf-8")
        table = page.partition("## Modules")[2].partition("\n## ")[0]
        places = {name for first, _ in cells(table) for name in named(f"`{first}`")}
        self.assertEqual(places, modules("store"))

    def test_modules_that_its_sentences_name_exist(self) -> None:
        names = re.findall(rf"`((?:{'|'.join(PACKAGES)})\.[a-z_]+)", TEXT)
        missing = [name for name in names if not (PACKAGE / f"{name.replace('.', '/')}.py").exists()]
        self.assertEqual(missing, [])
        self.assertGreater(len(names), 10)
