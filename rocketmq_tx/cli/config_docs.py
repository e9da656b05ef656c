"""Writes docs/configuration.md from the declarations of the keys.

Call it as `python -m rocketmq_tx.cli.config_docs docs/configuration.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from rocketmq_tx.config import elsewhere
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.config.keys import APACHE, OURS, ConfigKey, keys_of
from rocketmq_tx.config.namesrv import NamesrvConfig
from rocketmq_tx.config.remoting import NettyClientConfig, NettyServerConfig
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.tls import TlsConfig

INTRODUCTION = """\
# Configuration

<!-- Written by `python -m rocketmq_tx.cli.config_docs docs/configuration.md`; change rocketmq_tx/config. -->

A daemon takes its settings, each later one winning, from built-in defaults, from the environment
(`NAMESRV_ADDR`, `ROCKETMQ_HOME`, `ROCKETMQ_SERIALIZE_TYPE`), from the properties file given with `-c`, and
from `-n` on the command line. Names, defaults and meanings are those of Apache RocketMQ 4.9.7; every key of
its broker, store, remoting and NameServer is known. `mqbroker -p` prints all settings, `mqbroker -m` the
important ones.

**The file** is a Java properties file: `key = value`, `#` comments, `\\` joins lines, UTF-8 (else Latin-1).
Blanks at the end of a value do not belong to it. Paths are relative to the working directory.
IPv6 addresses with a port are written `[::1]:10911`.

**What is wrong is said.** An unknown key is a warning that names the nearest known one. A value that cannot
be read stops the start with file, line, key and what was expected. A key that has no effect here warns when
it asks for something other than the default. A key that would change what the broker guarantees refuses the
start.

**While running**, `updateBrokerConfig` and `updateNamesrvConfig` change the keys marked *live* and no others:
no path, no address, nothing that writes or runs something elsewhere. A request is taken as a whole or not at
all; the file is written with its comments kept. A broker without `-c` writes to `config/broker.properties`
below `storePathRootDir`, which the next start reads only when told to with `-c`.

Other environment variables: `ROCKETMQ_LOG_LEVEL` (debug, info, warn, error, critical; for the launchers, and
for twistd with `--logger rocketmq_tx.cli.logs.stdout_observer`), `ROCKETMQ_RUN_DIR` (where daemons leave the
files by which `mqshutdown` finds them; `~/.rocketmq_tx/run`).

In the tables, **bold** keys are those that `-m` prints, *live* keys can be changed while running.
"""

SECTIONS = (
    ("Broker", BrokerConfig, "Who the broker is, what it allows, how it talks to NameServers."),
    ("Store, replication, delayed messages", MessageStoreConfig, "Of a broker."),
    ("Listening", NettyServerConfig, "Of a broker and of a NameServer."),
    ("Calling other processes", NettyClientConfig, "Of a broker: its NameServers and its master."),
    ("NameServer", NamesrvConfig, "Besides those for listening."),
    (
        "TLS",
        TlsConfig,
        "This version speaks no TLS; `tls.server.mode = enforcing` refuses the start.",
    ),
)


def configuration_page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(line for section in SECTIONS for line in _section(*section)), *_rest()])


def _section(title: str, settings_class: type, about: str) -> Iterator[str]:
    keys = list(keys_of(settings_class))
    working = [key for key in keys if not key.no_effect and not key.refused]
    idle = [key for key in keys if key.no_effect]
    refused = [key for key in keys if key.refused]
    yield f"## {title}\n\n{about}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for key in working:
        yield f"| {_name(key)} | {_type(key)} | {_default(key)} | {_meaning(key)} |"
    if refused:
        yield "\nThese refuse the start when they are set to anything but their default:\n"
        yield from (f"- `{key.name}` (`{key.type.show(key.default)}`): {key.refused}." for key in refused)
    if idle:
        yield "\nThese are known and do nothing here:\n"
        yield from (f"- `{key.name}` ({_default(key)}): {key.no_effect}." for key in idle)
    yield ""


def _rest() -> Iterator[str]:
    yield "## Keys that no version reads\n"
    yield "Guides name them, so they warn only when they ask for something else:\n"
    for name, place in elsewhere.DERIVED_PATHS.items():
        yield f"- `{name}`: follows from storePathRootDir, `{place}` below it."
    for name, (_, reason) in elsewhere.WITHOUT_EFFECT.items():
        yield f"- `{name}`: {reason}."
    yield ""


def _name(key: ConfigKey) -> str:
    name = f"**`{key.name}`**" if key.important else f"`{key.name}`"
    also = "".join(f"<br>also `{alias}`" for alias in key.aliases)
    return name + also + ("<br>ours" if key.origin is OURS else "")


def _type(key: ConfigKey) -> str:
    live = ", *live*" if key.changeable else ""
    return key.type.name + (f", {key.unit}" if key.unit else "") + live


def _default(key: ConfigKey) -> str:
    if key.default_text:
        return key.default_text
    shown = key.type.show(key.default)
    return f"`{shown}`" if shown else "not set"


def _meaning(key: ConfigKey) -> str:
    return key.doc if key.origin is not APACHE or not _is_choice(key) else f"{key.doc} ({key.type.expected}.)"


def _is_choice(key: ConfigKey) -> bool:
    return key.type.expected.count(" or ") == 1 and key.type.name not in ("boolean", "String")


@click.command()
@click.argument("page", type=click.Path(dir_okay=False, path_type=Path), required=False)
def main(page: Path | None) -> None:
    """Writes the page of all configuration keys to PAGE, or prints it."""
    text = configuration_page()
    if page is None:
        click.echo(text, nl=False)
    else:
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
