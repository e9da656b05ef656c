"""Is this slave's log the beginning of its master's? Asked before each stream, which only checks offsets.

With a master of this project by COMPARE_LOG. With Apache's by what every broker answers: how long its log
is, how long its files are, and the record that stands where our last one does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import CallRefused, ReplicationStopped, StoreError
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.protocol.headers import (
    CompareLogRequestHeader,
    CompareLogResponseHeader,
    ViewMessageRequestHeader,
)
from rocketmq_tx.replication.log_digest import (
    COMPARED_MAX_BYTES,
    DigestedLog,
    damage_from,
    digest_of,
    log_stretch,
)

CALL_TIMEOUT_S = 3.0
WINDOW_BYTES = 4096


Cut = Callable[[str, int], Deferred[Any]]
"""Drops the log from an offset on, keeping a copy in a file of that name."""


class SlaveLog(DigestedLog, Protocol):
    """What is needed of `store.message_store.MessageStore`."""

    @property
    def last_record_at(self) -> int: ...

    @property
    def refusal(self) -> str | None: ...

    def record_at(self, commit_log_offset: int) -> bytes: ...

    def append_raw(self, data: bytes, start: int, now_ms: int) -> object: ...

    def drop_unfinished(self) -> None: ...


class Caller(Protocol):
    """What is needed of `remoting.caller.RemotingClient`."""

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]: ...


class LogComparison:
    """`begin` returns where the stream has to begin, or raises ReplicationStopped with the reason."""

    log = Logger()

    def __init__(
        self,
        store: SlaveLog,
        config: MessageStoreConfig,
        caller: Caller,
        now_ms: Callable[[], int],
        cut: Cut | None = None,
    ) -> None:
        self._store = store
        self._cut = cut
        self._config = config
        self._caller = caller
        self._now_ms = now_ms

    async def begin(self, master: str) -> int:
        """Compares with the master at `host:port`; RemotingError when it cannot be asked now."""
        store = self._store
        end = store.written_to
        start = max(store.min_offset, end - WINDOW_BYTES)
        answer = await self._call(
            master, RequestCode.COMPARE_LOG, CompareLogRequestHeader(from_offset=start, to_offset=end)
        )
        if answer.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED:
            return await self._begin_with_apache(master)
        header = self._compared(master, answer)
        self._check_file_size(master, header.file_bytes)
        self._check_extent(master, header.min_offset, header.max_offset)
        if start < header.min_offset < end:  # the master has deleted a part of what was asked for
            start = header.min_offset
            header = await self._compare(master, start, end)
        if header.digest is not None and header.digest != self._digest(start, end):
            differs_at = await self._first_difference(master, header, end)
            for damage in store.damage:
                if damage.offset <= differs_at < damage.end:
                    # Looking for the first difference takes what lies far before it for equal.
                    begin = await self._begin_at_damage(master, header, damage.offset)
                    return begin if begin < damage.offset else await self._again_from(master, damage.offset)
            raise self._diverged(master, differs_at, "differs from")
        return await self._begin_at_damage(master, header, end)

    # -- what a crash has damaged ----------------------------------------------------------------------------

    async def _begin_at_damage(self, master: str, header: CompareLogResponseHeader, end: int) -> int:
        """Logs with equal ends differ in their middle where a power cut took bytes of one of them."""
        ours = self._store.damage
        for damage in sorted({*ours, *damage_from(header.damage)}):
            start, stop = damage.offset, min(damage.end, damage.offset + COMPARED_MAX_BYTES, end)
            if start < max(self._store.min_offset, header.min_offset) or start >= stop:
                continue
            if await self._is_equal(master, start, stop):
                continue
            if damage not in ours:
                raise self._diverged(master, start, "has what a crash has taken from")
            return await self._again_from(master, start)
        return end

    async def _again_from(self, master: str, offset: int) -> int:
        """What is behind the damage stands in the master's log as well, so it can be copied again."""
        if self._cut is None:
            raise self._diverged(master, offset, "has lost to a crash what is in")
        await self._cut(f"damaged-from-{offset}.log", offset)
        self.log.warn(
            "a crash has damaged the log of this slave, it is copied again from there: offset={offset}"
            " master={master}", offset=offset, master=master,
        )  # fmt: skip
        return self._store.written_to

    async def common_to(self, master: str, end: int) -> int:
        """Up to where both logs have the same bytes, at most `end`; the master is one of ours.

        `end` as well where the master does not have all of the last bytes before it any more.
        """
        start = max(self._store.min_offset, end - WINDOW_BYTES)
        header = await self._compare(master, start, end)
        self._check_file_size(master, header.file_bytes)
        if header.digest is None or header.digest == self._digest(start, end):
            return end
        return await self._first_difference(master, header, end)

    # -- a master of ours ------------------------------------------------------------------------------------

    async def _compare(self, master: str, start: int, end: int) -> CompareLogResponseHeader:
        answer = await self._call(
            master, RequestCode.COMPARE_LOG, CompareLogRequestHeader(from_offset=start, to_offset=end)
        )
        return self._compared(master, answer)

    def _compared(self, master: str, answer: Frame) -> CompareLogResponseHeader:
        _check_success(master, RequestCode.COMPARE_LOG, answer)
        return CompareLogResponseHeader.from_ext_fields(answer.ext_fields)

    async def _first_difference(self, master: str, header: CompareLogResponseHeader, end: int) -> int:
        """By halves: what lies before the first difference is equal, and hardly anything behind it."""
        low, high = max(self._store.min_offset, header.min_offset), end
        while high - low > WINDOW_BYTES:
            middle = (low + high) // 2
            if await self._is_equal(master, max(low, middle - WINDOW_BYTES), middle):
                low = middle
            else:
                high = middle
        while high - low > 1:
            middle = (low + high) // 2
            if await self._is_equal(master, low, middle):
                low = middle
            else:
                high = middle
        return low

    async def _is_equal(self, master: str, start: int, end: int) -> bool:
        return (await self._compare(master, start, end)).digest == self._digest(start, end)

    def _digest(self, start: int, end: int) -> str:
        data = log_stretch(self._store, start, end)
        return "" if data is None else digest_of(data)

    # -- a master of Apache's --------------------------------------------------------------------------------

    async def _begin_with_apache(self, master: str) -> int:
        config = await self._call(master, RequestCode.GET_BROKER_CONFIG)
        _check_success(master, RequestCode.GET_BROKER_CONFIG, config)
        self._check_file_size(master, _file_bytes_of(config.body))
        figures = await self._call(master, RequestCode.GET_BROKER_RUNTIME_INFO)
        _check_success(master, RequestCode.GET_BROKER_RUNTIME_INFO, figures)
        table = KVTable.from_bytes(figures.body).table
        min_offset, max_offset = int(table["commitLogMinOffset"]), int(table["commitLogMaxOffset"])
        store = self._store
        if store.written_to == 0:
            return await self._begin_empty_with_apache(master, min_offset, max_offset)
        self._check_extent(master, min_offset, max_offset)
        last = store.last_record_at
        if last >= max(min_offset, store.min_offset):
            await self._check_record(master, last, store.record_at(last))
        for damage in store.damage:
            if damage.offset >= max(min_offset, store.min_offset):
                answer = await self._view(master, damage.offset)
                whole = answer.code == ResponseCode.SUCCESS and answer.body
                if whole and store.log_bytes(damage.offset, len(answer.body)) != answer.body:
                    return await self._again_from(master, damage.offset)
        return store.written_to

    async def _check_record(self, master: str, offset: int, ours: bytes) -> None:
        """The master's record at `offset` must be this one."""
        answer = await self._view(master, offset)
        if answer.code != ResponseCode.SUCCESS or answer.body != ours:
            raise self._diverged(master, offset, "has another record than")

    async def _begin_empty_with_apache(self, master: str, min_offset: int, max_offset: int) -> int:
        """Apache's master sends who reports 0 its last file only, so an empty slave reports something else.

        That is where its oldest file begins; should that be 0, the first record is fetched by itself.
        """
        is_one_file = max_offset - min_offset <= self._store.segment_size
        if self._config.ha_sync_from_last_file or (min_offset == 0 and is_one_file):
            return 0
        if min_offset > 0:
            return min_offset
        answer = await self._view(master, 0)
        _check_success(master, RequestCode.VIEW_MESSAGE_BY_ID, answer)
        self._store.append_raw(answer.body, 0, self._now_ms())
        return self._store.written_to

    def _view(self, master: str, offset: int) -> Deferred[Frame]:
        return self._call(master, RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset=offset))

    # -- verdicts --------------------------------------------------------------------------------------------

    def _check_file_size(self, master: str, file_bytes: int) -> None:
        ours = self._store.segment_size
        if file_bytes != ours:
            raise ReplicationStopped(
                f"the commit log of the master {master} has files of {file_bytes} bytes, that of this slave "
                f"has files of {ours}: set mappedFileSizeCommitLog={file_bytes} and start this slave with an "
                f"empty {self._folder}"
            )

    def _check_extent(self, master: str, min_offset: int, max_offset: int) -> None:
        end = self._store.written_to
        if end > max_offset:
            raise ReplicationStopped(
                f"the log of this slave ends at {end}, {end - max_offset} bytes beyond the end of that of "
                f"its master {master} ({max_offset}): the master has lost messages that are still here, or "
                f"is another one. Nothing is overwritten. {self._ways_out}"
            )
        if 0 < end < min_offset:
            raise ReplicationStopped(
                f"the log of this slave ends at {end}, that of its master {master} begins at {min_offset}: "
                f"what comes next was deleted there as too old. {self._anew}"
            )

    def _diverged(self, master: str, offset: int, how: str) -> ReplicationStopped:
        return ReplicationStopped(
            f"the log of this slave {how} that of its master {master} at offset {offset} (it has "
            f"{self._store.min_offset} to {self._store.written_to}). Nothing is overwritten. {self._ways_out}"
        )

    @property
    def _folder(self) -> str:
        return self._config.store_path_root_dir

    @property
    def _anew(self) -> str:
        return f"To copy the master anew, stop this slave, set {self._folder} aside and start it again."

    @property
    def _ways_out(self) -> str:
        return f"{self._anew} To keep what is here, give the master a copy of {self._folder} instead."

    def _call(self, master: str, code: RequestCode, header: Header | None = None) -> Deferred[Frame]:
        return self._caller.call(master, Frame.request(code, header), CALL_TIMEOUT_S)


def _check_success(master: str, code: RequestCode, answer: Frame) -> None:
    if answer.code != ResponseCode.SUCCESS:
        raise CallRefused(code.name, master, answer.code, answer.remark)


def _file_bytes_of(properties: bytes) -> int:
    """mappedFileSizeCommitLog out of a broker's configuration."""
    for line in properties.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "mappedFileSizeCommitLog" and value.strip().isdecimal():
            return int(value)
    raise StoreError("the master does not tell how large the files of its commit log are")
