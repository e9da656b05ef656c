"""`mqpromote`: makes a slave the master of its broker name, after saying what it and the others have.

Exit codes: 0 it is the master, or only what would be done was asked for; 1 refused, failed, or not to be
reached; 2 the command line is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from twisted.internet.defer import Deferred

from rocketmq_tx.cli.foreground import run_to_end
from rocketmq_tx.errors import RemotingError, RocketMQError
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import PromoteRequestHeader, PromoteResponseHeader
from rocketmq_tx.remoting.addresses import parse_address
from rocketmq_tx.remoting.caller import RemotingClient

ASK_TIMEOUT_S = 15.0
PROMOTE_TIMEOUT_S = 120.0
"""Handing over, catching up and a flush have times of their own, which are shorter."""
EXIT_DONE, EXIT_REFUSED = 0, 1


class Promotion:
    """One call of the command; `run` returns its exit code."""

    def __init__(self, address: str, force: bool, only_ask: bool, console: Console, errors: Console) -> None:
        self._address = address
        self._force = force
        self._only_ask = only_ask
        self._console = console
        self._errors = errors

    async def run(self, reactor: Any) -> int:
        """Asks, shows, and promotes unless only asked."""
        caller = RemotingClient(reactor)
        try:
            asked = await self._call(caller, ASK_TIMEOUT_S, only_ask=True)
            if asked.code != ResponseCode.SUCCESS:
                return self._refuse(asked)
            header = PromoteResponseHeader.from_ext_fields(asked.ext_fields)
            self._show(json.loads(asked.body), header)
            if self._only_ask:
                return EXIT_DONE
            done = await self._call(caller, PROMOTE_TIMEOUT_S, force=self._force)
            if done.code != ResponseCode.SUCCESS:
                return self._refuse(done, reason=header.reason)
        except RocketMQError as error:
            self._errors.print(f"mqpromote: {error}")
            return EXIT_REFUSED
        finally:
            caller.stopService()
        header = PromoteResponseHeader.from_ext_fields(done.ext_fields)
        self._console.print(f"{self._address} is the master of epoch {header.epoch}")
        return EXIT_DONE

    def _call(self, caller: RemotingClient, timeout_s: float, **fields: bool) -> Deferred[Frame]:
        frame = Frame.request(RequestCode.PROMOTE, PromoteRequestHeader(**fields))
        return caller.call(self._address, frame, timeout_s)

    def _refuse(self, answer: Frame, reason: str | None = None) -> int:
        """`reason`: the judgement, which is all that `--force` helps against."""
        if answer.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED:
            self._errors.print(f"mqpromote: {self._address} is no broker of rocketmq_tx, and cannot do this")
        else:
            self._errors.print(f"mqpromote: not promoted: {answer.remark}")
            if answer.remark == reason and not self._force:
                self._errors.print("mqpromote: --force promotes it although messages may be lost")
        return EXIT_REFUSED

    def _show(self, members: list[dict[str, Any]], header: PromoteResponseHeader) -> None:
        table = Table(box=None, pad_edge=False)
        for title, justify in (("broker", "left"), ("role", "left"), ("id", "right"), ("epoch", "right")):
            table.add_column(title, justify=justify)  # type: ignore[arg-type]
        table.add_column("log ends at", justify="right")
        for member in members:
            if "role" in member:
                cells = [member["role"], member["brokerId"], member["epoch"], member["maxOffset"]]
            else:
                cells = ["not of rocketmq_tx" if member["answers"] else "no answer", "", "", ""]
            table.add_row(member["address"], *map(str, cells))
        self._console.print(table)
        self._console.print(f"{header.verdict}: {header.reason}")


def _address(context: click.Context, parameter: click.Parameter, text: str) -> str:
    try:
        parse_address(text)
    except RemotingError as error:
        raise click.BadParameter(str(error)) from error
    return text


@click.command("mqpromote", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("slave", callback=_address)
@click.option("--force", is_flag=True, help="Promote although acknowledged messages may be lost.")
@click.option("--ask", "only_ask", is_flag=True, help="Only say what would be done.")
def promote(slave: str, force: bool, only_ask: bool) -> int:
    """Make SLAVE (host:port) the master of its broker name.

    First it is shown what it, the master and the other slaves have. A master that is alive stops taking
    messages and hands over, so that nothing is lost. When the master is gone and it cannot be proved that
    SLAVE has everything that was acknowledged, nothing happens without --force.
    """
    out = Console(soft_wrap=True, highlight=False, markup=False)
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    promotion = Promotion(slave, force, only_ask, out, errors)
    return run_to_end(promotion.run)


def main(arguments: Sequence[str] | None = None) -> None:
    """Console script."""
    try:
        code = promote.main(
            list(sys.argv[1:] if arguments is None else arguments), "mqpromote", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
