"""Clients other than Java 4.9.7, made ready to run: built or installed once, in directories that git ignores.

A build is made again when its inputs change. A tool that is missing skips the calling test, saying so; with
CI=true that fails.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import SkipTest

from attrs import define, field

from tests.interop import toolchain

HERE = Path(__file__).parent
BUILD_TIMEOUT_S = 600
TARGET = "target"


@define(frozen=True, eq=False)
class Build:
    """A client in a directory of its own under tests/interop."""

    name: str
    folder: str
    inputs: tuple[str, ...]
    """Globs of the files that it is made from."""
    tools: tuple[str, ...]
    make: tuple[str, ...]
    """The command that builds it; {target} is the directory for what it makes."""
    run: Callable[[Path], list[str]]
    """Its directory of things made -> the command that starts it; NameServer and group come behind."""
    environment: Callable[[Path, Path], Mapping[str, str]] = lambda target, home: {}
    """The same directory and the client's home of one run -> what it wants in its environment besides."""
    make_environment: Mapping[str, str] = field(factory=dict)
    copied: tuple[str, ...] = ()
    """Files that the command wants in that directory."""

    @property
    def home(self) -> Path:
        return HERE / self.folder

    @property
    def target(self) -> Path:
        return self.home / TARGET / self.name

    def require(self) -> None:
        """Skips the calling test, or fails it with CI=true, where a tool is missing."""
        missing = [f"{tool} is not on the PATH" for tool in self.tools if shutil.which(tool) is None]
        if "mvn" in self.tools and not missing and toolchain.missing_tools():
            missing.append(toolchain.missing_tools())
        if not missing:
            return
        sentence = f"the client {self.name} cannot be tested: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            raise AssertionError(sentence)
        raise SkipTest(sentence)

    def command(self) -> list[str]:
        """The command that starts the client, which is built first if need be."""
        make_ready(self)
        return self.run(self.target)


@functools.cache
def make_ready(build: Build) -> None:
    """Runs the build unless its outcome was made from the same inputs."""
    files = sorted(path for pattern in build.inputs for path in build.home.glob(pattern))
    digest = hashlib.sha256(repr(build.make).encode())
    for file in files:
        digest.update(file.read_bytes())
    stamp = build.target / "stamp"
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return
    shutil.rmtree(build.target, ignore_errors=True)
    build.target.mkdir(parents=True)
    command = [part.replace("{target}", str(build.target)) for part in build.make]
    for name in build.copied:
        shutil.copy(build.home / name, build.target)
    done = subprocess.run(
        command,
        cwd=build.home,
        env={**os.environ, **build.make_environment},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise toolchain.BuildFailed(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    stamp.write_text(digest.hexdigest())


def _java(version: str) -> Build:
    return Build(
        name=version,
        folder="java-versions",
        inputs=("pom.xml", "src/**/*.java"),
        tools=("java", "mvn"),
        make=(
            "mvn",
            "-B",
            "-q",
            f"-Drocketmq.version={version}",
            "compile",
            "dependency:build-classpath",
            "-Dmdep.outputFile={target}/classpath",
        ),
        run=_java_command,
        environment=lambda target, home: {"JDK_JAVA_OPTIONS": f"-Duser.home={home}"},
    )


def _java_command(target: Path) -> list[str]:
    class_path = os.pathsep.join([str(target / "classes"), (target / "classpath").read_text().strip()])
    opened = ("java.nio", "sun.nio.ch", "java.lang", "jdk.internal.misc")
    return [
        "java",
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in opened),
        "-Dio.netty.tryReflectionSetAccessible=true",
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        class_path,
        "interop.VersionDriver",
    ]


GO = Build(
    name="go",
    folder="go",
    inputs=("go.mod", "go.sum", "main.go"),
    tools=("go",),
    make=("go", "build", "-o", "{target}/client", "."),
    run=lambda target: [str(target / "client")],
    environment=lambda target, home: {"ROCKETMQ_GO_LOG_LEVEL": "error"},
    make_environment={"GOFLAGS": "-mod=readonly -buildvcs=false"},
)

NODE = Build(
    name="node",
    folder="node",
    inputs=("package.json",),
    tools=("node", "npm"),
    make=(
        "npm",
        "install",
        "--prefix",
        "{target}",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--no-package-lock",
    ),
    copied=("package.json",),
    run=lambda target: ["node", str(HERE / "node" / "main.js"), str(target)],
)

CPP = Build(
    name="cpp",
    folder="cpp",
    inputs=("requirements.txt",),
    tools=(),
    make=(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
        "{target}/packages",
        "-r",
        "requirements.txt",
    ),
    run=lambda target: [sys.executable, str(HERE / "cpp" / "main.py")],
    environment=lambda target, home: {"PYTHONPATH": str(target / "packages")},
)

BUILDS = {"java-4.5.1": _java("4.5.1"), "java-5.1.4": _java("5.1.4"), "go": GO, "node": NODE, "cpp": CPP}
