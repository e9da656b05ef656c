"""Message bodies in zlib, LZ4 frames or zstd, chosen by the message's sys flag; expansion is bounded.

Only clients compress; brokers store bodies as they come. LZ4 and zstd need the extra `compression`.
Facts: `spec/wire.yaml` compression.
"""

from __future__ import annotations

import enum
import importlib
import zlib
from typing import Any, Final

from rocketmq_tx.errors import MessageError, OperatorError
from rocketmq_tx.protocol.flags import COMPRESSION_MASK, SysFlag

DEFAULT_LEVEL: Final = 5
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""What a body may expand to unless the caller says otherwise: 16 times the default maxMessageSize."""

_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""The window of zstd's level 19: what a decoder must be ready to hold whatever the body's size."""


class CompressionType(enum.IntEnum):
    """How a compressed body is packed (CompressionType)."""

    LZ4 = 1
    ZSTD = 2
    ZLIB = 3

    @property
    def sys_flag(self) -> int:
        """The bits that mark a body compressed this way, the compressed bit included."""
        return self << 8 | SysFlag.COMPRESSED


def compression_type(sys_flag: int) -> CompressionType:
    """The packing that the type bits name; 0 means zlib, as clients before 4.9.4 set no bits."""
    number = (sys_flag & COMPRESSION_MASK) >> 8
    try:
        return CompressionType(number) if number else CompressionType.ZLIB
    except ValueError as error:
        raise MessageError(f"compression type {number} is unknown") from error


def compress(body: bytes, kind: CompressionType, level: int = DEFAULT_LEVEL) -> bytes:
    """The packed body; the caller sets `kind.sys_flag` in the message."""
    if kind is CompressionType.ZLIB:
        return zlib.compress(body, level)
    if kind is CompressionType.LZ4:
        packed: bytes = _installed("lz4.frame").compress(body)  # Apache ignores the level here, too
    else:
        packed = _installed("zstandard").ZstdCompressor(level=level).compress(body)
    return packed


def decompress(body: bytes, sys_flag: int, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The body as its sender gave it; unchanged when the sys flag says it is not compressed.

    MessageError when it is damaged, cut off or would expand beyond `max_bytes`: no more than that is ever
    held in memory.
    """
    if not sys_flag & SysFlag.COMPRESSED:
        return body
    kind = compression_type(sys_flag)
    unpack = {
        CompressionType.ZLIB: unpack_zlib,
        CompressionType.LZ4: _unpack_lz4,
        CompressionType.ZSTD: _unpack_zstd,
    }[kind]
    return unpack(body, max_bytes)


def unpack_zlib(data: bytes, max_bytes: int) -> bytes:
    """One zlib stream (RFC 1950) of at most `max_bytes` when expanded."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise _damaged("zlib", error) from error
    return _whole("zlib", unpacked, max_bytes, unpacker.eof)


def _unpack_lz4(data: bytes, max_bytes: int) -> bytes:
    unpacker = _installed("lz4.frame").LZ4FrameDecompressor()
    try:
        unpacked = unpacker.decompress(data, max_length=max_bytes + 1)
    except (RuntimeError, EOFError) as error:
        raise _damaged("LZ4", error) from error
    return _whole("LZ4", unpacked, max_bytes, unpacker.eof)


def _unpack_zstd(data: bytes, max_bytes: int) -> bytes:
    library = _installed("zstandard")
    try:
        # The size that a frame claims is allocated at once: believe it only within the bound.
        if library.frame_content_size(data) > max_bytes:
            raise _too_large("zstd", max_bytes)
        unpacker = library.ZstdDecompressor(max_window_size=max(max_bytes, _ZSTD_WINDOW_BYTES))
        unpacked: bytes = unpacker.decompress(data, max_output_size=max_bytes + 1)
    except library.ZstdError as error:
        raise _damaged("zstd", error) from error
    return _whole("zstd", unpacked, max_bytes, at_end=True)


def _damaged(name: str, error: Exception) -> MessageError:
    return MessageError(f"the body is no {name} stream: {error}")


def _too_large(name: str, max_bytes: int) -> MessageError:
    return MessageError(f"the {name} body expands to more than {max_bytes} bytes")


def _whole(name: str, unpacked: bytes, max_bytes: int, at_end: bool) -> bytes:
    if len(unpacked) > max_bytes:
        raise _too_large(name, max_bytes)
    if not at_end:
        raise MessageError(f"the {name} body is cut off")
    return unpacked


def _installed(name: str) -> Any:
    """The library, imported when it is first needed: brokers hardly ever do, and one takes 7 ms."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise OperatorError(
            f"bodies packed with {library} need it: pip install 'rocketmq_tx[compression]'"
        ) from error
