"""Accounts and white lists of a broker with access control."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, boolean, header, string


@header
class CreateAccessConfigRequestHeader(Header):
    """UPDATE_AND_CREATE_ACL_CONFIG: one account; permissions as comma lists of name=PUB|SUB."""

    access_key: str = string("accessKey", required=True, default="")
    secret_key: str | None = string("secretKey", default=None)
    white_remote_address: str | None = string("whiteRemoteAddress", default=None)
    admin: bool = boolean("admin", default=False)
    default_topic_perm: str | None = string("defaultTopicPerm", default=None)
    default_group_perm: str | None = string("defaultGroupPerm", default=None)
    topic_perms: str | None = string("topicPerms", default=None)
    group_perms: str | None = string("groupPerms", default=None)


@header
class DeleteAccessConfigRequestHeader(Header):
    """DELETE_ACL_CONFIG."""

    access_key: str = string("accessKey", required=True, default="")


@header
class UpdateGlobalWhiteAddrsConfigRequestHeader(Header):
    """UPDATE_GLOBAL_WHITE_ADDRS_CONFIG: a comma list of address patterns, for one ACL file or the default."""

    global_white_addrs: str = string("globalWhiteAddrs", required=True, default="")
    acl_file_full_path: str | None = string("aclFileFullPath", required=True, default=None)


@header
class GetBrokerAclConfigResponseHeader(Header):
    """Versions of a broker's ACL files; both version fields are JSON."""

    version: str = string("version", required=True, default="")
    all_acl_file_version: str | None = string("allAclFileVersion", default=None)
    broker_name: str = string("brokerName", required=True, default="")
    broker_addr: str = string("brokerAddr", required=True, default="")
    cluster_name: str = string("clusterName", required=True, default="")


@header
class GetBrokerClusterAclConfigResponseHeader(Header):
    """Apache declares a list here that no extField can carry; the answer is in the body."""
