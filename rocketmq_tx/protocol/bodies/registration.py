"""What a broker registers with a NameServer, as JSON and in the compressed form.

The compressed form (broker key `compressedRegister`) is one zlib stream; it loses topicSysFlag and order of
the topics. Facts: `spec/bodies.yaml` RegisterBrokerBody; `registration_layouts.py` declares the layout and
is the referee of the fast path here.
"""

from __future__ import annotations

import zlib
from typing import Final

import attrs

from rocketmq_tx.errors import BodyError, MessageError
from rocketmq_tx.protocol import fastjson
from rocketmq_tx.protocol.bodies.fields import Body, body
from rocketmq_tx.protocol.bodies.queue import DataVersion
from rocketmq_tx.protocol.bodies.topic import TopicConfig, TopicConfigSerializeWrapper
from rocketmq_tx.protocol.compression import unpack_zlib

MAX_REGISTRATION_BYTES: Final = 16 * 1024 * 1024
"""What a compressed registration may expand to: the size of the largest frame, some 300,000 topics."""


@body
class RegisterBrokerBody(Body):
    """The topics of a broker with their version; filter servers are a relic and always empty."""

    topic_config_serialize_wrapper: TopicConfigSerializeWrapper = attrs.Factory(TopicConfigSerializeWrapper)
    filter_server_list: list[str] = attrs.Factory(list)

    @classmethod
    def from_compressed(cls, data: bytes, max_bytes: int = MAX_REGISTRATION_BYTES) -> RegisterBrokerBody:
        """Reads the compressed form; BodyError when it is damaged or expands beyond `max_bytes`.

        Each text is read as it is cut off, so that rubbish ends the work at its first topic.
        """
        try:
            texts = _Texts(unpack_zlib(data, max_bytes))
        except MessageError as error:
            raise BodyError(f"RegisterBrokerBody: {error}") from error
        data_version = DataVersion.from_bytes(texts.text())
        topics = [TopicConfig.from_text(texts.text()) for _ in range(texts.number())]
        filter_servers = fastjson.loads(texts.text() or "[]")
        if not isinstance(filter_servers, list):
            raise BodyError("RegisterBrokerBody.filterServerList: an array expected")
        texts.end()
        table = {topic.topic_name: topic for topic in topics}
        return cls(TopicConfigSerializeWrapper(table, data_version), list(map(str, filter_servers)))

    def to_compressed(self) -> bytes:
        """The compressed form."""
        wrapper = self.topic_config_serialize_wrapper
        topics = wrapper.topic_config_table.values()
        parts = [
            _prefixed(wrapper.data_version.to_bytes()),
            len(topics).to_bytes(4, "big"),
            *(_prefixed(topic.to_text().encode()) for topic in topics),
            _prefixed(fastjson.dumps(self.filter_server_list)),
        ]
        return zlib.compress(b"".join(parts), 9)


def _prefixed(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


class _Texts:
    """A walk over numbers and prefixed texts; BodyError where the bytes end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) != length:
            raise BodyError(f"RegisterBrokerBody: {length} bytes expected at {self._at} of {len(self._data)}")
        self._at += length
        return taken

    def number(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def text(self) -> str:
        try:
            return self._take(self.number()).decode()
        except UnicodeDecodeError as error:
            raise BodyError(f"RegisterBrokerBody: no UTF-8 before {self._at}") from error

    def end(self) -> None:
        if self._at != len(self._data):
            raise BodyError(f"RegisterBrokerBody: more bytes after the end at {self._at}")
