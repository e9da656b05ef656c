"""Serves look-ups of single messages: by key (QUERY_MESSAGE), by place (VIEW_MESSAGE_BY_ID).

Facts: spec/processors.yaml (QueryMessageProcessor).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.errors import IndexNotReady, RequestRefused, StoreError
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    QueryMessageRequestHeader,
    QueryMessageResponseHeader,
    ViewMessageRequestHeader,
)
from rocketmq_tx.remoting.registry import Reply, serves
from rocketmq_tx.store.key_query import WORK_A_TURN

if TYPE_CHECKING:
    from rocketmq_tx.broker.warm_reads import WarmReads
    from rocketmq_tx.config.store import MessageStoreConfig
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.key_query import KeyQuery, QueryResult
    from rocketmq_tx.store.stored_messages import StoredMessages

QUERY_ROUNDS_MAX = 200
"""Each message and each entry of the index may have to be fetched, and one answer holds up to 64."""
UNIQUE_KEY_QUERY = "_UNIQUE_KEY_QUERY"
"""An extra field beside the header: the key is a unique id, and the broker chooses how many to return."""


class QueryRequests:
    """Answers with records as they are stored."""

    def __init__(self, config: MessageStoreConfig, store: StoredMessages, reads: WarmReads) -> None:
        self._config = config
        self._store = store
        self._reads = reads

    @serves(RequestCode.QUERY_MESSAGE)
    async def by_key(self, peer: Peer, frame: Frame, header: QueryMessageRequestHeader) -> Reply:
        """The newest messages with a key, oldest first, stored between two times.

        How far the index reaches is told only with messages, as in Apache.
        """
        most = header.max_num
        if (frame.ext_fields or {}).get(UNIQUE_KEY_QUERY) == "true":
            most = self._config.default_query_max_num

        query: KeyQuery | None = None

        def step(may_block: bool) -> QueryResult | None:
            nonlocal query
            if query is None:
                span = header.begin_timestamp, header.end_timestamp
                query = self._store.key_query(header.topic, header.key, most, *span)
            return query.run(may_block, WORK_A_TURN)

        try:
            while (found := await self._reads.read(step, QUERY_ROUNDS_MAX)) is None:
                await self._reads.turn()
        except IndexNotReady as error:
            raise RequestRefused(ResponseCode.SYSTEM_BUSY, f"ask again later: {error}") from error
        if not found.body:
            return Reply(
                ResponseCode.QUERY_NOT_FOUND,
                "can not find message, maybe time range not correct",
                QueryMessageResponseHeader(index_last_update_timestamp=0, index_last_update_phyoffset=0),
            )
        answer = QueryMessageResponseHeader(
            index_last_update_timestamp=found.index_last_update_timestamp,
            index_last_update_phyoffset=found.index_last_update_offset,
        )
        return Reply(header=answer, body=found.body)

    @serves(RequestCode.VIEW_MESSAGE_BY_ID)
    async def by_place(self, peer: Peer, frame: Frame, header: ViewMessageRequestHeader) -> Reply:
        """The record that begins at a commit log offset, which is part of an offset message id."""
        try:
            record = await self._reads.read(lambda may_block: self._store.record_at(header.offset, may_block))
        except StoreError as error:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR, f"can not find message by the offset, {header.offset}"
            ) from error
        return Reply(body=record)
