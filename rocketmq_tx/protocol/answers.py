"""Answers of the hot commands from templates: a stored send, a pull.

The JSON templates are made by `encode_frame` itself from a frame with a mark where each varying value goes,
so key order and spelling have one source. Values that vary are numbers, or ids of letters and digits, which
need no escaping. Tests prove each answer equal to what `encode_frame` makes of the same frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from struct import Struct
from typing import Final

from rocketmq_tx.protocol.codes import CURRENT_VERSION, LanguageCode, ResponseCode, SerializeType
from rocketmq_tx.protocol.frame import RESPONSE_FLAG, Frame
from rocketmq_tx.protocol.frame_codec import encode_frame

#: Extra fields that a broker adds to every answer to a send (spec/headers.yaml).
MSG_REGION: Final = "MSG_REGION"
TRACE_ON: Final = "TRACE_ON"

_PREFIX = Struct(">II")
_BINARY_HEAD = Struct(">IIhBhiii")  # length, type and header length, then the header up to its remark
_BINARY_HEAD_SIZE = 21 - 4  # of it in the header; the length of the extra fields comes after the remark
_INT32 = Struct(">I")
_OPAQUE_MARK = 1987654321
_OPAQUE_DIGITS = b'"opaque":%d'
_MSG_ID_MARK = b'"msgId":"%b"'
_BINARY_TYPE = SerializeType.ROCKETMQ << 24
_TEMPLATE_LIMIT = 64


class SendAnswers:
    """Answers to sends of one broker, whose region and trace switch stand in each of them."""

    def __init__(self, region_id: str, trace_on: bool) -> None:
        self._constant = {TRACE_ON: "true" if trace_on else "false", MSG_REGION: region_id}
        self._templates: dict[int, bytes] = {}
        self._alike: dict[bytes, bytes] = {}
        self._entries_end = b"".join(
            _entry_head(key) + _sized(value.encode()) for key, value in self._constant.items()
        )
        self._success = self._template(ResponseCode.SUCCESS)

    def json(self, opaque: int, message_id: bytes, queue_id: int, queue_offset: int) -> bytes:
        """The answer SUCCESS to a send with a JSON header: the hottest answer of all.

        `message_id` is the offset message id, for a batch several joined by commas.
        """
        header = self._success % (queue_id, message_id, queue_offset, opaque)
        return _PREFIX.pack(len(header) + 4, len(header)) + header

    def success_of(self, id_start: bytes) -> bytes:
        """A template of the header of these, where a message id is `id_start` and the offset in 16 digits.

        It takes the queue id, that offset, the queue offset and the opaque.
        """
        return self._success.replace(_MSG_ID_MARK, b'"msgId":"%b%%016X"' % id_start)

    def json_alike(
        self,
        opaques: Sequence[bytes],
        id_start: bytes,
        commit_log_offsets: Sequence[int],
        queue_ids: Sequence[int],
        queue_offsets: Sequence[int],
    ) -> bytes:
        """The same answers to several sends, back to back.

        `opaques` are digits, of one length; a message id is `id_start`, 16 digits, and the offset in 16 more.
        """
        if not (_are_as_long(queue_ids) and _are_as_long(queue_offsets)):
            ids = [b"%b%016X" % (id_start, offset) for offset in commit_log_offsets]
            return b"".join(map(self.json, map(int, opaques), ids, queue_ids, queue_offsets))
        template = self._alike.get(id_start)
        if template is None:
            template = self.success_of(id_start).replace(_OPAQUE_DIGITS, b'"opaque":%b')
            self._alike[id_start] = template
        size = len(template % (queue_ids[0], 0, queue_offsets[0], opaques[0]))
        varying = zip(queue_ids, commit_log_offsets, queue_offsets, opaques, strict=False)
        template = _PREFIX.pack(size + 4, size).replace(b"%", b"%%") + template
        return template * len(opaques) % tuple(chain.from_iterable(varying))

    def encode(
        self,
        serialize: SerializeType,
        code: int,
        opaque: int,
        message_id: bytes,
        queue_id: int,
        queue_offset: int,
    ) -> bytes:
        """The answer in either serialization; `code` is SUCCESS or another one that says "stored, but"."""
        if serialize == SerializeType.JSON:
            template = self._templates.get(code) or self._template(code)
            header = template % (queue_id, message_id, queue_offset, opaque)
            return _PREFIX.pack(len(header) + 4, len(header)) + header
        entries = b"".join(
            (
                _MSG_ID,
                _sized(message_id),
                _QUEUE_ID,
                _sized(b"%d" % queue_id),
                _QUEUE_OFFSET,
                _sized(b"%d" % queue_offset),
                self._entries_end,
            )
        )
        return _binary_answer(code, opaque, b"", entries, 0)

    def _template(self, code: int) -> bytes:
        fields = {"msgId": "@", "queueId": "@", "queueOffset": "@", **self._constant}
        template = _json_template(code, None, fields)
        template = template.replace(b'"queueId":"@"', b'"queueId":"%d"')
        template = template.replace(b'"msgId":"@"', _MSG_ID_MARK)
        template = template.replace(b'"queueOffset":"@"', b'"queueOffset":"%d"')
        self._templates[code] = template
        return template


class PullAnswers:
    """Everything of an answer to a pull but its body: records go to the socket as the store gave them."""

    def __init__(self) -> None:
        self._templates: dict[tuple[int, str], bytes] = {}
        self._found = self._template(ResponseCode.SUCCESS, "FOUND")

    def found(
        self,
        opaque: int,
        suggest_which_broker_id: int,
        next_begin_offset: int,
        min_offset: int,
        max_offset: int,
        body_size: int,
    ) -> bytes:
        """The bytes in front of messages, to a pull with a JSON header: the hottest answer."""
        header = self._found % (suggest_which_broker_id, next_begin_offset, max_offset, min_offset, opaque)
        size = len(header)
        return _PREFIX.pack(size + 4 + body_size, size) + header

    def head(
        self,
        serialize: SerializeType,
        code: int,
        remark: str,
        opaque: int,
        suggest_which_broker_id: int,
        next_begin_offset: int,
        min_offset: int,
        max_offset: int,
        body_size: int,
    ) -> bytes:
        """The bytes in front of a body of `body_size` bytes. `remark` is the name of the store's status."""
        if serialize == SerializeType.JSON:
            template = self._templates.get((code, remark)) or self._template(code, remark)
            header = template % (suggest_which_broker_id, next_begin_offset, max_offset, min_offset, opaque)
            return _PREFIX.pack(len(header) + 4 + body_size, len(header)) + header
        entries = b"".join(
            (
                _SUGGEST_WHICH_BROKER_ID,
                _sized(b"%d" % suggest_which_broker_id),
                _NEXT_BEGIN_OFFSET,
                _sized(b"%d" % next_begin_offset),
                _MIN_OFFSET,
                _sized(b"%d" % min_offset),
                _MAX_OFFSET,
                _sized(b"%d" % max_offset),
            )
        )
        return _binary_answer(code, opaque, remark.encode(), entries, body_size)

    def _template(self, code: int, remark: str) -> bytes:
        keys = ("suggestWhichBrokerId", "nextBeginOffset", "minOffset", "maxOffset")
        template = _json_template(code, remark, dict.fromkeys(keys, "@"))
        for key in keys:
            template = template.replace(b'"%b":"@"' % key.encode(), b'"%b":"%%d"' % key.encode())
        if len(self._templates) >= _TEMPLATE_LIMIT:  # statuses are few; remarks with offsets in them are not
            self._templates.clear()
        self._templates[code, remark] = template
        return template


