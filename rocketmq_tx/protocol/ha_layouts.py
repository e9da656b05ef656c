"""Layouts of the replication stream, declared with construct: the documentation and the referee.

Two streams on one TCP connection, without a handshake, all numbers big-endian: the slave says where its log
ends, the master sends pieces of its log. `ha_frames.py` has the fast paths, which tests prove equal.
Facts: `spec/ha.yaml` (connection).
"""

from __future__ import annotations

from construct import Bytes, Int32sb, Int64sb, Rebuild, Struct, len_, this

REPORT = Struct("log_end" / Int64sb)
"""Slave to master: the end of the slave's commit log, which acknowledges everything before it."""

PIECE = Struct(
    "offset" / Int64sb,
    "size" / Rebuild(Int32sb, len_(this.body)),
    "body" / Bytes(this.size),
)
"""Master to slave: bytes of the commit log from `offset` on. They may begin and end within a record, never
cross the end of a commit log file, and include blanks and whatever follows those in the file. Without a body
it is a heartbeat that names the offset of the next piece."""
