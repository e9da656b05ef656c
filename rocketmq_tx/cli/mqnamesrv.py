"""`mqnamesrv`: a NameServer in the foreground, with Apache's options."""

from __future__ import annotations

from pathlib import Path

from rocketmq_tx.cli.host import collect_host_facts
from rocketmq_tx.cli.launcher import Launcher, environment, script
from rocketmq_tx.cli.roles import namesrv_service
from rocketmq_tx.config.settings import NamesrvSettings, load_namesrv

HELP = """\
usage: mqnamesrv [-c <arg>] [-h] [-n <arg>] [-p]
 -c,--configFile <arg>    Name server config properties file
 -h,--help                Print help
 -n,--namesrvAddr <arg>   Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'
 -p,--printConfigItem     Print all config items"""


def load(file: Path | None, namesrv_addr: str | None) -> NamesrvSettings:
    """Settings of a NameServer. -n is taken and ignored, as by Apache's."""
    return load_namesrv(file, None, environment(), collect_host_facts())


LAUNCHER = Launcher("mqnamesrv", HELP, load, namesrv_service, says_loaded=True)


def main() -> None:
    """Console script."""
    script(LAUNCHER)


if __name__ == "__main__":
    main()
