"""`mqshutdown namesrv|broker`: asks the running ones of this user to stop in order, and waits.

Texts and exit code of "nothing runs" are Apache's (`spec/mqadmin.yaml`, section launchers); Apache's does
not wait, ours says what became of it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rocketmq_tx.cli.run_files import RunningDaemon, find_running, run_folder
from rocketmq_tx.errors import OperatorError

KINDS = {"broker": "mqbroker", "namesrv": "mqnamesrv"}
USAGE = "Useage: mqshutdown broker | namesrv"
HELP = f"""{USAGE}
Stops those that this user runs here, in order, and waits for their end.
exit code: 0 they have stopped, 1 one has not within 60 s, 255 none was running
"""

EXIT_NONE_RUNNING = 255
WAIT_S = 60.0
_LOOK_EVERY_S = 0.05


def shut_down(
    arguments: Sequence[str],
    folder: Path,
    ask: Callable[[RunningDaemon], None],
    seconds: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Stops all daemons of a kind and prints what happened; returns the exit code."""
    if list(arguments) in (["-h"], ["--help"]):
        print(HELP, end="")
        return 0
    if len(arguments) != 1 or arguments[0] not in KINDS:
        print(USAGE)
        return 1
    kind = KINDS[arguments[0]]
    found = list(find_running(folder, kind))
    if not found:
        print(f"No {kind} running.")
        return EXIT_NONE_RUNNING
    asked = []
    for daemon in found:
        print(f"The {kind}({daemon.pid}) is running...")
        try:
            ask(daemon)
        except ProcessLookupError:
            print(f"{kind}({daemon.pid}) has stopped by itself.")
            continue
        print(f"Send shutdown request to {kind}({daemon.pid}) OK", flush=True)
        asked.append(daemon)
    started = seconds()
    while asked and seconds() - started < WAIT_S:
        for daemon in [daemon for daemon in asked if not daemon.is_alive()]:
            print(f"{kind}({daemon.pid}) has stopped after {seconds() - started:.1f} s.", flush=True)
            asked.remove(daemon)
        if asked:
            pause(_LOOK_EVERY_S)
    for daemon in asked:
        print(f"{kind}({daemon.pid}) is still running after {WAIT_S:.0f} s; see its log.")
    return 1 if asked else 0


def ask_to_stop(daemon: RunningDaemon) -> None:
    """SIGTERM, which stops in order; where a signal would end the process at once, a file asks for it."""
    if sys.platform == "win32":
        daemon.stop_path.touch()
    else:
        os.kill(daemon.pid, signal.SIGTERM)


def main() -> None:
    """Console script."""
    try:
        code = shut_down(sys.argv[1:], run_folder(os.environ), ask_to_stop)
    except OperatorError as error:
        sys.exit(f"mqshutdown: {error}")
    sys.exit(code)


if __name__ == "__main__":
    main()
