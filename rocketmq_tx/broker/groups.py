"""The subscription group table: settings of consumer groups, kept in `config/subscriptionGroup.json`.

Facts: `spec/bodies.yaml` (SubscriptionGroupConfig), `spec/store.yaml` (system_groups_at_start).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.broker.kept_table import TableFile
from rocketmq_tx.broker.versioned_table import VersionedTable
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


class SubscriptionGroupTable(VersionedTable[SubscriptionGroupConfig]):
    """All consumer groups by name. Every change gets a new data version and is written down."""

    def __init__(
        self,
        broker: BrokerConfig,
        file: TableFile,
        now_ms: Callable[[], int],
        reactor: IReactorTime | None = None,
    ) -> None:
        at_start = {name: SubscriptionGroupConfig(group_name=name) for name in names.BROKER_GROUPS}
        super().__init__(at_start, file, now_ms, reactor)
        self._broker = broker
        self.observers: list[Callable[[], None]] = []

    def find(self, group: str) -> SubscriptionGroupConfig | None:
        """Settings of a group in use: an unknown one is created when the broker may do so, else None.

        What is no name of a group is never created, whoever asks.
        """
        found = self._table.get(group)
        if found is None and self._may_create(group):
            found = SubscriptionGroupConfig(group_name=group)
            self.put(found)
        return found

    def put(self, config: SubscriptionGroupConfig) -> None:
        """Makes a group, or replaces its settings; RequestRefused for what is no name of a group."""
        names.check_group(config.group_name)
        self._table[config.group_name] = config
        self._changed()

    def delete(self, group: str) -> bool:
        """Forgets a group; False when there was none."""
        if self._table.pop(group, None) is None:
            return False
        self._changed()
        return True

    def adopt(self, masters: SubscriptionGroupWrapper) -> bool:
        """On a slave: the master's table in place of ours, unless its data version is ours already."""
        if masters.data_version == self.data_version:
            return False
        self._replace(masters.subscription_group_table, masters.data_version)
        return True

    def _may_create(self, group: str) -> bool:
        is_internal = names.is_system_group(group)
        may_create = is_internal or self._broker.auto_create_subscription_group
        return may_create and names.group_refusal(group) is None

    def _changed(self) -> None:
        self._new_version()
        for observer in self.observers:
            observer()

    def snapshot(self) -> SubscriptionGroupWrapper:
        """The table as GET_ALL_SUBSCRIPTIONGROUP_CONFIG answers it."""
        return SubscriptionGroupWrapper(
            subscription_group_table=dict(self._table), data_version=self.data_version
        )

    def read(self, data: bytes) -> tuple[dict[str, SubscriptionGroupConfig], DataVersion]:
        kept = SubscriptionGroupWrapper.from_bytes(data)
        return kept.subscription_group_table, kept.data_version
