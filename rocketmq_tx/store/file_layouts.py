"""Layouts of the store's files, declared with construct: the documentation and the referee.

Only tests and tools use it, since importing construct takes longer than opening a store: `layouts` has the
structs, which tests prove equal. Facts: `spec/store.yaml` (consume_queue, index_file, checkpoint_file,
commit_log.end_of_file). All big-endian.
"""

from __future__ import annotations

from construct import (
    Array,
    Bytes,
    Const,
    GreedyBytes,
    Int16sb,
    Int32sb,
    Int32ub,
    Int64sb,
    Int64ub,
    Padded,
    Prefixed,
    Struct,
)

from rocketmq_tx.protocol.message import BLANK_MAGIC
from rocketmq_tx.store.layouts import CHECKPOINT_CLAIM_AT, CLAIM_MAGIC

BlankRecord = Struct("bytes_left" / Int32ub, "magic" / Const(BLANK_MAGIC, Int32ub))
"""Ends a commit log file into which the next record does not fit; what follows it is not written."""

QueueEntry = Struct("commit_log_offset" / Int64sb, "size" / Int32sb, "tags_code" / Int64sb)
"""One message of a queue; `tags_code` is the delivery time (epoch ms) in the schedule topic."""

ExtUnit = Struct(
    "size" / Int16sb,
    "tags_code" / Int64sb,
    "store_timestamp" / Int64sb,
    "bit_map" / Prefixed(Int16sb, GreedyBytes),
)
"""What Apache keeps of a message besides its queue entry; `size` counts all of it."""

IndexHeader = Struct(
    "begin_timestamp" / Int64sb,
    "end_timestamp" / Int64sb,
    "begin_offset" / Int64sb,
    "end_offset" / Int64sb,
    "slot_count" / Int32sb,
    "index_count" / Int32sb,
)
"""Store times and commit log offsets of the first and last entry, slots in use, entries + 1."""
IndexSlot = Struct("index_number" / Int32sb)
"""Number of the newest entry of this slot; 0 = none."""
IndexEntry = Struct(
    "key_hash" / Int32sb,
    "commit_log_offset" / Int64sb,
    "seconds" / Int32sb,
    "previous" / Int32sb,
)
"""`seconds` count from the header's begin_timestamp; `previous` is the slot's next older entry, 0 = none."""

CheckpointTimes = Struct("commit_log_ms" / Int64sb, "queues_ms" / Int64sb, "index_ms" / Int64sb)
"""What Apache reads: store times (epoch ms) up to which each part is on disk."""
LogMarkLayout = Struct("offset" / Int64sb, "crc" / Int32ub)
"""What the segment at `offset` begins with; -1 for none."""
CheckpointClaim = Struct(
    "magic" / Const(CLAIM_MAGIC),
    "times" / CheckpointTimes,
    "log_min_offset" / Int64sb,
    "dispatched_to" / Int64sb,
    "last_record_at" / Int64sb,
    "queue_count" / Int64sb,
    "entry_count" / Int64sb,
    "condemned_entries" / Int64sb,
    "index_name" / Int64sb,
    "index_entries" / Int64sb,
    "marks" / Array(2, LogMarkLayout),
)
"""Ours, where Apache leaves zeros: every record from `log_min_offset` to `dispatched_to` is on disk with its
queue entries, which number `entry_count` in `queue_count` queues, and up to `condemned_entries` more in files
that are being removed; the index files up to `index_name` hold `index_entries`, or more in such files.
`marks` tell the log from that of another store.
`times` repeats Apache's fields: a server of Apache's that came after us changed them, so the claim is void.
"""
CheckpointFile = Struct(
    "times" / Padded(CHECKPOINT_CLAIM_AT, CheckpointTimes),
    "claim" / Bytes(CheckpointClaim.sizeof()),
    "claim_crc" / Int32ub,
)

TimerEntryLayout = Struct("due_ms" / Int64ub, "commit_log_offset" / Int64ub, "size_and_kind" / Int32ub)
"""`size_and_kind` is the size of the record; its highest bit marks a cancellation."""
