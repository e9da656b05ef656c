"""`twistd rocketmq-namesrv`: its options, and the service that they make."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from rocketmq_tx.cli.daemon import Daemon, announce_on_stdout, prepare_reactor
from rocketmq_tx.cli.host import collect_host_facts
from rocketmq_tx.cli.roles import namesrv_service
from rocketmq_tx.cli.twistd_exit import exit_with_code_of, goes_to_background, refuse
from rocketmq_tx.config.settings import load_namesrv
from rocketmq_tx.errors import OperatorError


class Options(usage.Options):
    """Options after the command's name; those before it are twistd's own."""

    synopsis = "[options]"
    longdesc = "A RocketMQ 4.x NameServer: brokers register routes, clients look them up."
    optParameters = [["config", "c", None, "Properties file; without it every key has its default."]]


def makeService(options: Options) -> IService:
    """The NameServer. Ends the process with one sentence when the file cannot be used."""
    from twisted.internet import reactor  # noqa: PLC0415  (twistd chooses it before)

    prepare_reactor(reactor)
    file = Path(options["config"]) if options["config"] else None
    try:
        settings = load_namesrv(file, None, os.environ, collect_host_facts())
    except OperatorError as error:
        refuse("rocketmq-namesrv", error)
    daemon = Daemon(
        "mqnamesrv",
        lambda: namesrv_service(settings, reactor, announce_on_stdout),
        reactor,
        raises_early=goes_to_background(options),
    )
    exit_with_code_of(daemon)
    return daemon
