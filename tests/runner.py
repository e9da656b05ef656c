"""Runs the suite with trial and ends with one line that says how many tests passed and failed.

`python -m tests.runner [NAME ...]` runs the named packages, modules, classes or methods, by default all.
"""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
import unittest
from pathlib import Path

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

ALL = ("tests.unit", "tests.integration", "tests.interop")


def modules_of(name: str) -> list[str]:
    """Names of all test modules under a package, or the name itself when it is not a package."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return [name]
    if not hasattr(module, "__path__"):
        return [name]
    return sorted(
        info.name
        for info in pkgutil.walk_packages(module.__path__, name + ".")
        if info.name.rpartition(".")[2].startswith("test_")
    )


def load(names: list[str]) -> unittest.TestSuite:
    loader = TestLoader()
    wanted = [module for name in names for module in modules_of(name)]
    return unittest.TestSuite([loader.loadByName(name) for name in wanted])


def main(arguments: list[str]) -> int:
    # A shell's background job ignores Ctrl-C, and children would inherit that: tests that send it would hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tests = load(arguments or list(ALL))
    runner = TrialRunner(TreeReporter, workingDirectory="_trial_temp", logfile="test.log")
    result = runner.run(tests)
    skipped = len(result.skips)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.successes
    for case, reason in result.skips:
        print(f"skipped: {case.id()}: {reason}")
    ran_nothing = passed + failed == 0
    if ran_nothing:
        print("no test was executed: that is a failure, too")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.stdout.flush()
    return 1 if failed or ran_nothing else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(sys.argv[1:]))
