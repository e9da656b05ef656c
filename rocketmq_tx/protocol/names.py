"""Names of topics and groups: what is well formed, what is reserved, and how names are built from others."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from rocketmq_tx.errors import RequestRefused

# -- topics with a meaning ---------------------------------------------------------------------------------

AUTO_CREATE_TOPIC: Final = "TBW102"
SCHEDULE_TOPIC: Final = "SCHEDULE_TOPIC_XXXX"
BENCHMARK_TOPIC: Final = "BenchmarkTest"
TRANSACTION_HALF_TOPIC: Final = "RMQ_SYS_TRANS_HALF_TOPIC"
TRANSACTION_OP_TOPIC: Final = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
TRANSACTION_GIVEN_UP_TOPIC: Final = "TRANS_CHECK_MAX_TIME_TOPIC"
TIMER_TOPIC: Final = "rmq_sys_wheel_timer"
TRACE_TOPIC: Final = "RMQ_SYS_TRACE_TOPIC"
SELF_TEST_TOPIC: Final = "SELF_TEST_TOPIC"
OFFSET_MOVED_TOPIC: Final = "OFFSET_MOVED_EVENT"

RETRY_PREFIX: Final = "%RETRY%"
DLQ_PREFIX: Final = "%DLQ%"
LMQ_PREFIX: Final = "%LMQ%"
MULTI_DISPATCH_SEPARATOR: Final = ","
"""Between the queues of INNER_MULTI_DISPATCH, and between their numbers."""
SYSTEM_TOPIC_PREFIX: Final = "rmq_sys_"
REPLY_TOPIC_SUFFIX: Final = "REPLY_TOPIC"

SYSTEM_TOPICS = frozenset(
    {
        AUTO_CREATE_TOPIC,
        SCHEDULE_TOPIC,
        BENCHMARK_TOPIC,
        TRANSACTION_HALF_TOPIC,
        TRANSACTION_OP_TOPIC,
        TRANSACTION_GIVEN_UP_TOPIC,
        TRACE_TOPIC,
        SELF_TEST_TOPIC,
        OFFSET_MOVED_TOPIC,
    }
)
"""Reserved for brokers; a running broker adds its own name, its cluster's, reply and trace topic."""

SEND_FORBIDDEN_TOPICS = frozenset(
    {
        SCHEDULE_TOPIC,
        TRANSACTION_HALF_TOPIC,
        TRANSACTION_OP_TOPIC,
        TRANSACTION_GIVEN_UP_TOPIC,
        SELF_TEST_TOPIC,
        OFFSET_MOVED_TOPIC,
    }
)
"""No client may send to these, as Apache has it; nor may they to the timer topic."""

# -- groups with a meaning ---------------------------------------------------------------------------------

TOOLS_CONSUMER_GROUP: Final = "TOOLS_CONSUMER"
TRANSACTION_CONSUMER_GROUP: Final = "CID_RMQ_SYS_TRANS"
SYSTEM_GROUP_PREFIX: Final = "CID_RMQ_SYS_"

BROKER_GROUPS = (
    TOOLS_CONSUMER_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
)
"""Subscription groups that every broker has from its start."""

ORDER_TOPIC_NAMESPACE: Final = "ORDER_TOPIC_CONFIG"
"""The NameServer's key-value namespace with queue layouts of order topics."""
MASTER_ID: Final = 0

# -- form --------------------------------------------------------------------------------------------------

MAX_TOPIC_CHARS: Final = 127
MAX_GROUP_CHARS: Final = 255
_FORM: Final = "^[%|a-zA-Z0-9_-]+$"
_WELL_FORMED = re.compile(r"[%|a-zA-Z0-9_-]+").fullmatch
_UNFIT = re.compile(r"^\.\.?$|[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\]").search
_SYSTEM_ERROR = 1
_NO_PERMISSION = 16


def _is_blank(name: str | None) -> bool:
    return not name or name.isspace()


def check_topic(topic: str | None) -> None:
    """Refuses what is no topic name, in the broker's order and words (TopicValidator.validateTopic)."""
    if topic is None or _is_blank(topic):
        raise RequestRefused(_SYSTEM_ERROR, "The specified topic is blank.")
    if not _WELL_FORMED(topic):
        raise RequestRefused(
            _SYSTEM_ERROR, f"The specified topic contains illegal characters, allowing only {_FORM}"
        )
    if len(topic) > MAX_TOPIC_CHARS:
        raise RequestRefused(_SYSTEM_ERROR, "The specified topic is longer than topic max length.")


