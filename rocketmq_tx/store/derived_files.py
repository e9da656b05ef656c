"""Files that are derived from the log: queue entries and keys wait in memory until written here.

Whatever of them is lost, a start takes from the log again; checkpoints say from where on it has to look.
"""

from __future__ import annotations

from collections.abc import Iterable

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.checkpointing import Checkpointer, CheckpointJob, Claimed
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.refusals import Refusals

PENDING_KEYS_MAX = 16_384
"""So many messages may wait for the index; then the next append enters their keys."""
BITES_ASIDE_MAX = 64
"""So many bites of keys, a few thousand each, a start leaves for later: 30 MB at most, mostly a third."""
_PAGE_BYTES = 4096


class DerivedFiles:
    """Writes queues and index, and makes checkpoints of a store.

    `dispatched_to` is where the last message ends that queues and keys know of. `refusals` are why the store
    takes no messages: an index that cannot be written is one.
    """

    def __init__(
        self,
        config: MessageStoreConfig,
        queues: QueueTable,
        index: MessageIndex,
        pending_keys: PendingKeys,
        checkpointer: Checkpointer,
        refusals: Refusals,
    ) -> None:
        self._config = config
        self._queues = queues
        self._index = index
        self._pending_keys = pending_keys
        self._checkpointer = checkpointer
        self._refusals = refusals
        self.dispatched_to = self._claimed_to = self._claiming = 0

    def start_at(self, offset: int, claimed_to: int) -> None:
        """The store has been recovered, up to there; a checkpoint covers so much of it."""
        self.dispatched_to, self._claimed_to = offset, claimed_to

    # -- writing -------------------------------------------------------------------------------------------

    def write_all(self, now_ms: int) -> None:
        """Writes queue entries and keys that wait in memory; on StoreError the rest goes on waiting."""
        self._queues.write_dirty()
        self.write_index(now_ms)

    def write_while_starting(self, now_ms: int) -> None:
        """As `write_all`, but keys that are aside are left for later, unless they are too many."""
        self._queues.write_dirty()
        if not self._config.message_index_enable or len(self._pending_keys.aside) > BITES_ASIDE_MAX:
            self.write_index(now_ms)

    def write_some_queues(self, most: int) -> int:
        """Writes the entries of so many queues that wait in memory; returns how many queues still do."""
        self._queues.write_dirty(most)
        return len(self._queues.dirty)

    def queues_due(self) -> list[ConsumeQueue]:
        """For `write_queues`, some at a time: the queues whose waiting entries are worth a write."""
        return self._queues.due(self._config.flush_consume_queue_least_pages * _PAGE_BYTES)

    def queues_waiting(self) -> list[ConsumeQueue]:
        """For `write_queues`, some at a time: all that have entries in memory."""
        return list(self._queues.dirty)

    def write_queues(self, queues: Iterable[ConsumeQueue]) -> None:
        """Writes the waiting entries of these."""
        self._queues.write(queues)

    def write_index(self, now_ms: int) -> None:
        """Enters the keys that wait in memory: a small bite every few milliseconds is best."""
        if self._config.message_index_enable:
            self._index.write(now_ms)
        else:
            self._pending_keys.clear()
        self._refusals.accept("index")

    @property
    def keys_waiting(self) -> int:
        """About how many keys of new messages `write_index` would enter."""
        return self._pending_keys.waiting

    def write_index_bite(self, now_ms: int) -> bool:
        """As `write_index`, but only a bite of what a start has left; whether there was any."""
        if not self.is_index_behind:
            self.write_index(now_ms)
            return False
        self._index.write_bite(now_ms)
        self._refusals.accept("index")
        return True

    @property
    def is_index_behind(self) -> bool:
        """Whether a start has left keys, or slots to be looked through, for `write_index_bite`."""
        return self._index.is_behind

    @property
    def index_sentence(self) -> str:
        """What is left of that, for people."""
        return self._index.left_sentence

    def bound_pending_keys(self, now_ms: int) -> None:
        """Nobody has entered keys for long: now it is done; should that fail, the next message is refused."""
        try:
            self.write_index_bite(now_ms)
        except StoreError as error:
            self._refusals.refuse("index", f"the message index cannot be written: {error}")

    # -- checkpoints ---------------------------------------------------------------------------------------

    def claim_checkpoint(self, now_ms: int) -> Claimed:
        """Writes the keys that wait; what is in queues and index now is what the checkpoint will claim.

        Then write all `queues_waiting`, in turns of your own, and `begin_claimed`, or else `give_up_claimed`.
        One at a time. StoreError when something cannot be written.
        """
        self.write_index(now_ms)
        claimed = self._checkpointer.claim(self.dispatched_to, self._config.message_index_enable)
        self._claiming = self.dispatched_to
        return claimed

    def begin_claimed(self, claimed: Claimed) -> CheckpointJob:
        """Call the job's `run` in a thread, then hand it to `finish_checkpoint`."""
        return self._checkpointer.begin(claimed)

    def give_up_claimed(self, claimed: Claimed) -> None:
        """Entries of queues could not be written."""
        self._checkpointer.give_up(claimed)

    def begin_checkpoint(self, now_ms: int) -> CheckpointJob:
        """The three together: writes whatever waits in memory at once."""
        self._queues.write_dirty()
        return self.begin_claimed(self.claim_checkpoint(now_ms))

    def finish_checkpoint(self, job: CheckpointJob) -> None:
        """Takes back a job that has run. StoreError when it failed; what it was to sync stays due."""
        self._checkpointer.finish(job)
        self._claimed_to = self._claiming

    def save_checkpoint(self, now_ms: int) -> None:
        """All of it at once, waiting for the device."""
        job = self.begin_checkpoint(now_ms)
        job.run()
        self.finish_checkpoint(job)

    def queues_removed(self, now_ms: int) -> None:
        """A checkpoint that counts them would not fit any more: another one is made.

        The one under way tells the next, as bites of the index do; a crash before that only makes the start
        slower.
        """
        if not self._checkpointer.is_running and not self.is_index_behind:
            self.save_checkpoint(now_ms)

    @property
    def unclaimed_bytes(self) -> int:
        """What a start after a crash would read of the log, as no checkpoint covers it."""
        return self.dispatched_to - self._claimed_to
