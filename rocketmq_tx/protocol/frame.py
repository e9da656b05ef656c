"""One request or answer on the wire, as values; its bytes are `frame_codec`'s business."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from rocketmq_tx.protocol.codes import CURRENT_VERSION, LanguageCode, SerializeType

if TYPE_CHECKING:
    from rocketmq_tx.protocol.header_fields import Header

#: Bits of `Frame.flag` (spec/wire.yaml, flag_bits).
RESPONSE_FLAG = 1
ONEWAY_FLAG = 2


@attrs.define
class Frame:
    """A frame as RemotingCommand has it: fixed fields, named extra fields, body.

    `code` is a request code, or in an answer a response code. `opaque` pairs an answer with its request.
    `language` is a plain number where a peer named one that we do not know. `ext_fields` is None when the
    frame carries no command header at all, which differs on the wire from an empty one.
    """

    code: int
    opaque: int = 0
    flag: int = 0
    language: LanguageCode | int = LanguageCode.JAVA
    version: int = CURRENT_VERSION
    remark: str | None = None
    ext_fields: dict[str, str] | None = None
    body: bytes = b""
    serialize: SerializeType = SerializeType.JSON

    @property
    def is_response(self) -> bool:
        return self.flag & RESPONSE_FLAG != 0

    @property
    def is_oneway(self) -> bool:
        """Nobody waits for an answer to this request."""
        return self.flag & ONEWAY_FLAG != 0

    @classmethod
    def request(
        cls,
        code: int,
        header: Header | None = None,
        body: bytes = b"",
        *,
        opaque: int = 0,
        oneway: bool = False,
        remark: str | None = None,
        language: LanguageCode = LanguageCode.JAVA,
        version: int = CURRENT_VERSION,
        serialize: SerializeType = SerializeType.JSON,
    ) -> Frame:
        """A request; whoever sends it sets `opaque` to a number that is free on its connection."""
        return cls(
            code,
            opaque,
            ONEWAY_FLAG if oneway else 0,
            language,
            version,
            remark,
            None if header is None else header.to_ext_fields(),
            body,
            serialize,
        )

    def answer(
        self,
        code: int = 0,
        remark: str | None = None,
        header: Header | None = None,
        body: bytes = b"",
    ) -> Frame:
        """The answer to this request: same opaque, same serialization, language and version of ours."""
        return Frame(
            code,
            self.opaque,
            RESPONSE_FLAG,
            remark=remark,
            ext_fields=None if header is None else header.to_ext_fields(),
            body=body,
            serialize=self.serialize,
        )
