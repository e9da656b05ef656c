"""Compares our broker with Apache RocketMQ 4.9.7 under the same loads, in turn, on this machine.

    benchmarks/compare                                        # everything, more than an hour
    benchmarks/compare --scenario raw-send --scenario raw-pull
    benchmarks/compare --list

Each scenario's figures are kept as JSON in the folder of `--out` when it is done; table and picture are made
from all that is there, so that a comparison can be run in slices. Apache needs Java 17 and Maven.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.comparison import plots, report
from benchmarks.comparison.results import load, save
from benchmarks.comparison.running import Options, run
from benchmarks.comparison.scenarios import BY_NAME, SCENARIOS
from benchmarks.comparison.sides import APACHE, SIDES
from tests.interop import toolchain

RESULTS = Path(__file__).parent.parent / "results"
DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"


def main() -> int:
    options = _parser().parse_args()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:28} {scenario.group.name:14} {scenario.title}")
        return 0
    sides = [options.only] if options.only else list(SIDES)
    if APACHE in sides and not options.report and toolchain.missing_tools():
        print(f"Apache cannot be run here: {toolchain.missing_tools()}; --only ours", file=sys.stderr)
        return 1
    # Ends as an exception does, so that the servers go with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if not options.report:
        wanted = [BY_NAME[name] for name in options.scenario or BY_NAME]
        with tempfile.TemporaryDirectory(prefix="bench-stores-") as temporary:
            stores = options.stores or Path(temporary)
            how = Options(
                sides,
                options.rounds,
                options.seconds,
                options.warm_up,
                options.messages,
                options.attempts,
                stores,
            )
            for result in run(wanted, how, lambda line: print(line, flush=True)):
                save(options.out, result)
                write_report(options.out)
    write_report(options.out)
    print(f"{options.out / 'README.md'}")
    return 0


def write_report(folder: Path) -> None:
    """Table and picture of all that is kept there; the docs tell what is in the project's own folder."""
    kept = load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = report.markdown(SCENARIOS, kept)
    heading = "# Side by side with Apache RocketMQ 4.9.7\n\nMade by `benchmarks/compare`.\n\n"
    (folder / "README.md").write_text(heading + table, encoding="utf-8")
    if folder.resolve() == RESULTS.resolve():
        DOCUMENT.write_text(report.inserted(DOCUMENT.read_text("utf-8"), table), encoding="utf-8")
    if not plots.draw(folder / "ratios.svg", SCENARIOS, kept):
        print("no picture: matplotlib is not there (pip install .[benchmarks])")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenario", action="append", choices=list(BY_NAME), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="the names of all scenarios")
    parser.add_argument("--rounds", type=int, default=5, help="counted ones; one before is not")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one round on one side")
    parser.add_argument("--warm-up", type=float, default=60.0, metavar="SECONDS", help="of Apache, by group")
    parser.add_argument("--messages", type=int, default=10_000_000, help="of the scenarios about many")
    parser.add_argument("--attempts", type=int, default=2, help="at a round, while others use the machine")
    parser.add_argument("--stores", type=Path, help="folder in which big stores are kept for the next run")
    parser.add_argument("--only", choices=SIDES, help="one side alone")
    parser.add_argument("--report", action="store_true", help="nothing is run: table and picture again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
