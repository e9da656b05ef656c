"""`config/epochs.json`: what a broker is, and the epochs of its log. Exists once fail-over was ever used.

It wins over `brokerRole` and `brokerId` of the configuration: a slave that was promoted starts as a master.
Apache's brokers do not look at it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import attrs

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import StoreError
from rocketmq_tx.failover.epochs import Epoch, EpochHistory
from rocketmq_tx.store.json_file import JsonFile

NAME = "epochs.json"


@attrs.frozen
class Standing:
    """What a broker is: `broker_role` and `broker_id` as in the configuration, and the history of its log.

    `master_role` is which kind of master it is when it is one: what the master before it was.
    """

    broker_role: BrokerRole
    broker_id: int
    master_role: BrokerRole = BrokerRole.ASYNC_MASTER
    history: EpochHistory = attrs.Factory(EpochHistory)
    handing_over_to: str | None = None
    """The slave that a master was asked to make room for: until it says whether it has taken over."""


class EpochFile:
    """The file. It is on the device when `save` returns."""

    def __init__(self, file: JsonFile) -> None:
        self._file = file

    def load(self) -> Standing | None:
        """None when fail-over was never used. StoreDamaged when file and copy cannot be read."""
        return self._file.load(_parse)

    def save(self, standing: Standing) -> None:
        """StoreError leaves what was there."""
        table: dict[str, Any] = {
            "brokerRole": standing.broker_role.value,
            "brokerId": standing.broker_id,
            "masterRole": standing.master_role.value,
            "epochs": [
                {"epoch": epoch.number, "startOffset": epoch.start_offset, "freedId": epoch.freed_broker_id}
                for epoch in standing.history.epochs
            ],
        }
        if standing.handing_over_to is not None:
            table["handingOverTo"] = standing.handing_over_to
        content = json.dumps(table, indent=1).encode()
        self._file.save(content)
        with suppress(StoreError):  # it holds already
            self._file.save(content)  # else the copy that stands in for a spoiled file is of another role


def _parse(content: bytes) -> Standing:
    table: Any = json.loads(content)
    try:
        epochs = tuple(
            Epoch(int(each["epoch"]), int(each["startOffset"]), int(each["freedId"]))
            for each in table["epochs"]
        )
        return Standing(
            BrokerRole(table["brokerRole"]),
            int(table["brokerId"]),
            BrokerRole(table["masterRole"]),
            EpochHistory(epochs),
            table.get("handingOverTo"),
        )
    except KeyError as error:
        raise ValueError(f"no table of epochs: {error} is missing") from error
    except (AttributeError, TypeError) as error:
        raise ValueError(f"no table of epochs: {error}") from error
