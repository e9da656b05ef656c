"""docs/configuration.md says what the declarations say."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.cli.config_docs import SECTIONS, configuration_page, main
from rocketmq_tx.config.keys import keys_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


class ConfigurationPageTests(SynchronousTestCase):
    def test_the_page_in_the_tree_is_up_to_date(self) -> None:
        self.assertEqual(
            PAGE.read_text(encoding="utf-8"),
            configuration_page(),
            "write it again: python -m rocketmq_tx.cli.config_docs docs/configuration.md",
        )

    def test_every_key_is_on_it(self) -> None:
        page = configuration_page()
        for _, settings_class, _ in SECTIONS:
            for key in keys_of(settings_class):
                self.assertIn(f"`{key.name}`", page)

    def test_no_cell_breaks_its_table(self) -> None:
        for line in configuration_page().splitlines():
            if line.startswith("|"):
                self.assertEqual(line.count("|"), 5, line)

    def test_it_is_written_where_asked_or_printed(self) -> None:
        path = self.mktemp()
        self.assertEqual(CliRunner().invoke(main, [path]).exit_code, 0)
        self.assertEqual(Path(path).read_text(encoding="utf-8"), configuration_page())
        self.assertEqual(CliRunner().invoke(main).stdout, configuration_page())
