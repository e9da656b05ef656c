"""The frame and its binary header as declarations: the documentation, and the referee of `frame_codec`.

Some twenty times dearer than the fast way, so nothing on the wire goes through here; tests prove that both
give the same bytes and the same values. Source: spec/wire.yaml, frame and rocketmq_binary_header.
"""

from __future__ import annotations

from construct import (
    Bytes,
    BytesInteger,
    Enum,
    GreedyRange,
    Int8ub,
    Int16sb,
    Int32sb,
    Int32ub,
    PascalString,
    Prefixed,
    Rebuild,
    Struct,
    len_,
    this,
)

from rocketmq_tx.protocol.codes import LanguageCode, SerializeType

#: A whole frame. `length` counts everything after itself.
FRAME = Struct(
    "length" / Rebuild(Int32ub, 4 + len_(this.header) + len_(this.body)),
    "serialize" / Enum(Int8ub, SerializeType),
    "header_length" / Rebuild(BytesInteger(3), len_(this.header)),
    "header" / Bytes(this.header_length),
    "body" / Bytes(this.length - 4 - this.header_length),
)

#: One extra field; an empty value is null to Java.
EXT_FIELD = Struct(
    "key" / PascalString(Int16sb, "utf8"),
    "value" / PascalString(Int32sb, "utf8"),
)

#: RocketMQ's own header form. A remark of no bytes is no remark, extra fields of no bytes are none at all.
BINARY_HEADER = Struct(
    "code" / Int16sb,
    "language" / Enum(Int8ub, LanguageCode),
    "version" / Int16sb,
    "opaque" / Int32sb,
    "flag" / Int32sb,
    "remark" / PascalString(Int32sb, "utf8"),
    "ext_fields" / Prefixed(Int32sb, GreedyRange(EXT_FIELD)),
)
