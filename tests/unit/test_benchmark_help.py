"""Who asks a benchmark for help does not start it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stdout

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import in_process, limits, steps


class BenchmarkHelpTests(SynchronousTestCase):
    def help_of(self, main: Callable[[], None]) -> str:
        self.patch(sys, "argv", ["benchmark", "--help"])
        out = io.StringIO()
        with redirect_stdout(out):
            stopped = self.assertRaises(SystemExit, main)
        self.assertEqual(stopped.code, 0)
        return out.getvalue()

    def test_help_is_printed_and_nothing_is_measured(self) -> None:
        for module in (in_process, limits, steps):
            text = self.help_of(module.main)
            first_word = (module.__doc__ or "").split()[0]
            self.assertIn(first_word, text)
            self.assertNotIn(" us", text)
