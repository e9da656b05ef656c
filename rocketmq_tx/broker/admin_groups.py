"""Serves the settings of consumer groups: make or change one (200), list all (201), delete one (207).

Facts: spec/processors.yaml (AdminBrokerProcessor).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.broker.admin_topics import check_is_master
from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.headers import DeleteSubscriptionGroupRequestHeader
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.groups import SubscriptionGroupTable
    from rocketmq_tx.broker.offsets import ConsumerOffsets
    from rocketmq_tx.config.store import MessageStoreConfig
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer


class GroupRequests:
    """Changes the table of groups; a slave takes it over from its master instead."""

    def __init__(
        self,
        store: MessageStoreConfig,
        groups: SubscriptionGroupTable,
        offsets: ConsumerOffsets,
        deleted: Callable[[str], object] = lambda group: None,
    ) -> None:
        self._deleted = deleted
        self._store = store
        self._groups = groups
        self._offsets = offsets

    @serves(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP)
    def put(self, peer: Peer, frame: Frame, header: None) -> Reply:
        check_is_master(self._store)
        if not frame.body:
            raise BodyError("the request has no body, a SubscriptionGroupConfig is needed")
        if frame.body.strip() != b"null":  # which Apache takes for nothing to do
            self._groups.put(SubscriptionGroupConfig.from_bytes(frame.body))
        return Reply()

    @serves(RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG)
    def list_all(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return Reply(body=self._groups.snapshot().to_bytes())

    @serves(RequestCode.DELETE_SUBSCRIPTIONGROUP)
    def delete(self, peer: Peer, frame: Frame, header: DeleteSubscriptionGroupRequestHeader) -> Reply:
        """An unknown group is answered like a known one; its offsets go only when that is asked for."""
        check_is_master(self._store)
        self._groups.delete(header.group_name)
        self._deleted(header.group_name)
        if header.remove_offset:
            self._offsets.remove_group(header.group_name)
        return Reply()
