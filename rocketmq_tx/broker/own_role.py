"""What this broker is: on the device, in memory, and in the settings at which all parts look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from twisted.logger import Logger

from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.failover.epoch_file import EpochFile, Standing

if TYPE_CHECKING:
    from rocketmq_tx.broker.registration_frames import BrokerIdentity


class OwnRole:
    """`standing` is what it is now: what the file says, and without one what is configured."""

    _log = Logger()

    def __init__(self, settings: BrokerSettings, file: EpochFile, identity: BrokerIdentity) -> None:
        self._settings = settings
        self._file = file
        self._identity = identity
        self.standing = self._configured()
        self.is_used = False
        """Whether fail-over was ever used here: then there is a file."""

    def load(self) -> None:
        """Before anything else starts: what the file says wins over the configuration. StoreDamaged."""
        configured = self.standing = self._configured()
        kept = self._file.load()
        if kept is None:
            return
        if configured.broker_role.is_master:
            kept = attrs.evolve(kept, master_role=configured.master_role)
        role = kept.master_role if kept.broker_role.is_master else BrokerRole.SLAVE
        self.standing = attrs.evolve(kept, broker_role=role)
        self.is_used = True
        if (role, kept.broker_id) != (configured.broker_role, configured.broker_id):
            self._log.info(
                "this broker is what its last promotion has made it, not what is configured:"
                " brokerRole={role} brokerId={broker_id} epoch={epoch}"
                " configured={configured}/{configured_id}",
                role=role.value,
                broker_id=kept.broker_id,
                epoch=kept.history.number,
                configured=configured.broker_role.value,
                configured_id=configured.broker_id,
            )
        self.apply()

    def _configured(self) -> Standing:
        role = self._settings.store.broker_role
        master_role = role if role.is_master else BrokerRole.ASYNC_MASTER
        return Standing(role, self._settings.broker.broker_id, master_role)

    def stand(self, **changes: Any) -> None:
        """On the device, then in memory. StoreError leaves all as it was."""
        standing = attrs.evolve(self.standing, **changes)
        self._file.save(standing)
        self.standing = standing
        self.is_used = True

    def assume(self, **changes: Any) -> None:
        """In memory only."""
        self.standing = attrs.evolve(self.standing, **changes)

    def apply(self) -> None:
        """The settings say so from now on, and NameServers are told when they are next told anything."""
        standing = self.standing
        self._settings.store.broker_role = standing.broker_role
        self._settings.broker.broker_id = standing.broker_id
        self._identity.epoch = standing.history.number
