"""The Java client as a load on both systems: one process for all, so that its own JIT favours neither."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.comparison.sides import Side
from tests.interop import toolchain
from tests.interop.driven_process import DrivenProcess

SOURCES = Path(__file__).parent.parent / "java"
TARGET = SOURCES / "target"
CALL_TIMEOUT_S = 150.0


def class_path() -> str:
    """The compiled program and the jars of Apache's client; compiles when a source has changed."""
    jars = toolchain.client_class_path()
    sources = sorted(SOURCES.glob("*.java"))
    state = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
    classes = TARGET / state[:16]
    if not (classes / "Load.class").is_file():
        subprocess.run(["javac", "-nowarn", "-d", str(classes), "-cp", jars, *map(str, sources)], check=True)
    return os.pathsep.join([str(classes), jars])


class JavaLoad(DrivenProcess):
    """Producers and consumers of all sides in one JVM."""

    def __init__(self) -> None:
        path = class_path()
        super().__init__(
            "load",
            lambda home: [
                "java", "-Xms1g", "-Xmx1g", f"-Duser.home={home}", f"-Djava.io.tmpdir={home}",
                "-Drocketmq.client.logLevel=WARN", "-cp", path, "Load",
            ],
        )  # fmt: skip

    def open(self, side: Side) -> None:
        """Starts the producers of a side."""
        self.call("open", side=side.name, namesrv=side.namesrv_address)

    def run(self, command: str, side: Side, **arguments: Any) -> dict[str, Any]:
        return self.call(command, timeout_s=CALL_TIMEOUT_S, side=side.name, **arguments)

    def __enter__(self) -> JavaLoad:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.stop()
