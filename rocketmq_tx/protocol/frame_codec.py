"""Frames to bytes and back, with both header forms: JSON and RocketMQ's binary one.

A frame is `length | type and header length | header | body`, all integers big endian. The length counts what
follows it; the top byte of the second word says how the header is written, its low 24 bits how long it is.
The layouts are declared in `wire_layouts.py`; what stands here is the fast way to the same bytes. JSON comes
out exactly as fastjson 1.2.69 writes it for Apache: keys in alphabetical order, absent ones left out,
extFields in HashMap order, control characters escaped the way fastjson does it.

Reading is as tolerant as Apache's reading wherever clients could lean on it (spec/wire.yaml, json_header):
unknown keys, missing keys, numbers in quotes, values of extFields that are no strings, text that is not
UTF-8. What Apache cannot read either ends in `FrameError`, and nothing else ever leaves `decode_frame`.
"""

from __future__ import annotations

import re
from struct import Struct
from struct import error as StructError
from typing import Any

import orjson

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.codes import LanguageCode, SerializeType
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.hash_map_order import in_hash_map_order

#: The largest frame that Apache takes, its length field included (com.rocketmq.remoting.frameMaxLength).
MAX_FRAME_BYTES = 16777216

#: Largest header: its length has 24 bits.
MAX_HEADER_BYTES = 0xFFFFFF

_PREFIX = Struct(">II")
_HEADER_WORD = Struct(">I")
_BINARY_HEAD = Struct(">hBhiii")  # code, language, version, opaque, flag, length of the remark
_INT32 = Struct(">i")
_INT16 = Struct(">h")
_SMALLEST_INT32 = -(2**31)
_LARGEST_INT32 = 2**31 - 1

