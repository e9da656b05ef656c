"""Keys of the store's files: where they lie, how large they are, how long they are kept."""

from __future__ import annotations

import os.path

from rocketmq_tx.config import values
from rocketmq_tx.config.keys import LIVE, Keys, key
from rocketmq_tx.config.values import Hours

CONSUME_QUEUE_ENTRY_BYTES = 20


class StoreFiles(Keys):
    """Files of the store."""

    __slots__ = ()

    store_path_root_dir: str = key(
        "storePathRootDir",
        "store",
        "Folder of everything a broker keeps. Relative paths start at the working directory.",
        important=True,
        from_host=lambda facts: os.path.join(facts.home, "store"),
        default_text="~/store",
    )
    store_path_commit_log: str | None = key(
        "storePathCommitLog",
        None,
        "Folder of the commit log, or several joined by commas.",
        important=True,
        default_text="commitlog below storePathRootDir",
    )
    read_only_commit_log_store_paths: str | None = key(
        "readOnlyCommitLogStorePaths", None, "Folders of the commit log that are only read from."
    )
    mapped_file_size_commit_log: int = key(
        "mappedFileSizeCommitLog",
        1073741824,
        "Size of a commit log file. A store that has files already keeps their size.",
        low=4096,
        unit="bytes",
        aliases=("mapedFileSizeCommitLog",),
    )
    mapped_file_size_consume_queue: int = key(
        "mappedFileSizeConsumeQueue",
        6000000,
        "Size of a consume queue file, 20 bytes per message; rounded up to whole entries. "
        "A store that has files already keeps their size.",
        low=CONSUME_QUEUE_ENTRY_BYTES,
        unit="bytes",
        aliases=("mapedFileSizeConsumeQueue",),
    )
    check_crc_on_recover: bool = key(
        "checkCRCOnRecover", True, "Check the checksum of each message that recovery reads."
    )
    clean_resource_interval: int = key(
        "cleanResourceInterval", 10000, "How often old files are looked for.", unit="ms", low=1
    )
    delete_commit_log_files_interval: int = key(
        "deleteCommitLogFilesInterval",
        100,
        "Pause between deleting two commit log files.",
        unit="ms",
        runtime=LIVE,
    )
    delete_consume_queue_files_interval: int = key(
        "deleteConsumeQueueFilesInterval",
        100,
        "Pause between deleting two queue files.",
        unit="ms",
        runtime=LIVE,
    )
    delete_when: str = key(
        "deleteWhen",
        "04",
        "Hours of the day in which old files are deleted, joined by semicolons.",
        type=Hours(),
        unit="hour",
        important=True,
        runtime=LIVE,
    )
    file_reserved_time: int = key(
        "fileReservedTime",
        72,
        "Keep messages at least so long. Half messages older than this are given up.",
        unit="hours",
        important=True,
        runtime=LIVE,
    )
    disk_max_used_space_ratio: int = key(
        "diskMaxUsedSpaceRatio",
        75,
        "Delete old files in any hour when the disk is fuller than this; counts as 10 to 95.",
        unit="percent",
        high=100,
        runtime=LIVE,
    )
    clean_file_forcibly_enable: bool = key(
        "cleanFileForciblyEnable",
        True,
        "Delete the oldest files whatever their age when the disk is 85 percent full.",
        important=True,
        runtime=LIVE,
    )

    @property
    def commit_log_paths(self) -> tuple[str, ...]:
        """Folders of the commit log; new files go to the first one with room."""
        given = [path.strip() for path in (self.store_path_commit_log or "").split(",")]
        return tuple(path for path in given if path) or (self.below_root("commitlog"),)

    @property
    def read_only_commit_log_paths(self) -> tuple[str, ...]:
        """Folders of the commit log that get no new files."""
        given = [path.strip() for path in (self.read_only_commit_log_store_paths or "").split(",")]
        return tuple(path for path in given if path)

    def below_root(self, *names: str) -> str:
        """A path below the root folder, such as `below_root("config", "topics.json")`."""
        return os.path.join(self.store_path_root_dir, *names)

    @property
    def consume_queue_file_bytes(self) -> int:
        """Size of a consume queue file in whole entries."""
        entries = -(-self.mapped_file_size_consume_queue // CONSUME_QUEUE_ENTRY_BYTES)
        return entries * CONSUME_QUEUE_ENTRY_BYTES

    @property
    def disk_max_used_space_percent(self) -> int:
        """`diskMaxUsedSpaceRatio` within its bounds."""
        return max(10, min(self.disk_max_used_space_ratio, 95))

    @property
    def delete_hours(self) -> frozenset[int]:
        """Hours of the day in which old files are deleted."""
        return values.hours_of_day(self.delete_when)
