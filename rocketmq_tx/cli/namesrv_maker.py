"""`twistd rocketmq-namesrv`: its options, and the service that they make."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from rocketmq_tx.cli.host import collect_host_facts
from rocketmq_tx.cli.roles import namesrv_service
from rocketmq_tx.cli.twistd_exit import make_daemon
from rocketmq_tx.config.settings import NamesrvSettings, load_namesrv


class Options(usage.Options):
    """Options after the command's name; those before it are twistd's own."""

    synopsis = "[options]"
    longdesc = "A RocketMQ 4.x NameServer: brokers register routes, clients look them up."
    optParameters = [["config", "c", None, "Properties file; without it every key has its default."]]


def makeService(options: Options) -> IService:
    """The NameServer. Ends the process with one sentence when the file cannot be used."""

    def load(file: Path | None) -> NamesrvSettings:
        return load_namesrv(file, None, os.environ, collect_host_facts())

    return make_daemon("mqnamesrv", options, load, namesrv_service)
