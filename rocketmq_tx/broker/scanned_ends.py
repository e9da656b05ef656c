"""The short cut for ends of transactions as Java clients write them: a run of them, stored by one append.

Nearly every transaction ends right after its half message was stored, by its producer, once. Such an end
finds the half message in memory (`OpenTransactions.sent`), and what its properties say in its outline: it
costs two tuples. Whatever is out of the ordinary - another copy, a delay, a check that fails, a second
decision - goes the general way, `EndTransactions`. Both ways store the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from rocketmq_tx.broker.transaction_messages import op_message, plainly_committed
from rocketmq_tx.broker.transaction_rules import table_key
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import MessageError, RequestRefused
from rocketmq_tx.protocol.decoder import SCANNED_END
from rocketmq_tx.protocol.flags import SysFlag
from rocketmq_tx.protocol.frame_codec import decode_frame
from rocketmq_tx.remoting.registry import serves_runs

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.end_transactions import EndTransactions
    from rocketmq_tx.broker.transaction_log import TransactionLog
    from rocketmq_tx.config.store import MessageStoreConfig
    from rocketmq_tx.protocol.end_scan import ScannedEnd
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.append import NewMessage

_COMMIT = int(SysFlag.TRANSACTION_COMMIT)


class ScannedEnds:
    """Serves runs of `end_scan.ScannedEnd`, all of them one-way; `general` serves what is not ordinary."""

    def __init__(
        self,
        config: MessageStoreConfig,
        appending: Appending,
        log: TransactionLog,
        general: EndTransactions,
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._appending = appending
        self._log = log
        self._general = general
        self._now_ms = now_ms

    @serves_runs(SCANNED_END)
    def end_scanned(self, peer: Peer, run: list[ScannedEnd]) -> list[bytes | Deferred[bytes]]:
        """Never an answer, but for a Deferred that says when half messages that are read again have been."""
        if self._config.broker_role is BrokerRole.SLAVE:
            return self._end_generally(peer, run)
        now_ms = self._now_ms()
        find, broker_host = self._log.table.find, self._log.broker_host
        messages: list[NewMessage] = []
        ended: set[str] = set()
        commits = 0
        others: list[ScannedEnd] = []
        for end in run:
            group, unique_key, offset, half_offset, decision, _ = end
            key = table_key(unique_key, group)
            transaction = find(key)
            if transaction is None or transaction.message is None or key in ended:
                others.append(end)
                continue
            outline = transaction.outline
            if (
                outline is None
                or outline.real_queue is None
                or outline.producer_group != group
                or transaction.first_commit_log_offset != offset
                or transaction.copies[-1] != half_offset
            ):
                others.append(end)
                continue
            ended.add(key)
            if decision == _COMMIT:
                commits += 1
                messages.append(plainly_committed(transaction.message, outline.real_queue, offset))
            messages.append(op_message(half_offset, broker_host, now_ms))
        if ended and not self._store(messages, now_ms):
            return self._end_generally(peer, run)
        figures = self._log.figures
        figures.commits += commits
        figures.rollbacks += len(ended) - commits
        return self._end_generally(peer, others) if others else []

    def _store(self, messages: list[NewMessage], now_ms: int) -> bool:
        """False when nothing was stored; the general way finds out what can be."""
        try:
            self._appending.append(messages, now_ms)
        except (RequestRefused, MessageError):
            return False
        return True

    def _end_generally(self, peer: Peer, run: list[ScannedEnd]) -> list[bytes | Deferred[bytes]]:
        frames: list[Any] = [decode_frame(end.payload) for end in run]
        return self._general.end(peer, frames)
