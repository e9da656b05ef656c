"""`tools CLASS [ARG ...]`: runs the program that Apache ships under a class name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

#: Class -> module and function that take its arguments and return an exit code or nothing.
PROGRAMS = {
    "org.apache.rocketmq.example.quickstart.Producer": ("rocketmq_tx.cli.quickstart_programs", "producer"),
    "org.apache.rocketmq.example.quickstart.Consumer": ("rocketmq_tx.cli.quickstart_programs", "consumer"),
}


def usage() -> str:
    """How to call it, with the classes that are known."""
    return "\n".join(["usage: tools CLASS [ARG ...]", "classes:", *(f"  {name}" for name in PROGRAMS)])


def program(name: str) -> Callable[[list[str]], int | None] | None:
    """The program of a class; None for an unknown one."""
    if name not in PROGRAMS:
        return None
    module, function = PROGRAMS[name]
    found: Callable[[list[str]], int | None] = getattr(importlib.import_module(module), function)
    return found


def run(arguments: Sequence[str]) -> int:
    """Runs a program and returns its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 1
    chosen = program(arguments[0])
    if chosen is None:
        print(f"tools: no program is known as {arguments[0]}\n{usage()}", file=sys.stderr)
        return 1
    return chosen(list(arguments[1:])) or 0


def main() -> None:
    """Console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
