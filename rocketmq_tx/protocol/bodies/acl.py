"""Accounts and their rights, as tools read them from a broker."""

from __future__ import annotations

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, body


@body
class PlainAccessConfig(Body):
    """One account; permissions are `name=PUB|SUB`."""

    access_key: str | None = None
    secret_key: str | None = None
    white_remote_address: str | None = None
    admin: bool = False
    default_topic_perm: str | None = None
    default_group_perm: str | None = None
    topic_perms: list[str] | None = None
    group_perms: list[str] | None = None


@body
class GetBrokerClusterAclConfigResponseBody(Body):
    """All accounts, and the addresses that need none (AclConfig)."""

    global_white_addrs: list[str] = attrs.Factory(list)
    plain_access_configs: list[PlainAccessConfig] = attrs.Factory(list)
