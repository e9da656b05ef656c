"""What operators ask of a NameServer: its key-value configuration, and its own settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rocketmq_tx.config.listing import dump
from rocketmq_tx.config.settings import NamesrvSettings
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.namesrv.kv_config import KVConfig
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    DeleteKVConfigRequestHeader,
    GetKVConfigRequestHeader,
    GetKVConfigResponseHeader,
    GetKVListByNamespaceRequestHeader,
    PutKVConfigRequestHeader,
)
from rocketmq_tx.remoting.registry import Reply, serves
from rocketmq_tx.runtime.settings_file import ConfigFile, take_update

if TYPE_CHECKING:
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer


class KVConfigHandlers:
    """Puts, gets, deletes, lists."""

    def __init__(self, kv_config: KVConfig) -> None:
        self._kv_config = kv_config

    @serves(RequestCode.PUT_KV_CONFIG)
    def put(self, peer: Peer, frame: Frame, header: PutKVConfigRequestHeader) -> Reply:
        if header.namespace is None or header.key is None:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, "namespace or key is null")
        self._kv_config.put(header.namespace, header.key, header.value)
        return Reply()

    @serves(RequestCode.GET_KV_CONFIG)
    def get(self, peer: Peer, frame: Frame, header: GetKVConfigRequestHeader) -> Reply:
        value = self._kv_config.get(header.namespace, header.key)
        if value is None:
            remark = f"No config item, Namespace: {header.namespace} Key: {header.key}"
            return Reply(ResponseCode.QUERY_NOT_FOUND, remark, GetKVConfigResponseHeader())
        return Reply(header=GetKVConfigResponseHeader(value=value))

    @serves(RequestCode.DELETE_KV_CONFIG)
    def delete(self, peer: Peer, frame: Frame, header: DeleteKVConfigRequestHeader) -> Reply:
        self._kv_config.delete(header.namespace, header.key)
        return Reply()

    @serves(RequestCode.GET_KVLIST_BY_NAMESPACE)
    def list_namespace(self, peer: Peer, frame: Frame, header: GetKVListByNamespaceRequestHeader) -> Reply:
        table = self._kv_config.namespace(header.namespace)
        if table is None:
            remark = f"No config item, Namespace: {header.namespace}"
            return Reply(ResponseCode.QUERY_NOT_FOUND, remark)
        return Reply(body=KVTable(dict(table)).to_bytes())


class SettingsHandlers:
    """Reads and changes this NameServer's settings.

    `changed` is called with key -> new text after a change has taken effect.
    """

    def __init__(
        self,
        settings: NamesrvSettings,
        file: ConfigFile,
        changed: Callable[[Mapping[str, str]], object],
    ) -> None:
        self._settings = settings
        self._file = file
        self._changed = changed

    @serves(RequestCode.GET_NAMESRV_CONFIG)
    def read(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return Reply(body=dump(self._settings).encode())

    @serves(RequestCode.UPDATE_NAMESRV_CONFIG)
    def update(self, peer: Peer, frame: Frame, header: None) -> Reply:
        """Takes a properties text, all of it or nothing. Without a body nothing happens."""
        if not frame.body:
            return Reply()
        changed = take_update(self._settings, self._file, frame.body)
        if changed:
            self._changed(changed)
        return Reply()
