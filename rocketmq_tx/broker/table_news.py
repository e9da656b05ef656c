"""A master tells its slaves at once that topics or groups have changed; those of Apache do not know the word.

A slave is who compares logs, or says so when it asks for the topics, which Apache's never do.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults

from rocketmq_tx.errors import RemotingError
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from rocketmq_tx.remoting.peer import Peer

TOGETHER_S = 0.05
"""Changes come in crowds; one word for all of them is enough."""


class TableNews:
    """Knows the connections of slaves; `changed` is called after each change of a table."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._slaves: set[Peer] = set()
        self._hosts: set[str] = set()
        """Where slaves of this project were seen."""
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many slaves of this project there are, those included that only begin to follow."""
        return len(self._slaves)

    def is_slave(self, peer: Peer) -> None:
        """This connection is a slave's, of this project; what changed before it said so is news as well."""
        if peer not in self._slaves:
            self._slaves.add(peer)
            self._hosts.add(peer.address[0])
            self.changed()

    def has_slave_at(self, host: str) -> bool:
        """Whether a slave of this project is at that address."""
        return any(peer.address[0] == host for peer in self._slaves if peer.is_open)

    def changed(self, *_: Any) -> None:
        if self._slaves and self._timer is None:
            self._timer = self._reactor.callLater(TOGETHER_S, self._tell)

    def _tell(self) -> None:
        self._timer = None
        for peer in list(self._slaves):
            if peer.is_open:
                peer.push(Frame.request(RequestCode.TABLES_CHANGED))
            else:
                self._slaves.discard(peer)

    def have_taken(self, timeout_s: float, following: AbstractSet[str] = frozenset()) -> Deferred[list[str]]:
        """Has each slave take the topics now; fires with a sentence for each that has not in that time.

        `following` is where the log goes: a slave may have lost this connection, and still get that.
        """
        lost = sorted(host for host in following & self._hosts if not self.has_slave_at(host))
        unasked = [f"the slave at {host} cannot be asked now: it has no connection for that" for host in lost]
        asked = [Deferred.fromCoroutine(_has_taken(peer, timeout_s)) for peer in self._slaves if peer.is_open]
        return gatherResults(asked).addCallback(lambda sentences: [*unasked, *filter(None, sentences)])

    def connection_made(self, peer: Peer) -> None:
        """Nobody is a slave before it has said so."""

    def connection_lost(self, peer: Peer, reason: str) -> None:
        self._slaves.discard(peer)


async def _has_taken(peer: Peer, timeout_s: float) -> str | None:
    try:
        answer = await peer.call(Frame.request(RequestCode.TAKE_TABLES), timeout_s)
    except RemotingError as error:
        return str(error)
    if answer.code == ResponseCode.SUCCESS:
        return None
    return f"{peer.name} answered: {answer.remark}"
