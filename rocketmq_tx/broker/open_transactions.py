"""The transactions that are open: fed with half and op messages in the order of the log, asked by key.

    half message (or a copy) -> opens a transaction, or becomes the newest copy of an open one
    op message               -> ends the transaction of the copy that it names, all copies of it

The same steps build the table from the log at a start and keep it while messages come in, so both agree.
Memory and work are bounded by what is open; finished transactions leave nothing behind but progress.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import NamedTuple

import attrs

from rocketmq_tx.broker.half_outlines import HalfOutline
from rocketmq_tx.broker.transaction_rules import HalfMessage, unique_key_of
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.store.append import NewMessage

KEPT_BYTES_MAX = 32 << 20
"""So much of half messages is kept in memory, so that ends find them there; the others are read again."""


@attrs.define(eq=False)
class OpenTransaction:
    """A half message that is neither committed nor rolled back, with every copy that is known of it."""

    key: str
    copies: list[int]
    """Queue offsets, the oldest first; `newest` is the last."""
    first_commit_log_offset: int
    begins_with_copy: bool
    """Copies may exist that are older than those known: they were passed before the table was built."""
    _newest: HalfMessage | None = None
    message: NewMessage | None = None
    """The producer's half message as long as it is the only copy, and there is room for it."""
    stored_ms: int = 0
    outline: HalfOutline | None = None
    """What the properties of `message` say."""

    @property
    def unique_key(self) -> str:
        return unique_key_of(self.key)

    @property
    def newest(self) -> HalfMessage:
        """Most transactions end before anybody wants to know."""
        half = self._newest
        if half is None:
            assert self.message is not None
            properties, born_ms = unpack_properties(self.message[4]), self.message[7]
            half = self._newest = HalfMessage.read(
                properties, self.copies[-1], self.first_commit_log_offset, self.stored_ms, born_ms
            )
        return half

    @property
    def first_offset(self) -> int | None:
        """Queue offset of the first copy if that is not among `copies`."""
        return None if self._newest is None else self._newest.first_offset


class Progress(NamedTuple):
    """Where a reader of both topics has to begin to find everything that is open (queue offsets)."""

    half: int
    op: int


class OpenTransactions:
    """Open transactions by key, ordered by the place of their newest copy."""

    def __init__(self, half_offset: int = 0, op_offset: int = 0) -> None:
        self._by_key: OrderedDict[str, OpenTransaction] = OrderedDict()
        self._by_offset: dict[int, OpenTransaction] = {}
        self._half_end = half_offset
        self._op_start = op_offset
        self._kept_bytes = 0
        self._ops: deque[tuple[int, ...]] = deque()
        """What each op message from `_op_start` on names; those at the front are forgotten when passed."""

    # -- reading -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[OpenTransaction]:
        """All, those first whose newest copy is oldest; not to be changed meanwhile."""
        return iter(self._by_key.values())

    def find(self, key: str) -> OpenTransaction | None:
        return self._by_key.get(key)

    def find_copy(self, key: str, queue_offset: int) -> OpenTransaction | None:
        """The open transaction of which there is a copy at that place of the half queue."""
        transaction = self._by_key.get(key)
        if transaction is None or queue_offset in transaction.copies:
            return transaction
        is_older = queue_offset < transaction.copies[0]
        return transaction if is_older and transaction.begins_with_copy else None

    @property
    def oldest(self) -> OpenTransaction | None:
        """The one whose newest copy is oldest: it holds progress back."""
        return next(iter(self._by_key.values()), None)

    @property
    def half_end(self) -> int:
        """Where the next half message will stand."""
        return self._half_end

    @property
    def progress(self) -> Progress:
        return Progress(self._half_progress(), self._op_start)

    # -- what happens --------------------------------------------------------------------------------------

    def half_stored(self, half: HalfMessage) -> None:
        """A half message, or a copy of one, stands in the queue."""
        self._half_end = max(self._half_end, half.queue_offset + 1)
        transaction = self._by_key.get(half.key)
        if transaction is None:
            transaction = OpenTransaction(
                half.key, [half.queue_offset], half.commit_log_offset, half.is_copy, half
            )
            self._by_key[half.key] = transaction
        else:
            self._let_go(transaction)
            transaction._newest = half
            transaction.copies.append(half.queue_offset)
            self._by_key.move_to_end(half.key)
        self._by_offset[half.queue_offset] = transaction
        if half.first_offset is not None:
            self._by_offset.setdefault(half.first_offset, transaction)
        self._pass_ops()

    def passed(self, queue_offset: int) -> None:
        """A copy stands in the queue of a transaction that has ended: nobody wants it."""
        self._half_end = max(self._half_end, queue_offset + 1)
        self._pass_ops()

    def at(self, queue_offset: int) -> OpenTransaction | None:
        """The open transaction that has a copy at that place of the half queue."""
        return self._by_offset.get(queue_offset)

    def sent(
        self,
        key: str,
        message: NewMessage,
        outline: HalfOutline,
        queue_offset: int,
        commit_log_offset: int,
        stored_ms: int,
    ) -> bool:
        """A producer's half message stands in the queue: nearly all begin so, and end in a moment.

        False when nothing was done, since there is one of the key already, or no room to keep messages.
        """
        size = len(message[2]) + len(message[4])
        if key in self._by_key or self._kept_bytes + size > KEPT_BYTES_MAX:
            return False
        self._kept_bytes += size
        transaction = OpenTransaction(
            key, [queue_offset], commit_log_offset, False, None, message, stored_ms, outline
        )
        self._by_key[key] = self._by_offset[queue_offset] = transaction
        self._half_end = queue_offset + 1
        return True

    def _let_go(self, transaction: OpenTransaction) -> None:
        """Its message is not kept any longer."""
        message = transaction.message
        if message is not None:
            transaction.newest  # noqa: B018  from now on it cannot be made
            self._kept_bytes -= len(message[2]) + len(message[4])
            transaction.message = None

    def op_stored(self, op_offset: int, half_offsets: tuple[int, ...]) -> None:
        """An op message stands in its queue; it stands behind what it ends, so that others are none."""
        half_offsets = tuple(offset for offset in half_offsets if offset < self._half_end)
        if op_offset == self._op_start + len(self._ops):
            self._ops.append(half_offsets)
        for half_offset in half_offsets:
            transaction = self._by_offset.get(half_offset)
            if transaction is not None:
                self._remove(transaction)
        self._pass_ops()

    def counted(self, transaction: OpenTransaction) -> None:
        """It was asked about without a new copy, since none can be stored."""
        half = transaction.newest
        self._let_go(transaction)  # the answer to the check goes the general way, as those for copies do
        transaction._newest = attrs.evolve(half, checks_done=half.checks_done + 1)

    def forget(self, transaction: OpenTransaction) -> None:
        """Its message cannot be read any more."""
        self._remove(transaction)
        self._pass_ops()

    def _remove(self, transaction: OpenTransaction) -> None:
        del self._by_key[transaction.key]
        message = transaction.message
        if message is not None:
            self._kept_bytes -= len(message[2]) + len(message[4])
        first_offset = transaction.first_offset
        for offset in transaction.copies if first_offset is None else (*transaction.copies, first_offset):
            if self._by_offset.get(offset) is transaction:
                del self._by_offset[offset]

    def _half_progress(self) -> int:
        oldest = self.oldest
        return self._half_end if oldest is None else oldest.copies[-1]

    def _pass_ops(self) -> None:
        """Op messages about passed half messages tell nobody anything."""
        passed = self._half_progress()
        ops = self._ops
        while ops and max(ops[0], default=-1) < passed:
            ops.popleft()
            self._op_start += 1
