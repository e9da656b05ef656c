"""A daemon takes as many descriptors as it is allowed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.cli import broker_maker, launcher, mqbroker, mqnamesrv, namesrv_maker, twistd_exit
from rocketmq_tx.cli.descriptor_limit import raise_descriptor_limit

IN_A_SHELL_WITH_LESS = """
import resource
from rocketmq_tx.cli.descriptor_limit import raise_descriptor_limit
from rocketmq_tx.cli.host import collect_host_facts
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE), collect_host_facts().descriptors)
"""


class DescriptorLimitTests(SynchronousTestCase):
    def test_the_soft_limit_becomes_the_hard_one_and_that_is_what_facts_tell(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", IN_A_SHELL_WITH_LESS]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        self.assertEqual((ran.stdout, ran.stderr), ("(200, 200) 200\n", ""))

    def test_a_system_that_refuses_is_left_as_it_is(self) -> None:
        for error in (OSError, ValueError):
            refused = []

            def refuse(*arguments: object, error: type[Exception] = error, refused: list = refused) -> None:
                refused.append(arguments)
                raise error("not that many")

            self.patch(resource, "setrlimit", refuse)
            raise_descriptor_limit()
            self.assertEqual(len(refused), 1)

    def test_a_system_without_limits_has_none_to_raise(self) -> None:
        self.patch(sys, "modules", {**sys.modules, "resource": None})
        raise_descriptor_limit()

    def test_every_daemon_raises_it_before_it_looks_at_its_surroundings(self) -> None:
        class Asked(Exception):
            """Instead of the settings."""

        done: list[str] = []

        def look() -> None:
            done.append("looked")
            raise Asked

        for module in (launcher, twistd_exit):
            self.patch(module, "raise_descriptor_limit", lambda: done.append("raised"))
        for module in (mqbroker, mqnamesrv, broker_maker, namesrv_maker):
            self.patch(module, "collect_host_facts", look)
        self.patch(twistd_exit, "prepare_reactor", lambda reactor: None)
        for maker in (broker_maker, namesrv_maker):
            options = maker.Options()
            options.parseOptions([])
            self.assertRaises(Asked, maker.makeService, options)
        for command in (mqbroker, mqnamesrv):
            self.assertRaises(Asked, command.LAUNCHER.main, [])
        self.assertEqual(done, ["raised", "looked"] * 4)
