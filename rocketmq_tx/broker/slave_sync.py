"""A slave takes over its master's tables: topics, groups, offsets of consumers and of delays.

Every ten seconds, and at once when the master of this project says that something has changed. Topics and
groups replace ours when their data version differs; consumer offsets are merged, the higher one wins, since
consumers may have gone on here while the master was away. The progress of delays comes with the end of the
master's log, asked for behind it: so much of the log it tells of. Facts: `spec/ha.yaml` (metadata_sync).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.errors import BodyError, CallRefused, RequestRefused, RocketMQError
from rocketmq_tx.protocol.bodies import (
    ConsumerOffsetSerializeWrapper,
    DelayOffsetSerializeWrapper,
    KVTable,
    SubscriptionGroupWrapper,
    TopicConfigSerializeWrapper,
)
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import GetAllTopicConfigRequestHeader
from rocketmq_tx.remoting.registry import Reply, serves
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.services import within

if TYPE_CHECKING:
    from rocketmq_tx.broker.registration import Caller
    from rocketmq_tx.remoting.peer import Peer

PERIOD_S = 10.0
FIRST_AFTER_S = 3.0
CALL_TIMEOUT_S = 3.0
LOG_WAIT_S = 2.0
"""So long the master's log may take to come as far as a topic was deleted; it asks for three seconds."""
LOG_END = "commitLogMaxOffset"
"""Among the runtime figures of a broker, Apache's as well."""


_HEADERS = {RequestCode.GET_ALL_TOPIC_CONFIG: GetAllTopicConfigRequestHeader(follows=True)}


class DelayTable(Protocol):
    """What is needed of `broker.delay_progress.DelayProgress`."""

    def follow(self, table: DelayOffsetSerializeWrapper, masters_log_end: int) -> None: ...


class SlaveSync(Periodic):
    """Asks the master named by `master_is`; each table by itself, so that one that fails keeps no other.

    `deleted` is told of topics that the master has deleted, and where its log ended then: what it returns
    fires when they are gone here, and the log has come as far.
    """

    _own_log = Logger()

    def __init__(
        self,
        topics: TopicTable,
        groups: SubscriptionGroupTable,
        offsets: ConsumerOffsets,
        delays: DelayTable,
        deleted: Callable[[Mapping[str, int]], Deferred[None]],
        caller: Caller,
        reactor: Any,
    ) -> None:
        super().__init__(reactor, PERIOD_S, self._take_all, "tables of the master", FIRST_AFTER_S)
        self._caller = caller
        self.news_observers: list[Callable[[], object]] = []
        self._delays = delays
        self._topics = topics
        self._deleted = deleted
        self._gone: Deferred[None] = succeed(None)
        self._delay_table: DelayOffsetSerializeWrapper | None = None
        self._master: str | None = None
        self._problem: str | None = None
        self._steps: list[tuple[RequestCode, Callable[[bytes], object]]] = [
            (RequestCode.GET_ALL_TOPIC_CONFIG, self._take_topics),
            (
                RequestCode.GET_ALL_CONSUMER_OFFSET,
                lambda body: offsets.merge_higher(ConsumerOffsetSerializeWrapper.from_bytes(body)),
            ),
            (RequestCode.GET_ALL_DELAY_OFFSET, self._take_delays),
            (RequestCode.GET_BROKER_RUNTIME_INFO, self._take_log_end),
            (
                RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
                lambda body: groups.adopt(SubscriptionGroupWrapper.from_bytes(body)),
            ),
        ]

    def master_is(self, address: str) -> None:
        """The master's address for requests; a new one is asked at once."""
        if address != self._master:
            self._master = address
            self.run_now()

    @serves(RequestCode.TABLES_CHANGED)
    def tables_changed(self, peer: Peer, frame: Frame, header: None) -> None:
        """The master says, unasked, that there is something new: tables, or another slave."""
        self.run_now()
        for observer in self.news_observers:
            observer()

    @serves(RequestCode.TAKE_TABLES)
    async def take_tables(self, peer: Peer, frame: Frame, header: None) -> Reply:
        """The master wants to be sure that this slave knows its topics, and which of them it has deleted."""
        if self._master is None or not self.running:
            raise _refused("this broker follows nobody")
        try:
            await self._take(self._master, RequestCode.GET_ALL_TOPIC_CONFIG, self._take_topics_of_master)
        except RocketMQError as error:
            raise _refused(f"topics not taken: {error}") from error
        if not await within(self._reactor, self._gone, LOG_WAIT_S):
            raise _refused("the log here is not as far yet")
        return Reply()

    def take_now(self) -> Deferred[None]:
        """Takes everything, whatever the periodic rounds do; fires when that was tried."""
        return self._take_all() or succeed(None)

    def _take_all(self) -> Deferred[None] | None:
        return None if self._master is None else Deferred.fromCoroutine(self._take_from(self._master))

    def _take_topics_of_master(self, body: bytes) -> None:
        """Unless this broker has taken over meanwhile, and the former master has not noticed."""
        if not self.running:
            raise _refused("this broker follows nobody any more")
        self._take_topics(body)

    def _take_topics(self, body: bytes) -> None:
        table = TopicConfigSerializeWrapper.from_bytes(body)
        self._topics.adopt(table)
        self._gone = self._deleted(table.deleted_topics) if table.deleted_topics else succeed(None)

    def _take_delays(self, body: bytes) -> None:
        self._delay_table = DelayOffsetSerializeWrapper.from_bytes(body)

    def _take_log_end(self, body: bytes) -> None:
        text = KVTable.from_bytes(body).table.get(LOG_END, "")
        if not text.isdecimal():
            raise BodyError(f"{LOG_END} is no number: {text!r}")
        if self._delay_table is not None:
            self._delays.follow(self._delay_table, int(text))

    async def _take(self, master: str, code: RequestCode, take: Callable[[bytes], object]) -> None:
        answer = await self._caller.call(master, Frame.request(code, _HEADERS.get(code)), CALL_TIMEOUT_S)
        if answer.code != ResponseCode.SUCCESS:
            raise CallRefused(code.name, master, answer.code, answer.remark)
        take(answer.body)

    async def _take_from(self, master: str) -> None:
        self._delay_table = None
        problems = []
        for code, take in self._steps:
            try:
                await self._take(master, code, take)
            except RocketMQError as error:
                problems.append(str(error))
        problem = "; ".join(problems) or None
        if problem != self._problem:
            if problem:
                self._own_log.warn("tables not taken from the master: {problem}", problem=problem)
            else:
                self._own_log.info("tables are taken from the master: address={address}", address=master)
        self._problem = problem


def _refused(why: str) -> RequestRefused:
    return RequestRefused(ResponseCode.SYSTEM_ERROR, why)
