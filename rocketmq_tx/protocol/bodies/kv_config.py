"""The NameServer's key-value store on disk."""

from __future__ import annotations

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, body


@body
class KVConfigSerializeWrapper(Body):
    """Values by namespace and key: kvConfig.json (compact, one line)."""

    config_table: dict[str, dict[str, str]] = attrs.Factory(dict)
