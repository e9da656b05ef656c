"""`twistd rocketmq-broker`: its options, and the service that they make."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from rocketmq_tx.cli.host import collect_host_facts
from rocketmq_tx.cli.roles import broker_service
from rocketmq_tx.cli.twistd_exit import make_daemon
from rocketmq_tx.config.settings import BrokerSettings, load_broker


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
    overrides = {"namesrvAddr": options["namesrv"]} if options["namesrv"] else {}

    def load(file: Path | None) -> BrokerSettings:
        return load_broker(file, overrides, os.environ, collect_host_facts())

    return make_daemon("mqbroker", options, load, broker_service)
