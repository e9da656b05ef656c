"""Answers to sends: every one names the region and says whether tracing is on, refusals too.

Java clients read these extra fields without looking whether there are any (`spec/headers.yaml`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import answers
from rocketmq_tx.protocol.codes import ResponseCode, SerializeType
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.hash_map_order import in_hash_map_order
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.protocol.message_ids import pack_host
from rocketmq_tx.protocol.offset_rows import offset_rows
from rocketmq_tx.store.append import Placed
from rocketmq_tx.store.append_alike import PlacedAlike

_pack_prefix = struct.Struct(">II").pack


class SendAnswers:
    """Encoded answers of one broker; `settings_changed` takes over region and trace switch."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._broker = settings.broker
        self.store_host = pack_host(settings.broker.broker_ip1.strip("[]"), settings.server.listen_port)
        """This broker's address as records and message ids hold it."""
        self._id_start = self.store_host.hex().upper().encode()
        self.settings_changed()

    def settings_changed(self) -> None:
        broker = self._broker
        self._region = in_hash_map_order(
            {answers.MSG_REGION: broker.region_id, answers.TRACE_ON: "true" if broker.trace_on else "false"}
        )
        self._stored = answers.SendAnswers(broker.region_id, broker.trace_on)
        self._success = self._stored.success_of(self._id_start)

    def refused(self, frame: Frame, refusal: RequestRefused) -> bytes:
        """The message was not stored."""
        return self.answer(frame, refusal.code, refusal.remark)

    def answer(self, frame: Frame, code: int, remark: str | None, header: Header | None = None) -> bytes:
        """Any answer to a send, with what every one of them carries."""
        answer = frame.answer(code, remark, header)
        answer.ext_fields = {**(answer.ext_fields or {}), **self._region}
        return encode_frame(answer)

    def stored(self, frame: Frame, status: ResponseCode, queue_id: int, placed: Sequence[Placed]) -> bytes:
        """The message, or every one of a batch, was stored; `status` may still say "not yet on disk"."""
        return self.encode(frame.serialize, status, frame.opaque, queue_id, placed)

    def encode(
        self,
        serialize: SerializeType,
        status: ResponseCode,
        opaque: int,
        queue_id: int,
        placed: Sequence[Placed],
    ) -> bytes:
        """The same by the values that count."""
        start = self._id_start
        ids = b",".join([b"%b%016X" % (start, place.commit_log_offset) for place in placed])
        return self._stored.encode(serialize, status, opaque, ids, queue_id, placed[0].queue_offset)

    def batch(
        self, status: ResponseCode, opaque: int, queue_id: int, offsets: Sequence[int], queue_offset: int
    ) -> bytes:
        """The messages of a batch were stored, asked for in JSON; `offsets` are those of their records."""
        host = self.store_host
        if isinstance(offsets, range):
            rows = offset_rows(host, offsets, b"")
        else:
            rows = b"".join([host + offset.to_bytes(8, "big") for offset in offsets])
        ids = rows.hex(",", len(host) + 8).upper().encode()
        return self._stored.encode(SerializeType.JSON, status, opaque, ids, queue_id, queue_offset)

    def success(self, opaque: int, queue_id: int, commit_log_offset: int, queue_offset: int) -> bytes:
        """One message was stored, asked for in JSON: the hot case."""
        header = self._success % (queue_id, commit_log_offset, queue_offset, opaque)
        size = len(header)
        return _pack_prefix(size + 4, size) + header

    def success_alike(self, opaques: Sequence[bytes], queue_ids: Sequence[int], placed: PlacedAlike) -> bytes:
        """The same for several messages; of their opaques the digits are given, as many of each."""
        return self._stored.json_alike(
            opaques, self._id_start, placed.offsets, queue_ids, placed.queue_offsets
        )
