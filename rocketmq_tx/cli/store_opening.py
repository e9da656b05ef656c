"""What the commands of `mqstore` share: which store is meant, how far they are, how they end."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from rocketmq_tx.cli.host import collect_host_facts
from rocketmq_tx.config.settings import load_broker
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import OperatorError
from rocketmq_tx.store.read_only_disk import ReadOnlyDisk
from rocketmq_tx.store.store_files import IndexSize, StoreFiles

EXIT_CLEAN = 0
EXIT_DAMAGE = 1
Item = TypeVar("Item")
Command = TypeVar("Command", bound=Callable[..., Any])


def of_a_store(command: Command) -> Command:
    """Adds the STORE argument and -c; the command gets `files`, a `StoreFiles`."""
    return _with_store("files", store_files, command)


def of_a_store_config(command: Command) -> Command:
    """The same; the command gets `config`, a `MessageStoreConfig`."""
    return _with_store("config", store_config, command)


def _with_store(name: str, make: Callable[[Path | None, Path | None], object], command: Command) -> Command:
    @click.argument("store", required=False, type=click.Path(path_type=Path))
    @click.option(
        "-c", "--config", "config_file", type=click.Path(path_type=Path), help="The broker's properties file."
    )
    @functools.wraps(command)
    def with_store(store: Path | None, config_file: Path | None, **more: Any) -> Any:
        return command(**{name: make(store, config_file)}, **more)

    return with_store  # type: ignore[return-value]


def store_files(store: Path | None, config_file: Path | None) -> StoreFiles:
    """The files of the directory, or of the broker whose file is given; UsageError when there is no store."""
    config = store_config(store, config_file)
    return StoreFiles(
        ReadOnlyDisk(),
        config.store_path_root_dir,
        log_directories(config),
        IndexSize(config.max_hash_slot_num, config.max_index_num),
    )


def log_directories(config: MessageStoreConfig) -> tuple[str, ...]:
    """All in which the commit log may have files."""
    return tuple(dict.fromkeys((*config.commit_log_paths, *config.read_only_commit_log_paths)))


def store_config(store: Path | None, config_file: Path | None) -> MessageStoreConfig:
    """The store's part of a broker's settings; a directory given wins over the file's.

    UsageError when there is no store.
    """
    if store is None and config_file is None:
        raise click.UsageError("name the store directory, or the broker's file with -c")
    try:
        config = load_broker(config_file, {}, {}, collect_host_facts()).store
    except OperatorError as error:
        raise click.UsageError(str(error)) from error
    if store is not None:
        if not store.is_dir():
            raise click.UsageError(f"{store} is no directory")
        if str(store) != config.store_path_root_dir:
            config.store_path_commit_log = None
        config.store_path_root_dir = str(store)
    root = config.store_path_root_dir
    places = [*log_directories(config), os.path.join(root, "consumequeue"), os.path.join(root, "config")]
    if not any(map(os.path.isdir, places)):
        raise click.UsageError(f"{root} is no store: it has no commitlog, consumequeue or config")
    return config


@contextlib.contextmanager
def progress_over(files: StoreFiles, what: str, lines: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr; the function given is told the commit log offset reached."""
    first = files.log[0].start if files.log else 0
    claim = files.checkpoint().claim
    # The newest file is mostly empty: a checkpoint of ours knows better where the log ends.
    end_of_files = files.log[-1].start + files.log[-1].size if files.log else 0
    end = min(claim.dispatched_to, end_of_files) if claim is not None else end_of_files
    with bytes_progress(what, end - first, lines) as (progress, task):
        yield lambda offset: progress.update(task, completed=offset - first)


@contextlib.contextmanager
def bytes_progress(what: str, total: int, lines: bool = False) -> Iterator[tuple[Progress, TaskID]]:
    """A bar over so many bytes on a terminal's stderr."""
    with _bar(DownloadColumn(), lines) as progress:
        yield progress, progress.add_task(what, total=total)


def _bar(figures: ProgressColumn, lines: bool) -> Progress:
    """On a terminal only. Where `lines` are shown meanwhile, on a terminal themselves, they tell enough."""
    console = Console(stderr=True)
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), figures, TimeRemainingColumn()),
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=not console.is_terminal or (lines and sys.stdout.isatty()),
    )


def shown_progress(items: Sequence[Item], what: str, lines: bool = False) -> Iterable[Item]:
    """The items one by one, with a bar on a terminal's stderr."""
    with _bar(MofNCompleteColumn(), lines) as progress:
        yield from progress.track(items, description=what)


def say_json(fields: dict[str, Any]) -> None:
    """One JSON line."""
    click.echo(json.dumps(fields, ensure_ascii=False))


def printable(text: str) -> str:
    """Text that does nothing to a terminal: control characters are written out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def error_line(sentence: str) -> None:
    """A sentence for the operator."""
    click.echo(f"mqstore: {sentence}", err=True)
    sys.stderr.flush()