def group_refusal(group: str | None) -> str | None:
    """What a broker says against a group's name, None when it takes it.

    Looser than what clients check themselves, since Apache's broker takes whatever they let through, and
    not all of them look: but no name may be endless, act on a terminal or lead out of a directory.
    """
    return _loose_problem("group", group, MAX_GROUP_CHARS)


def check_group(group: str | None) -> None:
    """Refuses what no group may be called (`group_refusal`)."""
    refusal = group_refusal(group)
    if refusal is not None:
        raise RequestRefused(_SYSTEM_ERROR, refusal)


def check_topic_of_offset(topic: str | None) -> None:
    """Refuses what no topic may be called, as loosely as groups: retry topics have names made of theirs."""
    refusal = _loose_problem("topic", topic, len(RETRY_PREFIX) + MAX_GROUP_CHARS)
    if refusal is not None:
        raise RequestRefused(_SYSTEM_ERROR, refusal)


def _loose_problem(kind: str, name: str | None, max_chars: int) -> str | None:
    if name is None or _is_blank(name):
        return f"The specified {kind} is blank."
    if len(name) > max_chars:
        return f"The specified {kind} is longer than {kind} max length {max_chars}."
    if _UNFIT(name):
        return f"The specified {kind} is no name: control characters, slashes, . and .. are refused."
    return None


def check_send_allowed(topic: str) -> None:
    """Refuses sends to topics that only the broker itself writes."""
    if topic in SEND_FORBIDDEN_TOPICS or topic == TIMER_TOPIC:
        raise RequestRefused(_NO_PERMISSION, f"Sending message to topic[{topic}] is forbidden.")


def check_not_system_topic(topic: str, more: Container[str] = ()) -> None:
    """Refuses to create or delete a reserved topic; `more` are the running broker's own ones."""
    if is_system_topic(topic, more):
        raise RequestRefused(_SYSTEM_ERROR, f"The topic[{topic}] is conflict with system topic.")


def is_system_topic(topic: str, more: Container[str] = ()) -> bool:
    """Is the name reserved? `more` are those that a running broker adds."""
    return topic in SYSTEM_TOPICS or topic.startswith(SYSTEM_TOPIC_PREFIX) or topic in more


def is_system_group(group: str) -> bool:
    """Groups of the broker's own, made even when groups are not created automatically."""
    return group.startswith(SYSTEM_GROUP_PREFIX)


def is_light(name: str) -> bool:
    """Is this the name of a light queue, or of a group of one?"""
    return name.startswith(LMQ_PREFIX)


def may_be_dispatched(topic: str) -> bool:
    """May messages of this topic stand in further queues, and messages of other topics in its queues?

    Topics in which messages only wait are out of it, and those of retries and dead letters.
    """
    is_waiting = topic in SEND_FORBIDDEN_TOPICS or topic == TIMER_TOPIC
    return not is_waiting and not topic.startswith((RETRY_PREFIX, DLQ_PREFIX))


def may_be_folder(topic: str) -> bool:
    """Can a store have a queue of this name? Looser than for topics of producers, as further queues are."""
    return _loose_problem("topic", topic, MAX_TOPIC_CHARS) is None and len(topic.encode()) <= MAX_TOPIC_CHARS


def topic_problem(topic: str | None) -> str | None:
    """What a client says against a topic name, None when it is good (Validators.checkTopic)."""
    return _client_problem("The", "topic", topic, MAX_TOPIC_CHARS)


def group_problem(group: str | None) -> str | None:
    """What a client says against a group name, None when it is good (Validators.checkGroup)."""
    return _client_problem("the", "group", group, MAX_GROUP_CHARS)


def _client_problem(article: str, kind: str, name: str | None, max_chars: int) -> str | None:
    if name is None or _is_blank(name):
        return f"{article} specified {kind} is blank"
    if len(name) > max_chars:
        return f"{article} specified {kind} is longer than {kind} max length {max_chars}."
    if not _WELL_FORMED(name):
        return f"{article} specified {kind}[{name}] contains illegal characters, allowing only {_FORM}"
    return None


# -- names made of names -----------------------------------------------------------------------------------


def retry_topic(group: str) -> str:
    """Where failed messages of a consumer group wait for their next delivery."""
    return RETRY_PREFIX + group


def dlq_topic(group: str) -> str:
    """Where messages end that a consumer group failed on too often."""
    return DLQ_PREFIX + group


def reply_topic(cluster: str) -> str:
    """Where replies of request-reply messages are stored."""
    return f"{cluster}_{REPLY_TOPIC_SUFFIX}"
