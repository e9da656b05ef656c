"""`mqstore`: looks at a store directory, ours or Apache's, and says what is in it and what is wrong with it.

Exit codes: 0 all is well, 1 damage was found or a file cannot be read, 2 the command line is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import attrs
import click

from rocketmq_tx.cli.store_dump import as_json, dump
from rocketmq_tx.cli.store_opening import (
    EXIT_CLEAN,
    EXIT_DAMAGE,
    error_line,
    of_a_store,
    progress_over,
    say_json,
)
from rocketmq_tx.cli.store_repair import repair
from rocketmq_tx.cli.store_stats import stats
from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.store.file_lock import lock_holder
from rocketmq_tx.store.store_directory import LOCK
from rocketmq_tx.store.store_files import StoreFiles
from rocketmq_tx.store.verify import VerifyReport
from rocketmq_tx.store.verify import verify as verify_store


@click.group("mqstore", context_settings={"help_option_names": ["-h", "--help"]})
def mqstore() -> None:
    """Look at a store directory, ours or Apache RocketMQ's, and see whether it is sound.

    STORE is a broker's storePathRootDir. Nothing but repair --do locks or changes anything, so a broker may
    have it open; what it is just writing may look unfinished then.
    """


@mqstore.command("verify")
@click.option("--most", type=click.IntRange(min=1), default=1000, help="Findings to show at most.")
@as_json
@of_a_store
def verify(files: StoreFiles, most: int, is_json: bool) -> int:
    """Check every record, and queues and index against the log."""
    holder = lock_holder(f"{files.root}/{LOCK}")
    if holder is not None:
        error_line(f"the process {holder} has this store open: what it writes now may look unfinished")
    with progress_over(files, "verifying") as progress:
        report = verify_store(files, progress, most, being_written=holder is not None)
    say_json(report_fields(report)) if is_json else say_report(report)
    return EXIT_CLEAN if report.is_clean else EXIT_DAMAGE


def report_fields(report: VerifyReport) -> dict[str, object]:
    """The report as one JSON object."""
    fields = attrs.asdict(report, filter=lambda attribute, _: attribute.name != "findings")
    findings = report.findings
    return {
        "clean": report.is_clean,
        **fields,
        "damage": [finding.sentence for finding in findings.kept if finding.is_damage],
        "notes": [finding.sentence for finding in findings.kept if not finding.is_damage],
        "left_out": findings.left_out,
    }


def say_report(report: VerifyReport) -> None:
    """The report as text."""
    findings = report.findings
    for finding in findings.kept:
        click.echo(f"{'DAMAGE' if finding.is_damage else 'note'}: {finding.sentence}")
    if findings.left_out:
        click.echo(f"... and {findings.left_out} more")
    click.echo(
        f"{report.records:,} whole records from {report.log_min_offset} to {report.log_end_offset}, "
        f"{report.queue_entries:,} entries in {report.queue_count:,} queues, "
        f"{report.index_entries:,} keys in {report.index_files} index files: "
        + ("no damage" if report.is_clean else f"{findings.damage_count} times damage")
    )


mqstore.add_command(dump)
mqstore.add_command(stats)
mqstore.add_command(repair)


def run(arguments: Sequence[str]) -> int:
    """Runs a command; returns the exit code."""
    try:
        code: int = mqstore.main(list(arguments), "mqstore", standalone_mode=False) or EXIT_CLEAN
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except RocketMQError as error:
        error_line(str(error))
        return EXIT_DAMAGE
    except BrokenPipeError:
        return EXIT_CLEAN  # whoever read it has seen enough
    return code


def main() -> None:
    """Console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