def _json_template(code: int, remark: str | None, ext_fields: dict[str, str]) -> bytes:
    """The header of such an answer with `%d` for its opaque; percent signs of the text are doubled."""
    frame = Frame(code, _OPAQUE_MARK, RESPONSE_FLAG, remark=remark, ext_fields=ext_fields)
    header = encode_frame(frame)[_PREFIX.size :].replace(b"%", b"%%")
    return header.replace(_OPAQUE_DIGITS % _OPAQUE_MARK, _OPAQUE_DIGITS)


def _are_as_long(numbers: Sequence[int]) -> bool:
    """Whether all are written with as many digits; none is negative."""
    return len(str(min(numbers))) == len(str(max(numbers)))


def _binary_answer(code: int, opaque: int, remark: bytes, entries: bytes, body_size: int) -> bytes:
    header_size = _BINARY_HEAD_SIZE + len(remark) + 4 + len(entries)
    head = _BINARY_HEAD.pack(
        4 + header_size + body_size,
        _BINARY_TYPE | header_size,
        code,
        LanguageCode.JAVA,
        CURRENT_VERSION,
        opaque,
        RESPONSE_FLAG,
        len(remark),
    )
    return b"".join((head, remark, _INT32.pack(len(entries)), entries))


def _entry_head(key: str) -> bytes:
    return len(key).to_bytes(2, "big") + key.encode()


def _sized(value: bytes) -> bytes:
    return _INT32.pack(len(value)) + value


_MSG_ID = _entry_head("msgId")
_QUEUE_ID = _entry_head("queueId")
_QUEUE_OFFSET = _entry_head("queueOffset")
_SUGGEST_WHICH_BROKER_ID = _entry_head("suggestWhichBrokerId")
_NEXT_BEGIN_OFFSET = _entry_head("nextBeginOffset")
_MIN_OFFSET = _entry_head("minOffset")
_MAX_OFFSET = _entry_head("maxOffset")
