"""`bin/quickstart`: starts a cluster, sends 1,000 messages, gets them back, and says how it went."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from rocketmq_tx.cli.foreground import EXIT_FAILED, EXIT_OK, run_to_end, slept
from rocketmq_tx.cli.quickstart_cluster import QuickstartCluster
from rocketmq_tx.cli.quickstart_trip import TOPIC, Trip, receive_all, send_all
from rocketmq_tx.client import SendResult
from rocketmq_tx.errors import StartError

DEFAULT_COUNT = 1000
#: Results shown at the beginning and at the end; the bar stands for those between.
SHOWN = 3
GONE_POLL_S = 0.5


@attrs.frozen
class Quickstart:
    """What was asked for on the command line."""

    data: Path | None
    keep: bool
    count: int = DEFAULT_COUNT

    async def run(self, reactor: Any) -> int:
        """The exit code: 0 only if every message came back exactly. A server's failure leaves the folder."""
        temporary = self.data is None
        folder = Path(tempfile.mkdtemp(prefix="rocketmq_tx-")) if self.data is None else _made(self.data)
        cluster = QuickstartCluster(folder, reactor)
        try:
            await cluster.start()
            print(
                f"NameServer on {cluster.namesrv_address}, broker-a on {cluster.broker_address}, "
                f"data in {folder}{' (removed at the end)' if temporary else ''}"
            )
            trip = await self._trip(cluster, reactor)
            print(trip.summary(), flush=True)
            code = EXIT_OK if trip.is_exact else EXIT_FAILED
            return await self._keep(cluster, reactor, code) if self.keep else code
        except StartError:  # it names a log below the folder
            temporary = False
            raise
        finally:
            await cluster.stop()
            if temporary:
                shutil.rmtree(folder, ignore_errors=True)

    async def _trip(self, cluster: QuickstartCluster, reactor: Any) -> Trip:
        trip = Trip()
        with Display(self.count) as display:
            await send_all(trip, self.count, cluster.namesrv_address, reactor, display.sent)
            await receive_all(trip, cluster.namesrv_address, reactor, display.received)
        return trip

    async def _keep(self, cluster: QuickstartCluster, reactor: Any, code: int) -> int:
        """Until Ctrl-C, which ends it as asked for; a server that ends by itself is a failure."""
        address = cluster.namesrv_address
        print(f"The cluster stays until Ctrl-C. Point any client at the NameServer {address}, as in")
        print(
            f"    NAMESRV_ADDR={address} bin/tools org.apache.rocketmq.example.quickstart.Producer",
            flush=True,
        )
        while await slept(reactor, GONE_POLL_S):
            gone = cluster.gone()
            if gone is not None:
                raise StartError(f"the {gone.name} has ended with {gone.exit_code}: see {gone.log_path}")
        return code


class Display:
    """Result lines as Apache's quickstart prints them, a bar between the first and the last ones.

    Where the output is no terminal there is no bar, and the lines are the same.
    """

    def __init__(self, count: int) -> None:
        console = Console(soft_wrap=True, highlight=False, markup=False)
        self._count = count
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal, auto_refresh=True
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Display:
        self._progress.start()
        self._task = self._progress.add_task(f"sending to {TOPIC}", total=self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def sent(self, number: int, result: SendResult) -> None:
        """Message `number`, counted from 0, was answered."""
        if number < SHOWN or number >= self._count - SHOWN:
            self._console.print(str(result))
        elif number == SHOWN:
            self._console.print("......")
        self._set(completed=number + 1)

    def received(self, count: int) -> None:
        """So many have come back."""
        self._set(completed=count, description=f"consuming {TOPIC}")

    def _set(self, **values: Any) -> None:
        if self._task is not None:
            self._progress.update(self._task, **values)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{folder}: no data folder can be made: {error.strerror}") from error
    return folder.resolve()


@click.command(name="quickstart")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to keep data in; else a temporary one.",
)
@click.option("--keep", is_flag=True, help="Leave the cluster running in the foreground until Ctrl-C.")
def command(data: Path | None, keep: bool) -> int:
    """Start a NameServer and a broker, send 1,000 messages to TopicTest and consume them back.

    Uses the standard ports, or free ones if they are taken. Exit code 0 only if every message came back
    exactly once.
    """
    return run_to_end(Quickstart(data, keep).run)


def main(arguments: Sequence[str] | None = None) -> None:
    """Console script."""
    try:
        code = command.main(
            list(sys.argv[1:] if arguments is None else arguments), "quickstart", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()
