"""`twistd rocketmq-broker`: its options, and the service that they make."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from rocketmq_tx.cli.daemon import Daemon, announce_on_stdout, prepare_reactor
from rocketmq_tx.cli.host import collect_host_facts
from rocketmq_tx.cli.roles import broker_service
from rocketmq_tx.cli.twistd_exit import exit_with_code_of, goes_to_background, refuse
from rocketmq_tx.config.settings import load_broker
from rocketmq_tx.errors import OperatorError


class Options(usage.Options):
    """Options after the command's name; those before it are twistd's own."""

    synopsis = "[options]"
    longdesc = "A RocketMQ 4.x broker: accepts, stores and delivers messages."
    optParameters = [
        ["config", "c", None, "Properties file; without it every key has its default."],
        ["namesrv", "n", None, "NameServers, host:port[;host:port]; else namesrvAddr or NAMESRV_ADDR."],
    ]


def makeService(options: Options) -> IService:
    """The broker. Ends the process with one sentence when the file cannot be used."""
    from twisted.internet import reactor  # noqa: PLC0415  (twistd chooses it before)

    prepare_reactor(reactor)
    file = Path(options["config"]) if options["config"] else None
    overrides = {"namesrvAddr": options["namesrv"]} if options["namesrv"] else {}
    try:
        settings = load_broker(file, overrides, os.environ, collect_host_facts())
    except OperatorError as error:
        refuse("rocketmq-broker", error)
    daemon = Daemon(
        "mqbroker",
        lambda: broker_service(settings, reactor, announce_on_stdout),
        reactor,
        raises_early=goes_to_background(options),
    )
    exit_with_code_of(daemon)
    return daemon
