"""What a broker registers with a NameServer, as JSON and in the compressed form.

The compressed form (broker key `compressedRegister`) is one zlib stream; it loses topicSysFlag and order of
the topics. Facts: `spec/bodies.yaml` RegisterBrokerBody; the layout is in `registration_layouts.py`.
"""

from __future__ import annotations

import zlib
from typing import Final

import attrs

from rocketmq_tx.errors import BodyError, MessageError
from rocketmq_tx.protocol import fastjson
from rocketmq_tx.protocol.bodies.fields import Body
from rocketmq_tx.protocol.bodies.queue import DataVersion
from rocketmq_tx.protocol.bodies.topic import TopicConfig, TopicConfigSerializeWrapper
from rocketmq_tx.protocol.compression import unpack_zlib

MAX_REGISTRATION_BYTES: Final = 64 * 1024 * 1024
"""What a compressed registration may expand to: about a million topics."""


@attrs.define
class RegisterBrokerBody(Body):
    """The topics of a broker with their version; filter servers are a relic and always empty."""

    topic_config_serialize_wrapper: TopicConfigSerializeWrapper = attrs.Factory(TopicConfigSerializeWrapper)
    filter_server_list: list[str] = attrs.Factory(list)

    @classmethod
    def from_compressed(cls, data: bytes, max_bytes: int = MAX_REGISTRATION_BYTES) -> RegisterBrokerBody:
        """Reads the compressed form; BodyError when it is damaged or expands beyond `max_bytes`."""
        # construct costs more to import than a start should pay for a form that is off by default
        from rocketmq_tx.protocol.bodies.registration_layouts import parse_registration  # noqa: PLC0415

        try:
            parts = parse_registration(unpack_zlib(data, max_bytes))
        except (MessageError, ValueError) as error:
            raise BodyError(f"RegisterBrokerBody: {error}") from error
        topics = [TopicConfig.from_text(text) for text in parts.topics]
        filter_servers = fastjson.loads(parts.filter_servers or "[]")
        if not isinstance(filter_servers, list):
            raise BodyError("RegisterBrokerBody.filterServerList: an array expected")
        return cls(
            TopicConfigSerializeWrapper(
                {topic.topic_name: topic for topic in topics}, DataVersion.from_bytes(parts.data_version)
            ),
            list(map(str, filter_servers)),
        )

    def to_compressed(self) -> bytes:
        """The compressed form."""
        from rocketmq_tx.protocol.bodies.registration_layouts import build_registration  # noqa: PLC0415

        wrapper = self.topic_config_serialize_wrapper
        plain = build_registration(
            wrapper.data_version.to_bytes().decode(),
            [topic.to_text() for topic in wrapper.topic_config_table.values()],
            fastjson.dumps(self.filter_server_list).decode(),
        )
        return zlib.compress(plain, 9)
