"""Where log lines go: one line per event, on stderr for launchers, filtered by ROCKETMQ_LOG_LEVEL.

For `twistd`, name the observer of this module: `twistd --logger rocketmq_tx.cli.logs.stdout_observer ...`;
without it twistd's own options decide.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import IO, Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    InvalidLogLevelError,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from rocketmq_tx.errors import ConfigError

LEVEL_VARIABLE = "ROCKETMQ_LOG_LEVEL"


def observer(file: IO[Any], environ: Mapping[str, str]) -> ILogObserver:
    """An observer that writes events of the wanted level and above. Raises ConfigError for no level."""
    name = environ.get(LEVEL_VARIABLE) or "info"
    try:
        level = LogLevel.levelWithName(name.lower())
    except InvalidLogLevelError:
        known = ", ".join(constant.name for constant in LogLevel.iterconstants())
        raise ConfigError(
            f"environment variable {LEVEL_VARIABLE} = {name!r}: expected one of {known}"
        ) from None
    return FilteringLogObserver(textFileLogObserver(file), [LogLevelFilterPredicate(defaultLogLevel=level)])


def stdout_observer() -> ILogObserver:
    """For twistd's --logger."""
    return observer(sys.stdout, os.environ)


def begin_logging_to_stderr() -> None:
    """Leaves stdout to the banner and to print-outs. Raises ConfigError."""
    globalLogBeginner.beginLoggingTo([observer(sys.stderr, os.environ)], redirectStandardIO=False)
