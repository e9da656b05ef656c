"""Without Java or Maven the interop tests are skipped saying so; in CI that is a failure."""

from __future__ import annotations

from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import toolchain


class RequireJavaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(toolchain, "missing_tools", lambda: "mvn is not on the PATH")

    def test_a_missing_tool_skips_the_test_and_names_it(self) -> None:
        self.patch(toolchain.os, "environ", {})
        skipped = self.assertRaises(SkipTest, toolchain.require_java)
        self.assertIn("mvn is not on the PATH", str(skipped))

    def test_in_ci_a_missing_tool_fails_the_test(self) -> None:
        self.patch(toolchain.os, "environ", {"CI": "true"})
        self.assertRaises(AssertionError, toolchain.require_java)

    def test_with_all_tools_the_test_goes_on(self) -> None:
        self.patch(toolchain, "missing_tools", str)
        self.assertIsNone(toolchain.require_java())
