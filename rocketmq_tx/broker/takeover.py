"""A slave takes over because an operator says so: asks everybody, judges, has the master hand over, promotes.

who is there -> judge -> HAND_OVER to the master -> caught up, tables taken -> promote -> FOLLOW to all
                      -> no master: HAND_OVER to the other slaves -> who is there -> judge -> promote -> ...
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rocketmq_tx.broker.role_change import RoleChange
from rocketmq_tx.broker.standing_still import StandingStill
from rocketmq_tx.broker.survey import Survey, take_survey
from rocketmq_tx.errors import CallRefused, RemotingError, RequestRefused, RocketMQError
from rocketmq_tx.failover.state import BrokerState
from rocketmq_tx.failover.verdict import Judgement, Verdict, judge
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.protocol.headers import (
    FollowRequestHeader,
    HandOverRequestHeader,
    HandOverResponseHeader,
    PromoteRequestHeader,
    PromoteResponseHeader,
)
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.cluster_side import ClusterSide
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.replication.log_comparison import LogComparison
    from rocketmq_tx.store.stored_messages import StoredMessages

HAND_OVER_TIMEOUT_S = 3.0
CATCH_UP_S = 20.0
"""A master that handed over and is not caught up with by then goes on as before."""
LOOK_S = 0.01
FOLLOW_TIMEOUT_S = 10.0
TELL_AGAIN_S = 5.0
TELL_TIMES = 120


class LinkToMaster(Protocol):
    """What is needed of `broker.replication_side.ReplicationSide`."""

    @property
    def master_address(self) -> str | None:
        """Who is followed, as `host:port`."""

    @property
    def comparison(self) -> LogComparison: ...

    def take_tables(self) -> Deferred[None]: ...


class Takeover:
    """Serves PROMOTE. `own_state` is what this broker says of itself, `told` what its master said last.

    `still` says whether another slave is being promoted, and hears that this one is.
    """

    _log = Logger()

    def __init__(
        self,
        surroundings: Surroundings,
        store: StoredMessages,
        roles: RoleChange,
        own_state: Callable[[], BrokerState],
        cluster: ClusterSide,
        link: LinkToMaster,
        told: Callable[[], BrokerState | None],
        still: StandingStill,
    ) -> None:
        self._settings = surroundings.settings
        self._store = store
        self._roles = roles
        self._own_state = own_state
        self._caller = cluster.caller
        self._name_servers = cluster.registration.addresses
        self._link = link
        self._told = told
        self._reactor = surroundings.reactor
        self._still = still

    @serves(RequestCode.PROMOTE)
    async def promote(self, peer: Peer, frame: Frame, header: PromoteRequestHeader) -> Reply:
        if self._roles.is_master:
            raise _refused(f"this broker is the master already, of epoch {self._roles.history.number}")
        if self._settings.broker.auto_failover and not header.only_ask:
            raise _refused(
                "with autoFailover the brokers agree on who is master: stop the master in order, and a slave"
                " in sync takes over at once"
            )
        if header.only_ask:
            survey = await self._survey()
            return _reply(survey, self._judge(survey))
        if self._still.is_promoting:
            raise _refused("another promotion of this broker is under way")
        if self._still.stands_for is not None and not header.force:
            raise _refused(f"the slave {self._still.stands_for} is being promoted")
        self._still.is_promoting = True
        try:
            return await self._promote(header.force)
        finally:
            self._still.is_promoting = False

    async def _promote(self, force: bool) -> Reply:
        survey = await self._survey()
        judgement = self._judge(survey)
        standing: list[str] = []
        try:
            if judgement.verdict is not Verdict.HAND_OVER:
                _check(judgement, force)
                await self._have_stand_still(survey, standing, force)
                survey = await self._survey()
                judgement = self._judge(survey)
            _check(judgement, force)
            await self._take_over(survey, judgement, survey.next_epoch, force)
        except RocketMQError:
            for address in standing:
                await self._release(address, survey.next_epoch)
            raise
        self._still.forget()
        return _reply(survey, judgement)

    def _judge(self, survey: Survey) -> Judgement:
        return judge(
            survey.mine, survey.master, self._told(), survey.others, survey.rival, survey.foreign_master
        )

    async def _have_stand_still(self, survey: Survey, standing: list[str], force: bool) -> None:
        """Every other slave lets go of its master, and is not promoted itself; `standing` gets who was asked.

        A refusal counts with force as well: of two promotions at the same time both may be refused, and
        never none.
        """
        for address, state in survey.others.items():
            if state is None:
                continue
            standing.append(address)
            try:
                await self._ask_to_hand_over(address, survey.next_epoch)
            except CallRefused as error:
                raise _refused(f"the slave {address} does not stand still: {error}") from error
            except RemotingError as error:
                if not force:
                    raise _refused(f"the slave {address} does not stand still: {error}") from error

    def _survey(self) -> Coroutine[Any, Any, Survey]:
        return take_survey(
            self._caller,
            self._name_servers(),
            self._settings.broker,
            self._own_state(),
            self._link.master_address,
        )

    async def _take_over(self, survey: Survey, judgement: Judgement, epoch: int, force: bool) -> None:
        self._log.info(
            "taking over: epoch={epoch} verdict={verdict} because={reason}",
            epoch=epoch,
            verdict=judgement.verdict.name,
            reason=judgement.reason,
        )
        master = survey.master_address if judgement.verdict is Verdict.HAND_OVER else None
        if master is not None:
            await self._hand_over(master, epoch, force)
        try:
            await self._roles.promote(epoch)
        except RocketMQError as error:
            if master is not None:
                await self._release(master, epoch)
            raise error if isinstance(error, RequestRefused) else _refused(str(error)) from error
        for address in survey.members:
            Deferred.fromCoroutine(self._tell(address, epoch))

    async def _hand_over(self, master: str, epoch: int, force: bool) -> None:
        """The master takes no more messages, and this slave has all of its log; or all is as before."""
        try:
            end = await self._ask_to_hand_over(master, epoch)
            await self._catch_up(end)
            differs_at = await self._link.comparison.common_to(master, end)
            if differs_at < end and not force:
                raise RemotingError(f"this slave's log differs from the master's at {differs_at}")
            await self._link.take_tables()
        except RocketMQError as error:
            await self._release(master, epoch)
            raise _refused(f"the master did not hand over, and goes on: {error}") from error

    async def _ask_to_hand_over(self, master: str, epoch: int) -> int:
        header = HandOverRequestHeader(broker_addr=self._settings.broker_address, epoch=epoch)
        answer = await self._call(master, RequestCode.HAND_OVER, header, HAND_OVER_TIMEOUT_S)
        return HandOverResponseHeader.from_ext_fields(answer.ext_fields).max_offset

    async def _catch_up(self, end: int) -> None:
        until_s = self._reactor.seconds() + CATCH_UP_S
        while self._store.written_to < end:
            if self._reactor.seconds() > until_s:
                raise RemotingError(
                    f"after {CATCH_UP_S:g} s this slave's log ends at {self._store.written_to}, and the"
                    f" master's at {end}"
                )
            await deferLater(self._reactor, LOOK_S)

    async def _release(self, master: str, epoch: int) -> None:
        header = HandOverRequestHeader(broker_addr=self._settings.broker_address, epoch=epoch, release=True)
        try:
            await self._call(master, RequestCode.HAND_OVER, header, HAND_OVER_TIMEOUT_S)
        except RemotingError as error:
            self._log.warn("not told that it goes on, and finds out by itself: {error}", error=error)

    async def _tell(self, address: str, epoch: int) -> None:
        """Until it has heard: a former master that cannot be reached now takes what is cut later."""
        header = FollowRequestHeader(broker_addr=self._settings.broker_address, epoch=epoch)
        for _ in range(TELL_TIMES):
            if not self._roles.is_master or self._roles.history.number != epoch:
                return
            try:
                await self._call(address, RequestCode.FOLLOW, header, FOLLOW_TIMEOUT_S)
            except CallRefused:
                return  # Apache's knows nothing of this
            except RemotingError:
                await deferLater(self._reactor, TELL_AGAIN_S)
                continue
            return

    async def _call(self, address: str, code: RequestCode, header: Header, timeout_s: float) -> Frame:
        answer = await self._caller.call(address, Frame.request(code, header), timeout_s)
        if answer.code != ResponseCode.SUCCESS:
            raise CallRefused(code.name, address, answer.code, answer.remark)
        return answer


def _check(judgement: Judgement, force: bool) -> None:
    if judgement.needs_force and not force:
        raise _refused(judgement.reason)


def _reply(survey: Survey, judgement: Judgement) -> Reply:
    header = PromoteResponseHeader(
        verdict=judgement.verdict.name, reason=judgement.reason, epoch=survey.next_epoch
    )
    return Reply(header=header, body=survey.to_body())


def _refused(sentence: str) -> RequestRefused:
    return RequestRefused(ResponseCode.SYSTEM_ERROR, sentence)
