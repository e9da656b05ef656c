"""Layouts of the derived files as structs: the fast paths. `file_layouts` declares the same field by field.

Facts: `spec/store.yaml` (consume_queue, index_file, checkpoint_file, commit_log.end_of_file). All big-endian.
"""

from __future__ import annotations

import struct

# -- commit log ----------------------------------------------------------------------------------------------

BLANK = struct.Struct(">II")
"""Bytes left and magic: ends a commit log file into which the next record does not fit."""

# -- consume queue -------------------------------------------------------------------------------------------

QUEUE_ENTRY = struct.Struct(">qiq")
"""Commit log offset, size and tags code of a message."""
QUEUE_ENTRY_BYTES = 20
FILLER_SIZE = 0x7FFFFFFF
FILLER = QUEUE_ENTRY.pack(0, FILLER_SIZE, 0)
"""Stands where a queue has no message: before the first entry of a file that is begun in its middle."""
EXT_ADDRESS_MAX = -(2**31) - 1
"""A tags code up to this one is an address in `consumequeue_ext`: `EXT_ADDRESS_BASE` and an offset there."""
EXT_ADDRESS_BASE = -(2**63)
EXT_UNIT = struct.Struct(">hqqh")
"""Size of the unit, tags code, store timestamp, length of the bit map that follows."""
EXT_UNIT_BYTES = 20
"""Without the bit map, of whose length the last two bytes tell."""

# -- message index -------------------------------------------------------------------------------------------

INDEX_HEADER = struct.Struct(">qqqqii")
"""Store times and commit log offsets of the first and last entry, slots in use, entries + 1."""
INDEX_HEADER_BYTES = 40
INDEX_SLOT_BYTES = 4
INDEX_ENTRY = struct.Struct(">iqii")
"""Hash of the key, commit log offset, seconds from the header's first time, number of the next older one."""
INDEX_ENTRY_BYTES = 20

# -- checkpoint ----------------------------------------------------------------------------------------------

CHECKPOINT_BYTES = 4096
CHECKPOINT_CLAIM_AT = 1024
CLAIM_MAGIC = b"RMQTXCK3"
CHECKPOINT_TIMES = struct.Struct(">qqq")
"""Store times up to which log, queues and index are on disk."""
CHECKPOINT_CLAIM = struct.Struct(">8s3q8qqIqI")
"""Magic, the times again, eight numbers of `file_layouts.CheckpointClaim`, two marks of offset and CRC."""
CHECKPOINT_CLAIM_CRC = struct.Struct(">I")
"""Of the packed claim, right behind it."""
