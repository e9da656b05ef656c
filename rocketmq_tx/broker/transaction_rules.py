"""Decisions about transactions: what a half message says, whether it may be ended, what to do with it next.

Values in, a value or a refusal out: no store, no clock. Facts: `spec/schedule.yaml` (transaction),
`spec/processors.yaml` (Transaction); where this broker decides otherwise stands in `docs/differences.md`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import MessageError, RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.headers import EndTransactionRequestHeader
from rocketmq_tx.protocol.message import MessageRecord

_HOUR_MS = 3_600_000
_DIGITS_MAX = 19
HALF_QUEUE_ID = 0
"""All half messages of a broker stand in one queue, all op messages in another."""
OP_TAG = "d"
"""The tag of an op message: the half message is done with."""


# -- what a half message says ------------------------------------------------------------------------------


@attrs.frozen
class HalfMessage:
    """One copy of a half message, as far as decisions need it. Times are epoch ms.

    A transaction begins with its producer's half message; each check appends a copy of it, with a new place.
    """

    queue_offset: int
    commit_log_offset: int
    store_timestamp: int
    born_timestamp: int
    key: str
    """What the copies of one transaction have in common, see `table_key`."""
    producer_group: str
    topic: str
    """Where the message goes when it is committed."""
    checks_done: int = 0
    immunity_ms: int | None = None
    """The producer's own time before the first check; None: the broker's."""
    first_offset: int | None = None
    """Queue offset of the first copy, in copies that were put back."""
    is_copy: bool = False
    """The broker appended it, not the producer."""

    @classmethod
    def read(
        cls,
        properties: Mapping[str, str],
        queue_offset: int,
        commit_log_offset: int,
        store_timestamp: int,
        born_timestamp: int,
    ) -> HalfMessage:
        """The half message with these properties; values that cannot be read count as absent."""
        immunity_s = _number(properties.get(prop.CHECK_IMMUNITY_TIME_IN_SECONDS))
        first_offset = _number(properties.get(prop.TRAN_PREPARED_QUEUE_OFFSET))
        checks_done = _number(properties.get(prop.TRANSACTION_CHECK_TIMES))
        return cls(
            queue_offset,
            commit_log_offset,
            store_timestamp,
            born_timestamp,
            transaction_key(properties, queue_offset),
            properties.get(prop.PRODUCER_GROUP, ""),
            properties.get(prop.REAL_TOPIC, ""),
            max(0, checks_done or 0),
            None if immunity_s is None or immunity_s < 0 else immunity_s * 1000,
            first_offset,
            bool(checks_done) or first_offset is not None,
        )

    def begun_ms(self, retention_ms: int) -> int:
        """When the transaction began: as its producer says, if that can be true.

        A copy keeps the time of birth. A broker gives up what is older than the retention, so a message that
        was older when it was stored, or not born yet, comes from a clock that is wrong: then the time at
        which it was stored counts.
        """
        age_when_stored_ms = self.store_timestamp - self.born_timestamp
        return self.born_timestamp if 0 <= age_when_stored_ms <= retention_ms else self.store_timestamp


def transaction_key(properties: Mapping[str, str], queue_offset: int) -> str:
    """What tells that copies belong together; without a UNIQ_KEY the place of the first one."""
    unique_key = (
        properties.get(prop.UNIQ_KEY) or f"@{properties.get(prop.TRAN_PREPARED_QUEUE_OFFSET, queue_offset)}"
    )
    return table_key(unique_key, properties.get(prop.PRODUCER_GROUP, ""))


def table_key(unique_key: str | None, producer_group: str | None) -> str:
    """Under which key the table has a transaction: groups that pass on one message use the same UNIQ_KEY."""
    return f"{unique_key}\x02{producer_group}"


def unique_key_of(key: str) -> str:
    """The UNIQ_KEY within such a key: what the index knows, and what operators are shown."""
    return key.partition("\x02")[0]


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


# -- what to do with it next -------------------------------------------------------------------------------


class Verdict(enum.Enum):
    """What the scheduler does with an open transaction in a round."""

    WAIT = "it is too young to be asked about"
    ASK_PRODUCER = "a producer of its group is asked what became of it"
    GIVE_UP = "it was asked about too often, or is too old: it goes where operators find it"


@attrs.frozen
class CheckRule:
    """The settings, as they are in this round; times in ms."""

    timeout_ms: int
    checks_max: int
    retention_ms: int


def check_rule(settings: BrokerSettings) -> CheckRule:
    """What the settings say at this moment."""
    return CheckRule(
        settings.broker.transaction_time_out,
        settings.broker.transaction_check_max,
        settings.store.file_reserved_time * _HOUR_MS,
    )


def next_check(half: HalfMessage, now_ms: int, rule: CheckRule) -> Verdict:
    """What to do with an open transaction whose newest copy is `half`.

    A message from the future means that our clock went back: it is asked about, as in Apache, rather than
    left alone for as long as the clock jumped.
    """
    age_ms = now_ms - half.begun_ms(rule.retention_ms)
    if age_ms > rule.retention_ms:
        return Verdict.GIVE_UP
    immunity_ms = rule.timeout_ms if half.immunity_ms is None else half.immunity_ms
    if 0 <= age_ms < immunity_ms:
        return Verdict.WAIT
    if half.checks_done >= rule.checks_max:
        return Verdict.GIVE_UP
    return Verdict.ASK_PRODUCER


PUT_BACK_DISTANCE = 100_000
"""Half messages that a start reads at most, roughly: about two seconds."""


def is_left_behind(half: HalfMessage, half_end: int, open_count: int) -> bool:
    """True when a waiting transaction would make the next start read too much: it gets a copy further on.

    Progress stands at the oldest copy that counts. The distance grows with what is open, so that copies stay
    few: at most one for ten messages.
    """
    return half_end - half.queue_offset > max(PUT_BACK_DISTANCE, 10 * open_count)


# -- may it be ended? --------------------------------------------------------------------------------------


def check_end(
    record: MessageRecord, properties: Mapping[str, str], header: EndTransactionRequestHeader
) -> None:
    """Refuses the end of a transaction that the record does not prove; Apache's checks in their order.

    Apache takes any record for a half message that has a producer group; here it must stand in the half
    topic, so that a committed message cannot be committed once more.
    """
    if record.topic != names.TRANSACTION_HALF_TOPIC:
        raise not_found()
    if properties.get(prop.PRODUCER_GROUP) != header.producer_group:
        raise RequestRefused(ResponseCode.SYSTEM_ERROR, "The producer group wrong")
    if record.queue_offset != header.tran_state_table_offset:
        raise RequestRefused(ResponseCode.SYSTEM_ERROR, "The transaction state table offset wrong")


def not_found() -> RequestRefused:
    """The answer when no half message is where the request says."""
    return RequestRefused(ResponseCode.SYSTEM_ERROR, "Find prepared transaction message failed")


def real_queue(properties: Mapping[str, str]) -> tuple[str, int]:
    """(topic, queue id) for which a half message was sent; MessageError when it does not say."""
    topic, queue_id = properties.get(prop.REAL_TOPIC), _number(properties.get(prop.REAL_QUEUE_ID))
    if not topic or queue_id is None or queue_id < 0:
        raise MessageError("the half message does not say for which topic and queue it is")
    return topic, queue_id


def op_offsets(body: bytes) -> list[int]:
    """Queue offsets of the half messages that an op message ends: one in 4.9.7, several in later versions.

    Whatever is no number of 64 bits counts as absent.
    """
    texts = (text.strip() for text in body.decode("utf-8", "replace").split(","))
    return [int(text) for text in texts if text.isdecimal() and len(text) <= _DIGITS_MAX]
