"""A daemon under twistd: made from its options, and an exit with 1 after a start that failed later.

twistd ignores the Deferred of `startService` and exits with 0 whenever its reactor stops.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from twisted.application.service import IService
from twisted.python import usage

from rocketmq_tx.cli.daemon import Daemon, announce_on_stdout, prepare_reactor
from rocketmq_tx.cli.descriptor_limit import raise_descriptor_limit
from rocketmq_tx.config.settings import Settings
from rocketmq_tx.errors import OperatorError

_Settings = TypeVar("_Settings", bound=Settings)


def make_daemon(
    kind: str,
    options: usage.Options,
    load: Callable[[Path | None], _Settings],
    make: Callable[[_Settings, Any, Callable[[str], None]], IService],
) -> Daemon:
    """What a twistd plugin makes. Ends the process with one sentence when settings cannot be used.

    `kind` is mqnamesrv or mqbroker; `make` gets the settings, the reactor and what prints the banner.
    """
    from twisted.internet import reactor  # noqa: PLC0415  (twistd chooses it before)

    prepare_reactor(reactor)
    raise_descriptor_limit()
    try:
        settings = load(Path(options["config"]) if options["config"] else None)
    except OperatorError as error:
        refuse(kind.replace("mq", "rocketmq-"), error)
    daemon = Daemon(
        kind,
        lambda: make(settings, reactor, announce_on_stdout),
        reactor,
        raises_early=goes_to_background(options),
    )
    exit_with_code_of(daemon)
    return daemon


def exit_with_code_of(daemon: Daemon) -> None:
    """Arranges for the exit code. twistd has removed its pid file and closed its log by then."""
    atexit.register(_exit, daemon)
    sys.excepthook = _trace_unless_said


def goes_to_background(options: usage.Options) -> bool:
    """True when twistd forks before it starts the service: an early failure is seen only when raised."""
    return options.parent is not None and not options.parent.get("nodaemon", True)


def refuse(name: str, error: OperatorError) -> NoReturn:
    """Ends twistd before it starts anything: one sentence, exit code 1."""
    sys.exit(f"{name}: {error}")


def _trace_unless_said(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A start that failed has said its sentence already; whatever else is raised gets Python's trace."""
    if not issubclass(kind, OperatorError):
        sys.__excepthook__(kind, error, trace)


def _exit(daemon: Daemon) -> None:
    if daemon.exit_code is not None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(daemon.exit_code)
