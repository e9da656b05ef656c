"""What `mqnamesrv` and `mqbroker` share: Apache's options and exit codes, and running in the foreground.

Options, texts and exit codes are those of `spec/mqadmin.yaml`, section launchers. Exit codes that Java
wrote as negative numbers: -3 is 253, -1 is 255. ROCKETMQ_HOME is not needed, so its absence is no error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
from twisted.application.service import IService
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from rocketmq_tx.cli.daemon import Daemon, complain_on_stderr, prepare_reactor
from rocketmq_tx.cli.descriptor_limit import raise_descriptor_limit
from rocketmq_tx.cli.logs import begin_logging_to_stderr
from rocketmq_tx.config.given import ConfigFileMissing
from rocketmq_tx.config.listing import all_lines, important_lines
from rocketmq_tx.config.settings import Settings, SettingsContradict
from rocketmq_tx.errors import OperatorError

EXIT_FAILED = 1
EXIT_CONTRADICTION = 253
EXIT_CANNOT_START = 255


@attrs.frozen
class Launcher:
    """One launcher. `load` gets the file and the NameServers of the command line."""

    kind: str
    help: str
    load: Callable[[Path | None, str | None], Settings]
    make: Callable[[Any, Any, Callable[[str], None]], IService]
    #: Says that the file was read, where Apache does.
    says_loaded: bool = False

    def main(self, arguments: Sequence[str]) -> int:
        """Runs until stopped; returns the exit code."""
        try:
            code: int = self._command().main(list(arguments), self.kind, standalone_mode=False) or 0
        except click.ClickException as error:
            print(f"{self.kind}: {error.format_message()}", file=sys.stderr)
            print(self.help)
            return EXIT_FAILED
        return code

    def _command(self) -> click.Command:
        return click.Command(
            self.kind,
            callback=self._run,
            add_help_option=False,
            params=[
                click.Option(["-c", "--configFile", "--config", "config_file"]),
                click.Option(["-n", "--namesrvAddr", "--namesrv", "namesrv_addr"]),
                click.Option(["-p", "--printConfigItem", "print_all"], is_flag=True),
                click.Option(["-m", "--printImportantConfig", "print_important"], is_flag=True),
                click.Option(["-h", "--help", "print_help"], is_flag=True),
            ],
        )

    def _run(
        self,
        config_file: str | None,
        namesrv_addr: str | None,
        print_all: bool,
        print_important: bool,
        print_help: bool,
    ) -> int:
        if print_help:
            print(self.help)
            return 0
        raise_descriptor_limit()
        try:
            settings = self.load(Path(config_file) if config_file else None, namesrv_addr)
            if self.says_loaded and config_file:
                print(f"load config properties file OK, {config_file}")
            if print_all or print_important:
                return self._print(settings, important_only=not print_all)
            begin_logging_to_stderr()
        except SettingsContradict as error:
            print(error)  # Apache says it on stdout, and scripts look there
            return EXIT_CONTRADICTION
        except OperatorError as error:
            print(f"{self.kind}: {error}", file=sys.stderr)
            return EXIT_CANNOT_START if isinstance(error, ConfigFileMissing) else EXIT_FAILED
        return self._serve(settings)

    def _print(self, settings: Settings, important_only: bool) -> int:
        for warning in settings.warnings:
            print(f"{self.kind}: {warning}", file=sys.stderr)
        for line in important_lines(settings) if important_only else all_lines(settings):
            print(line)
        return 0

    def _serve(self, settings: Settings) -> int:
        from twisted.internet import reactor  # noqa: PLC0415  (help and print-outs need none)

        core: Any = reactor
        prepare_reactor(core)
        daemon = Daemon(
            self.kind,
            lambda: self.make(settings, core, announce),
            core,
            exit_code_of=exit_code_of,
            complain=complain_on_stderr,  # where the log goes, too: said once
        )
        core.addSystemEventTrigger("before", "shutdown", daemon.stopService)
        core.callWhenRunning(daemon.startService)
        core.run()
        if daemon.exit_code is not None:
            return daemon.exit_code
        signal_number = getattr(core, "_exitSignal", None)
        return 128 + signal_number if signal_number else 0


def exit_code_of(failure: Failure) -> int:
    """Apache's code for a taken port, 1 for whatever else keeps a daemon from starting."""
    taken = failure.check(CannotListenError) or isinstance(
        getattr(failure.value, "__cause__", None), CannotListenError
    )
    return EXIT_CANNOT_START if taken else EXIT_FAILED


def announce(line: str) -> None:
    """The banner, at once even when stdout is a file."""
    print(line, flush=True)


def script(launcher: Launcher) -> None:
    """Entry point of a console script."""
    code = launcher.main(sys.argv[1:])
    sys.stdout.flush()
    sys.exit(code)


def environment() -> dict[str, str]:
    """The environment that settings are read from."""
    return dict(os.environ)
