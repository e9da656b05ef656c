"""`mqbroker`: a broker in the foreground, with Apache's options."""

from __future__ import annotations

from pathlib import Path

from rocketmq_tx.cli.host import collect_host_facts
from rocketmq_tx.cli.launcher import Launcher, environment, script
from rocketmq_tx.cli.roles import broker_service
from rocketmq_tx.config.settings import BrokerSettings, load_broker

HELP = """\
usage: mqbroker [-c <arg>] [-h] [-m] [-n <arg>] [-p]
 -c,--configFile <arg>       Broker config properties file
 -h,--help                   Print help
 -m,--printImportantConfig   Print important config item
 -n,--namesrvAddr <arg>      Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'
 -p,--printConfigItem        Print all config item"""


def load(file: Path | None, namesrv_addr: str | None) -> BrokerSettings:
    """Settings of a broker; -n wins over file and environment."""
    overrides = {"namesrvAddr": namesrv_addr} if namesrv_addr else {}
    return load_broker(file, overrides, environment(), collect_host_facts())


LAUNCHER = Launcher("mqbroker", HELP, load, broker_service)


def main() -> None:
    """Console script."""
    script(LAUNCHER)


if __name__ == "__main__":
    main()
