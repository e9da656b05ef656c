"""Serves LOCK_BATCH_MQ and UNLOCK_BATCH_MQ: orderly consumers lease the queues that they consume."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.broker.queue_locks import QueueLocks
from rocketmq_tx.errors import BodyError, RequestRefused
from rocketmq_tx.protocol.bodies import LockBatchRequestBody, LockBatchResponseBody, UnlockBatchRequestBody
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.config.store import MessageStoreConfig
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer


class LockRequests:
    """`now_s` is the monotonic clock in seconds: leases must not end early because the calendar jumped.

    Of master and slaves only the master leases, which `config` tells: a former one would go on to renew what
    its successor has leased to somebody else, for consumers that have not heard of the change yet.
    """

    def __init__(self, locks: QueueLocks, config: MessageStoreConfig, now_s: Callable[[], float]) -> None:
        self.locks = locks
        self._config = config
        self._now_s = now_s

    @serves(RequestCode.LOCK_BATCH_MQ)
    def lock(self, peer: Peer, frame: Frame, header: None) -> Reply:
        """Answers with the queues that the client holds now; the others belong to somebody else."""
        if not frame.body:
            raise BodyError("the request has no body, a LockBatchRequestBody is needed")
        if not self._config.broker_role.is_master:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, "this broker is a slave: its master locks queues")
        request = LockBatchRequestBody.from_bytes(frame.body)
        held = self.locks.lock(request.consumer_group, request.client_id, request.mq_set, self._now_s())
        return Reply(body=LockBatchResponseBody(lock_ok_mq_set=held).to_bytes())

    @serves(RequestCode.UNLOCK_BATCH_MQ)
    def unlock(self, peer: Peer, frame: Frame, header: None) -> Reply:
        if not frame.body:
            raise BodyError("the request has no body, an UnlockBatchRequestBody is needed")
        request = UnlockBatchRequestBody.from_bytes(frame.body)
        self.locks.unlock(request.consumer_group, request.client_id, request.mq_set)
        return Reply()

    def role_changed(self) -> None:
        """Its successor leases anew: what was leased here must not count when this one leads again."""
        if not self._config.broker_role.is_master:
            self.locks.clear()

    def drop_expired(self) -> None:
        """Periodic work: frees what nobody renewed."""
        self.locks.drop_expired(self._now_s())
