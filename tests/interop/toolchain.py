"""Java and Maven for the interop tests: are they there, and the class paths that they build.

Class paths and classes lie under tests/interop/java/target (ignored by git) and are made again only when the
project files or sources change. Jars lie in Maven's own local repository.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

PROJECT = Path(__file__).parent / "java"
TARGET = PROJECT / "target"
JAVA_VERSION_WANTED = 17
BUILD_TIMEOUT_S = 600


class BuildFailed(AssertionError):
    """Maven did not do what was asked; carries its output."""


def require_java() -> None:
    """Skips the calling test where Java 17 or Maven is missing, saying so; with CI=true that fails."""
    missing = missing_tools()
    if not missing:
        return
    sentence = f"interop tests need Java {JAVA_VERSION_WANTED} and Maven: {missing}"
    if os.environ.get("CI") == "true":
        raise AssertionError(sentence)
    raise SkipTest(sentence)


@functools.cache
def missing_tools() -> str:
    """What is missing, as a phrase; empty when nothing is."""
    missing = [f"{tool} is not on the PATH" for tool in ("java", "mvn") if shutil.which(tool) is None]
    if not missing:
        shown = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=30, check=False)
        version = re.search(r'version "(\d+)', shown.stderr)
        if version is None or int(version[1]) < JAVA_VERSION_WANTED:
            missing.append(f"java is {shown.stderr.splitlines()[0] if shown.stderr else 'silent'}")
    return ", ".join(missing)


@functools.cache
def client_class_path() -> str:
    """The driver program and Apache's Java client; compiles what has changed."""
    sources = [PROJECT / "pom.xml", *sorted((PROJECT / "src").rglob("*.java"))]
    jars = _build("classpath", sources, ["compile", "dependency:build-classpath"])
    return os.pathsep.join([str(TARGET / "classes"), jars])


@functools.cache
def apache_class_path() -> str:
    """Apache's NameServer, broker and tools."""
    project = PROJECT / "apache-servers.xml"
    return _build("apache-servers.classpath", [project], ["-f", str(project), "dependency:build-classpath"])


@functools.cache
def zookeeper_class_path() -> str:
    """Apache ZooKeeper's server."""
    project = PROJECT / "zookeeper.xml"
    return _build("zookeeper.classpath", [project], ["-f", str(project), "dependency:build-classpath"])


def _build(output: str, inputs: list[Path], goals: list[str]) -> str:
    """Runs Maven unless `output` was made from the same inputs; returns the class path that it wrote."""
    state = hashlib.sha256(b"".join(file.read_bytes() for file in inputs)).hexdigest()
    stamp, class_path = TARGET / f"{output}.stamp", TARGET / output
    if not (stamp.is_file() and stamp.read_text() == state and _jars_exist(class_path)):
        command = ["mvn", "-B", "-q", *goals, f"-Dmdep.outputFile={class_path}"]
        done = subprocess.run(
            command, cwd=PROJECT, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise BuildFailed(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        stamp.write_text(state)
    return class_path.read_text().strip()


def _jars_exist(class_path: Path) -> bool:
    """False as well when the local repository was emptied since."""
    if not class_path.is_file():
        return False
    return all(Path(jar).is_file() for jar in class_path.read_text().split(os.pathsep))
