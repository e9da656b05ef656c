"""What a recovery works on: a log, and all that is made to fit it."""

from __future__ import annotations

import attrs

from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.dispatcher import Dispatcher
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.opening_progress import OpeningProgress
from rocketmq_tx.store.plain_records import PlainRecords
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.recovery_report import RecoveryReport


@attrs.frozen(eq=False)
class Recoverable:
    """The files are loaded, and not judged yet."""

    log: CommitLog
    queues: QueueTable
    index: MessageIndex | None
    """None where no index is kept."""
    deleted: DeletedTopics
    dispatcher: Dispatcher
    plain: PlainRecords
    check_crc: bool
    """Whether bodies are checked, too (`checkCRCOnRecover`)."""
    progress: OpeningProgress
    report: RecoveryReport
    """Gets what operators should know; its `clean` says whether the store was closed in order."""
    index_missing_from: int | None = None
    """The name, as a number, of the first file of the index that was set aside."""
