"""The subscription group table: settings of consumer groups, kept in `config/subscriptionGroup.json`.

Facts: `spec/bodies.yaml` (SubscriptionGroupConfig), `spec/store.yaml` (system_groups_at_start).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rocketmq_tx.broker.kept_table import KeptTable, TableFile
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


class SubscriptionGroupTable:
    """All consumer groups by name. Every change gets a new data version and is written down."""

    def __init__(
        self,
        broker: BrokerConfig,
        file: TableFile,
        now_ms: Callable[[], int],
        reactor: IReactorTime | None = None,
    ) -> None:
        self._broker = broker
        self._now_ms = now_ms
        self._kept = KeptTable(file, self.to_json, reactor)
        self._groups = {name: SubscriptionGroupConfig(group_name=name) for name in names.BROKER_GROUPS}
        self.data_version = DataVersion(timestamp=now_ms(), counter=0)
        self.observers: list[Callable[[], None]] = []

    def get(self, group: str) -> SubscriptionGroupConfig | None:
        """Settings of a group, or None; never creates one."""
        return self._groups.get(group)

    def find(self, group: str) -> SubscriptionGroupConfig | None:
        """Settings of a group in use: an unknown one is created when the broker may do so, else None.

        What is no name of a group is never created, whoever asks.
        """
        found = self._groups.get(group)
        if found is None and self._may_create(group):
            found = SubscriptionGroupConfig(group_name=group)
            self.put(found)
        return found

    def configs(self) -> Mapping[str, SubscriptionGroupConfig]:
        """The whole table, for reading."""
        return self._groups

    def put(self, config: SubscriptionGroupConfig) -> None:
        """Makes a group, or replaces its settings; RequestRefused for what is no name of a group."""
        names.check_group(config.group_name)
        self._groups[config.group_name] = config
        self._changed()

    def delete(self, group: str) -> bool:
        """Forgets a group; False when there was none."""
        if self._groups.pop(group, None) is None:
            return False
        self._changed()
        return True

    def adopt(self, masters: SubscriptionGroupWrapper) -> bool:
        """On a slave: the master's table in place of ours, unless its data version is ours already."""
        if masters.data_version == self.data_version:
            return False
        self._groups = dict(masters.subscription_group_table)
        self.data_version = masters.data_version
        self._kept.save()
        return True

    def _may_create(self, group: str) -> bool:
        is_internal = names.is_system_group(group)
        may_create = is_internal or self._broker.auto_create_subscription_group
        return may_create and names.group_refusal(group) is None

    def _changed(self) -> None:
        self.data_version = DataVersion(timestamp=self._now_ms(), counter=self.data_version.counter + 1)
        self._kept.save()
        for observer in self.observers:
            observer()

    # -- the file ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Takes what was kept; groups of the file win over those of a fresh broker."""
        kept = self._kept.load(SubscriptionGroupWrapper.from_bytes)
        if kept is not None:
            self._groups.update(kept.subscription_group_table)
            self.data_version = kept.data_version

    def save_again(self) -> None:
        """Writes the table once more if the last write failed; called from time to time."""
        self._kept.save_again()

    def save_now(self) -> None:
        """Writes the table if a change of it is not written yet; for an orderly stop."""
        self._kept.save_now()

    def snapshot(self) -> SubscriptionGroupWrapper:
        """The table as GET_ALL_SUBSCRIPTIONGROUP_CONFIG answers it."""
        return SubscriptionGroupWrapper(
            subscription_group_table=dict(self._groups), data_version=self.data_version
        )

    def to_json(self) -> bytes:
        """The table as the file holds it (indented)."""
        return self.snapshot().to_bytes(pretty=True)
