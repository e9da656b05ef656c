r"""The hot way to read END_TRANSACTION: one pattern over the header as Java clients write it.

    {"code":37,"extFields":{"producerGroup":"PG","bname":"broker-a","commitLogOffset":"5130116",
    "msgId":"7F..00","tranStateTableOffset":"8","commitOrRollback":"8","fromTransactionCheck":"false"},
    "flag":2,"language":"JAVA","opaque":8,"serializeTypeCurrentRPC":"JSON","version":407}

Only one-way ends that commit or roll back are read so, and only where every text is plain: whatever else
there is does not match and goes to the parser. Tests prove that both ways read the same.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HEADER = re.compile(
    rb'\{"code":37,"extFields":\{"producerGroup":"([ !#-\[\]-~]+)",(?:"bname":"[ !#-\[\]-~]*",)?'
    rb'"commitLogOffset":"(0|[1-9][0-9]{0,17})","msgId":"([0-9A-Za-z]+)",'
    rb'"tranStateTableOffset":"(0|[1-9][0-9]{0,17})","commitOrRollback":"(8|12)",'
    rb'(?:"transactionId":"[0-9A-Za-z]*",)?"fromTransactionCheck":"(?:true|false)"\},'
    rb'"flag":2,"language":"JAVA","opaque":(?:0|[1-9][0-9]{0,8}),'
    rb'"serializeTypeCurrentRPC":"JSON","version":(?:0|[1-9][0-9]{0,3})\}'
)
_match = _HEADER.fullmatch
_new_tuple = tuple.__new__


class ScannedEnd(NamedTuple):
    """The one-way end of a transaction, not parsed. `payload` is its frame without the length in front."""

    producer_group: str
    key: str
    """What the header calls msgId: the UNIQ_KEY of the half message."""
    commit_log_offset: int
    half_queue_offset: int
    commit_or_rollback: int
    payload: bytes


def scan_end(data: bytes, header_start: int, header_end: int, end: int) -> ScannedEnd | None:
    """The end whose JSON header stands in `data`, or None when only the parser can tell. Raises nothing.

    The frame's prefix, 8 bytes, stands in front of `header_start`; there is no body, so that `header_end` is
    `end`.
    """
    found = _match(data, header_start, header_end)
    if found is None or header_end != end:
        return None
    group, offset, key, half_offset, decision = found.groups()
    return _new_tuple(
        ScannedEnd,
        (
            group.decode(), key.decode(), int(offset), int(half_offset), int(decision),
            data[header_start - 4 : end],
        ),
    )  # fmt: skip
