"""The error tree. Three families: the peer's fault, the operator's, and ours.

Each error carries what was being done to what, and says what its reader can do about it.
Errors of the peer's family know the response code they turn into (a number of
`protocol.codes.ResponseCode`; plain here, since this module imports nothing of ours).
"""

from __future__ import annotations


class RocketMQError(Exception):
    """Root of everything that this package raises on purpose."""


# -- the peer broke a rule ---------------------------------------------------------------------------------


class PeerError(RocketMQError):
    """A request that cannot be served as it is; answered, never a reason to stop."""


class RequestRefused(PeerError):
    """An answer other than success: `code` and `remark` go back to the peer as they are."""

    def __init__(self, code: int, remark: str) -> None:
        super().__init__(f"refused with code {code}: {remark}")
        self.code = code
        self.remark = remark


class HeaderError(PeerError):
    """A command header that lacks a field, or holds one that cannot be read; names the field."""

    def __init__(self, header: str, field: str, problem: str) -> None:
        super().__init__(f"{header}.{field}: {problem}")
        self.header = header
        self.field = field
        self.problem = problem


class BodyError(PeerError):
    """A body that is not what its command says; names the body's type and the place."""


class FrameError(PeerError):
    """Bytes that are no frame: the connection cannot go on, because its next frame cannot be found."""


class MessageError(PeerError):
    """Bytes or values that make no message record: lengths, checksum, properties, names."""


class ExpressionError(PeerError):
    """A filter expression that cannot be compiled: what is wrong, in which line and column (from 1)."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(f"{problem} (line {line}, column {column})")
        self.problem = problem
        self.line = line
        self.column = column


# -- the operator can mend it ------------------------------------------------------------------------------


class OperatorError(RocketMQError):
    """Something in configuration or surroundings; one sentence, exit code 1."""


class ConfigError(OperatorError):
    """A configuration that cannot be taken: names file, line, key and what was expected."""


class StartError(OperatorError):
    """The daemon cannot start: port taken, directory not writable, store in use."""


class StoreLocked(StartError):
    """Another broker, of this process or another, has the store directory."""


class StoreDamaged(OperatorError):
    """Files that cannot be opened safely: names the file, what is wrong, and the way out."""


class ReplicationStopped(OperatorError):
    """A slave that must not follow its master: says at which offset they differ, and the ways out."""


# -- the outside world failed ------------------------------------------------------------------------------


class StoreError(RocketMQError):
    """A file operation failed; nothing of it is acknowledged. Names file, offset and cause."""


class Unreadable(StoreError):
    """The device cannot read the file at `path` (EIO)."""

    def __init__(self, sentence: str, path: str) -> None:
        super().__init__(sentence)
        self.path = path


class StoreUnavailable(StoreError):
    """The store takes no message now (disk full, shutting down, slave); reads go on."""


class WouldBlock(StoreError):
    """The bytes wanted are not in memory: warm them off the reactor, then ask again."""

    def __init__(self, path: str, offset: int, length: int) -> None:
        super().__init__(f"reading {length} bytes at {offset} of {path} would wait for the disk")
        self.path = path
        self.offset = offset
        self.length = length


class IndexNotReady(StoreError):
    """A crash has left work on the message index, which is done in bites: ask again when it is done."""


class FlushTimeout(StoreError):
    """The data is written but not known to be on disk in time (FLUSH_DISK_TIMEOUT)."""


class RemotingError(RocketMQError):
    """A call to another process failed; names the address and the command."""


class ConnectFailed(RemotingError):
    """No connection to the address."""


class ConnectionLost(RemotingError):
    """The connection went away before the answer came."""


class RequestTimeout(RemotingError):
    """No answer in time."""


class RouteUnknown(RemotingError):
    """No NameServer knows a broker for the topic."""


class CallRefused(RemotingError):
    """The peer answered with a code other than success."""

    def __init__(self, command: str, address: str, code: int, remark: str | None) -> None:
        super().__init__(f"{command} to {address} was answered with code {code}: {remark or 'no remark'}")
        self.command = command
        self.address = address
        self.code = code
        self.remark = remark


class CoordinationError(RocketMQError):
    """The coordination service did not do what was asked; whether it has done it may be unknown."""


class StateChanged(CoordinationError):
    """Somebody else changed the agreed state first: nothing was written."""


# -- our own mistake ---------------------------------------------------------------------------------------


class InvariantBroken(RocketMQError):
    """A state that this code promises never to reach; stop before anything false is acknowledged."""
