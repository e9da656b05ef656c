"""Without its tool chain a foreign client's tests are skipped saying so; in CI that is a failure."""

from __future__ import annotations

from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import foreign_builds
from tests.interop.foreign_builds import GO


class RequireToolsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(foreign_builds.shutil, "which", lambda tool: None)

    def test_a_missing_tool_skips_the_test_and_names_tool_and_client(self) -> None:
        self.patch(foreign_builds.os, "environ", {})
        skipped = self.assertRaises(SkipTest, GO.require)
        self.assertIn("the client go cannot be tested: go is not on the PATH", str(skipped))

    def test_in_ci_a_missing_tool_fails_the_test(self) -> None:
        self.patch(foreign_builds.os, "environ", {"CI": "true"})
        self.assertRaises(AssertionError, GO.require)

    def test_with_all_tools_the_test_goes_on(self) -> None:
        self.patch(foreign_builds.shutil, "which", lambda tool: f"/usr/bin/{tool}")
        self.assertIsNone(GO.require())