_LANGUAGE_OF_NAME = {language.name: language for language in LanguageCode}
_LANGUAGE_OF_NUMBER: dict[int, LanguageCode] = {language.value: language for language in LanguageCode}
_NAME_OF_LANGUAGE: dict[int, str] = {language.value: language.name for language in LanguageCode}


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame, its length in front. FrameError when a value does not fit its field."""
    if frame.serialize == SerializeType.JSON:
        header = _encode_json_header(frame)
        kind = 0
    else:
        header = _encode_binary_header(frame)
        kind = SerializeType.ROCKETMQ << 24
    size = len(header)
    if size > MAX_HEADER_BYTES:
        raise FrameError(f"a frame header of {size} bytes is longer than its 24-bit length can say")
    body = frame.body
    return _PREFIX.pack(4 + size + len(body), kind | size) + header + body


def decode_frame(payload: bytes) -> Frame:
    """The frame in `payload`, which is everything after the length. FrameError when it is none."""
    return decode_frame_at(payload, 0, len(payload))


def decode_frame_at(data: bytes, start: int, end: int) -> Frame:
    """As `decode_frame`, of `data[start:end]` without cutting it out first."""
    if end - start < 4:
        raise FrameError(f"a frame of {end - start} bytes has no room for its header length")
    (word,) = _HEADER_WORD.unpack_from(data, start)
    header_start = start + 4
    header_end = header_start + (word & MAX_HEADER_BYTES)
    if header_end > end:
        raise FrameError(f"a header of {header_end - header_start} bytes in a frame of {end - start} bytes")
    kind = word >> 24
    if kind == SerializeType.JSON:
        return _decode_json_header(data[header_start:header_end], data[header_end:end])
    if kind == SerializeType.ROCKETMQ:
        return _decode_binary_header(data[header_start:header_end], data[header_end:end])
    raise FrameError(f"unknown header serialization {kind}")


# -- JSON --------------------------------------------------------------------------------------------------

# Where fastjson escapes and orjson does not: DEL and the C1 controls, and the two line separators of Unicode.
# The pattern also steps over the escapes that are there, so that a backslash in the text starts none.
_ESCAPED_BY_FASTJSON = re.compile(rb"\\(?:u[0-9a-f]{4}|.)|\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]", re.DOTALL)
# fastjson's digits are upper case; most headers have no escapes but the two separators of properties.
_ESCAPED_WITH_LETTERS = re.compile(rb"\\u00[01][a-f]")


def _encode_json_header(frame: Frame) -> bytes:
    values: dict[str, Any] = {"code": int(frame.code)}
    if frame.ext_fields is not None:
        values["extFields"] = in_hash_map_order(frame.ext_fields)
    values["flag"] = frame.flag
    values["language"] = _NAME_OF_LANGUAGE.get(frame.language, "OTHER")
    values["opaque"] = frame.opaque
    if frame.remark is not None:
        values["remark"] = frame.remark
    values["serializeTypeCurrentRPC"] = "JSON"
    values["version"] = frame.version
    try:
        header = orjson.dumps(values)
    except TypeError as error:  # orjson's only error: a lone surrogate, a value that is no text
        raise FrameError(f"a frame of code {frame.code} cannot be written as JSON: {error}") from error
    if _ESCAPED_WITH_LETTERS.search(header) or b"\x7f" in header or not header.isascii():
        header = _ESCAPED_BY_FASTJSON.sub(_fastjson_escape, header)
    return header


def _fastjson_escape(found: re.Match[bytes]) -> bytes:
    text = found[0]
    if text[0] == 0x5C:
        return b"\\u" + text[2:].upper() if text[1] == 0x75 else text
    return b"\\u%04X" % ord(text.decode())


def _decode_json_header(header: bytes, body: bytes) -> Frame:
    values = _load_json(header)
    ext_fields = values.get("extFields")
    if ext_fields is not None:
        ext_fields = _ext_fields_of_json(ext_fields)
    remark = values.get("remark")
    if remark is not None and type(remark) is not str:
        remark = _text_of_json(remark)
    return Frame(
        _int32_of_json(values, "code"),
        _int32_of_json(values, "opaque"),
        _int32_of_json(values, "flag"),
        _language_of_json(values.get("language", "JAVA")),
        _int32_of_json(values, "version"),
        remark,
        ext_fields,
        body,
        SerializeType.JSON,
    )


def _load_json(header: bytes) -> dict[str, Any]:
    try:
        values = orjson.loads(header)
    except orjson.JSONDecodeError:
        # Java replaces what is not UTF-8; C++ clients do send keys and tags in the encoding of their house.
        try:
            values = orjson.loads(header.decode("utf-8", "replace"))
        except orjson.JSONDecodeError as error:
            raise FrameError(f"a frame header that is not JSON: {error}") from None
    if type(values) is not dict:
        raise FrameError(f"a frame header that is JSON but no object: {type(values).__name__}")
    return values


def _int32_of_json(values: dict[str, Any], key: str) -> int:
    value = values.get(key, 0)
    if type(value) is not int:
        value = _int_of_odd_json(value, key)
    if _SMALLEST_INT32 <= value <= _LARGEST_INT32:
        return value
    raise FrameError(f"{key} {value} of a frame header does not fit 32 bits")


def _int_of_odd_json(value: object, key: str) -> int:
    """fastjson takes null as 0 and a number in quotes as the number."""
    if value is None:
        return 0
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,10}", value):
        return int(value)
    raise FrameError(f"{key} of a frame header is no 32-bit number: {str(value)[:40]!r}")


def _language_of_json(name: object) -> LanguageCode:
    """Apache reads an unknown name as null and serves the request all the same."""
    if isinstance(name, str):
        return _LANGUAGE_OF_NAME.get(name, LanguageCode.OTHER)
    return _LANGUAGE_OF_NUMBER.get(name, LanguageCode.OTHER) if isinstance(name, int) else LanguageCode.OTHER


def _ext_fields_of_json(fields: object) -> dict[str, str]:
    if type(fields) is not dict:
        raise FrameError(f"extFields of a frame header is no object: {type(fields).__name__}")
    for value in fields.values():
        if type(value) is not str:
            # Into a map of strings, fastjson reads anything else as its text.
            return {
                key: value if type(value) is str else _text_of_json(value)
                for key, value in fields.items()
                if value is not None
            }
    return fields


def _text_of_json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # orjson reads deeper nesting than it writes
        raise FrameError("a frame header with a deeply nested value where a string belongs") from None


# -- RocketMQ's binary header ------------------------------------------------------------------------------


def _encode_binary_header(frame: Frame) -> bytes:
    remark = b"" if frame.remark is None else frame.remark.encode("utf-8", "replace")
    entries = b"" if not frame.ext_fields else _encode_entries(frame.ext_fields)
    try:
        head = _BINARY_HEAD.pack(
            frame.code, frame.language, frame.version, frame.opaque, frame.flag, len(remark)
        )
    except StructError as error:
        raise FrameError(f"a frame of code {frame.code} does not fit the binary header: {error}") from error
    return b"".join((head, remark, _INT32.pack(len(entries)), entries))


def _encode_entries(ext_fields: dict[str, str]) -> bytes:
    parts: list[bytes] = []
    for key, value in ext_fields.items():
        key_bytes = key.encode("utf-8", "replace")
        value_bytes = value.encode("utf-8", "replace")
        if len(key_bytes) > 0x7FFF:
            raise FrameError(f"the name of an extra field is {len(key_bytes)} bytes long")
        parts += (_INT16.pack(len(key_bytes)), key_bytes, _INT32.pack(len(value_bytes)), value_bytes)
    return b"".join(parts)


def _decode_binary_header(header: bytes, body: bytes) -> Frame:
    try:
        code, language, version, opaque, flag, remark_size = _BINARY_HEAD.unpack_from(header)
        remark, position = _text_at(header, _BINARY_HEAD.size, remark_size)
        (entries_size,) = _INT32.unpack_from(header, position)
        entries_end = position + 4 + entries_size
        if entries_size < 0 or entries_end > len(header):
            raise FrameError(f"extra fields of {entries_size} bytes in a header of {len(header)} bytes")
        ext_fields = _decode_entries(header, position + 4, entries_end) if entries_size else None
    except StructError:
        raise FrameError(f"a binary header that ends too early, after {len(header)} bytes") from None
    return Frame(
        code,
        opaque,
        flag,
        _LANGUAGE_OF_NUMBER.get(language, language),
        version,
        remark or None,
        ext_fields or None,
        body,
        SerializeType.ROCKETMQ,
    )


def _decode_entries(header: bytes, position: int, end: int) -> dict[str, str]:
    """Entries with an empty key or value are null to Java: as good as not there."""
    ext_fields = {}
    while position < end:
        (key_size,) = _INT16.unpack_from(header, position)
        key, position = _text_at(header, position + 2, key_size)
        (value_size,) = _INT32.unpack_from(header, position)
        value, position = _text_at(header, position + 4, value_size)
        if key and value:
            ext_fields[key] = value
    if position > end:
        raise FrameError("an extra field that reaches beyond the extra fields")
    return ext_fields


def _text_at(header: bytes, start: int, size: int) -> tuple[str, int]:
    end = start + size
    if size < 0 or end > len(header):
        raise FrameError(f"a text of {size} bytes in a header of {len(header)} bytes")
    return header[start:end].decode("utf-8", "replace"), end
