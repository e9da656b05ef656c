"""How long from starting a broker's process to its first accepted send.

    python -m benchmarks.start_up [--rounds N]

Each round starts a broker with an empty store in a temporary folder and tries to send until SEND_OK comes
back; the topic exists at start (BenchmarkTest). Printed are median, minimum and maximum, and the anonymous
memory of the process then. Modules are compiled before; the first round is not counted.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rocketmq_tx
from benchmarks.child_broker import STOP_TIMEOUT_S, TWISTD, free_port
from benchmarks.frames import encode_send
from benchmarks.loader import Connection, keep_busy
from benchmarks.process_facts import anonymous_mib

TRY_AGAIN_S = 0.002
GIVE_UP_S = 60.0


def first_send_s(address: tuple[str, int], began_s: float, give_up_s: float = GIVE_UP_S) -> float:
    """Seconds from `began_s` to the first SEND_OK; until then it is tried again and again."""
    frame = encode_send("BenchmarkTest", 0, 1, b"x" * 128)
    while time.perf_counter() < began_s + give_up_s:
        with contextlib.suppress(ConnectionError):
            connection = Connection(address, [frame], 1)
            keep_busy([connection], 0, 1)
            connection.close()
            if not connection.refused:
                return time.perf_counter() - began_s
        time.sleep(TRY_AGAIN_S)
    raise TimeoutError(f"no SEND_OK within {give_up_s:g} s")


def compile_modules() -> None:
    """As an installation does it; where PYTHONDONTWRITEBYTECODE is set, no start would ever do it."""
    compileall.compile_dir(str(Path(rocketmq_tx.__file__).parent), quiet=1)


def one_round() -> tuple[float, float]:
    """(seconds to the first SEND_OK, MiB)."""
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        port = free_port()
        file = Path(folder, "broker.properties")
        file.write_text(f"brokerIP1=127.0.0.1\nlistenPort={port}\nstorePathRootDir={folder}/store\n")
        command = [*TWISTD, "-n", "--pidfile=", f"--logfile={folder}/log", "rocketmq-broker", "-c", str(file)]
        began_s = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
        try:
            return first_send_s(("127.0.0.1", port), began_s), anonymous_mib(child.pid)
        finally:
            child.terminate()
            child.wait(STOP_TIMEOUT_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    compile_modules()
    one_round()
    rounds = [one_round() for _ in range(options.rounds)]
    seconds = sorted(first for first, _ in rounds)
    print(
        f"first accepted send after {statistics.median(seconds):.3f} s "
        f"({seconds[0]:.3f} - {seconds[-1]:.3f}, {len(rounds)} rounds), "
        f"{statistics.median(mib for _, mib in rounds):.0f} MiB anonymous memory"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
