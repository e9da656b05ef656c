"""What a message store is made of: the log, all that is derived from it, and what is known of both."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.append import Appender
from rocketmq_tx.store.checkpointing import Checkpointer
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.derived_files import DerivedFiles
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.dispatcher import Dispatcher
from rocketmq_tx.store.flush import LogFlusher
from rocketmq_tx.store.json_file import JsonFile
from rocketmq_tx.store.known_damage import KnownDamage
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.multi_dispatch import MultiDispatch
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.queue_ext import QueueExt
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.refusals import Refusals
from rocketmq_tx.store.segments import OpenFiles
from rocketmq_tx.store.store_directory import (
    CHECKPOINT,
    INDEX,
    QUEUE_EXTENSIONS,
    QUEUES,
    TABLES,
    StoreDirectory,
)


@attrs.frozen(eq=False)
class StoreParts:
    """Made once for a directory, by `make_parts`, and shared by those who read, take and recover messages."""

    config: MessageStoreConfig
    disk: Disk
    store_host: bytes
    """Packed address and port (8 or 20 bytes) that records carry."""
    notice: Callable[[str], None]
    """Gets a sentence for whatever an operator should know."""
    directory: StoreDirectory
    files: OpenFiles
    log: CommitLog
    queues: QueueTable
    ext: QueueExt
    index: MessageIndex
    pending_keys: PendingKeys
    deleted: DeletedTopics
    damage: KnownDamage
    appender: Appender
    multi_dispatch: MultiDispatch
    dispatcher: Dispatcher
    flusher: LogFlusher
    checkpointer: Checkpointer
    derived: DerivedFiles
    refusals: Refusals


def make_parts(
    config: MessageStoreConfig,
    disk: Disk,
    store_host: bytes,
    notice: Callable[[str], None],
    open_files: int,
) -> StoreParts:
    """The parts for the directory that the configuration names; nothing is opened or locked yet.

    So many `open_files` are kept open at most.
    """
    root = config.store_path_root_dir
    files, pending_keys, refusals = OpenFiles(disk, open_files), PendingKeys(), Refusals()
    log = _commit_log(config, files)
    queues = QueueTable(files, f"{root}/{QUEUES}", config.consume_queue_file_bytes)
    index = MessageIndex(
        files, f"{root}/{INDEX}", config.max_hash_slot_num, config.max_index_num, pending_keys, notice
    )
    deleted = DeletedTopics(JsonFile(disk, f"{root}/{TABLES}/deletedTopics.json", notice))
    appender = Appender(log, queues, pending_keys, store_host)
    multi_dispatch = MultiDispatch(config, queues, appender)
    dispatcher = Dispatcher(queues, pending_keys, deleted, config.delay_levels_ms, multi_dispatch)

    def flush_failed(error: StoreError) -> None:
        refusals.refuse(
            "flush", f"a flush failed and no message can be promised any more until a restart: {error}"
        )
        notice(f"no more messages are taken: {error}")

    flusher = LogFlusher(disk, log, flush_failed)
    checkpointer = Checkpointer(disk, f"{root}/{CHECKPOINT}", log, queues, index, flusher)
    return StoreParts(
        config=config,
        disk=disk,
        store_host=store_host,
        notice=notice,
        directory=StoreDirectory(disk, root),
        files=files,
        log=log,
        queues=queues,
        ext=QueueExt(files, f"{root}/{QUEUE_EXTENSIONS}", log, dispatcher.code_of),
        index=index,
        pending_keys=pending_keys,
        deleted=deleted,
        damage=KnownDamage(JsonFile(disk, f"{root}/{TABLES}/damagedLog.json", notice), notice),
        appender=appender,
        multi_dispatch=multi_dispatch,
        dispatcher=dispatcher,
        flusher=flusher,
        checkpointer=checkpointer,
        derived=DerivedFiles(config, queues, index, pending_keys, checkpointer, refusals),
        refusals=refusals,
    )


def _commit_log(config: MessageStoreConfig, files: OpenFiles) -> CommitLog:
    directories = [path.rstrip("/") for path in config.commit_log_paths]
    read_only = [path.rstrip("/") for path in config.read_only_commit_log_paths]
    return CommitLog(files, directories, read_only, config.mapped_file_size_commit_log)
