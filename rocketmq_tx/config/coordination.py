"""The value of `autoFailover`: where the brokers of a name agree."""

from __future__ import annotations

from rocketmq_tx.config.addresses import parse_addresses
from rocketmq_tx.errors import ConfigError

_SCHEME = "zookeeper://"


def parse_coordination(text: str) -> tuple[str, str]:
    """(`host:port,host:port`, path without a slash at its end) of `zookeeper://host:port,.../path`.

    ConfigError that says what is wrong.
    """
    hosts, slash, path = text.removeprefix(_SCHEME).partition("/")
    names = [part.strip() for part in hosts.split(",")]
    try:
        if not text.startswith(_SCHEME) or not all(names):
            raise ValueError("no scheme or no host")
        parse_addresses(";".join(names))
        path = (slash + path).rstrip("/")
        if "//" in path or any(part in (".", "..") for part in path.split("/")):
            raise ValueError("no path")
    except (ValueError, ConfigError) as error:
        raise ConfigError(
            f"autoFailover={text} is not understood: expected zookeeper://host:port/path, with several"
            " servers zookeeper://host:port,host:port/path"
        ) from error
    return ",".join(names), path
