"""The messages that a transaction's life leaves in the log, made of the half message: values in, values out.

    half message -> committed message | copy for a check | copy for the operators
    its end      -> op message

Facts: `spec/schedule.yaml` (final_message, op_message, write_back_copy, discarded_copy). A copy keeps the
user's flag and retry count, which Apache's loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import attrs

from rocketmq_tx.broker import send_rules, timer_rules
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.broker.transaction_rules import HALF_QUEUE_ID, OP_TAG, real_queue
from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.flags import TRANSACTION_MASK, TRANSACTION_NOT, SysFlag, with_transaction_type
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.hash_map_order import in_hash_map_order
from rocketmq_tx.protocol.headers import CheckTransactionStateRequestHeader
from rocketmq_tx.protocol.java import crc32, tags_code
from rocketmq_tx.protocol.message import MessageRecord, encode_record, pack_host
from rocketmq_tx.protocol.properties import pack_properties, unpack_properties
from rocketmq_tx.store.append import NewMessage, Placed

_OP_PROPERTIES = pack_properties(in_hash_map_order({prop.TAGS: OP_TAG, prop.WAIT: "true"}))
_OP_TAGS_CODE = tags_code(OP_TAG)
_NO_TRANSACTION = ~TRANSACTION_MASK
_COMMITTED = int(SysFlag.TRANSACTION_COMMIT)


def committed_message(
    half: NewMessage,
    properties: dict[str, str],
    commit_log_offset: int,
    now_ms: int,
    delays_ms: Sequence[int],
) -> NewMessage:
    """What consumers get of the half message at `commit_log_offset`, with its properties as they are.

    `properties` are those of `half`, decoded. A DELAY counts from now: then the message is for the schedule
    topic; a delivery time of its own leads to the timer topic. Raises MessageError or RequestRefused for a
    half message that cannot be committed.
    """
    topic, queue_id = real_queue(properties)
    sys_flag = with_transaction_type(half[6], SysFlag.TRANSACTION_COMMIT)
    stored, code = half[4], half[11]
    level = send_rules.delay_level(properties, sys_flag, len(delays_ms))
    if level:
        real = {prop.DELAY: str(level), prop.REAL_TOPIC: topic, prop.REAL_QUEUE_ID: str(queue_id)}
        stored = pack_properties(in_hash_map_order(properties | real))
        topic, queue_id, code = names.SCHEDULE_TOPIC, level - 1, now_ms + delays_ms[level - 1]
    elif not properties.keys().isdisjoint(timer_rules.TIMES):
        placement = send_rules.Placement(topic, queue_id, sys_flag, properties, waits=False)
        timed = timer_rules.timed(placement, now_ms, timer_rules.LONGEST_DELAY_SEC)
        if timed is not placement:
            topic, queue_id, stored = timed.topic, timed.queue_id, pack_properties(timed.properties)
    return NewMessage(
        topic, queue_id, half[2], half[3], stored, half[5], sys_flag, half[7], half[8], half[9],
        commit_log_offset, code, half[12],
    )  # fmt: skip


def plainly_committed(half: NewMessage, real_queue: tuple[str, int], commit_log_offset: int) -> NewMessage:
    """The same for a half message that simply goes to its real queue: nothing is decoded."""
    topic, queue_id = real_queue
    return (
        topic, queue_id, half[2], half[3], half[4], half[5], half[6] & _NO_TRANSACTION | _COMMITTED, half[7],
        half[8], half[9], commit_log_offset, half[11], half[12],
    )  # type: ignore[return-value]  # fmt: skip


def stored_half(half: MessageRecord, properties: dict[str, str]) -> NewMessage:
    """The half message as it was when it was stored; `properties` are its decoded ones."""
    code = tags_code(properties.get(prop.TAGS))
    return _made_of(
        half, half.topic, half.queue_id, half.properties, code, half.sys_flag, index_keys(properties)
    )


def op_message(half_queue_offset: int, broker_host: bytes, now_ms: int) -> NewMessage:
    """The note that a half message is done with; `broker_host` is packed."""
    body = b"%d" % half_queue_offset
    return (
        names.TRANSACTION_OP_TOPIC, HALF_QUEUE_ID, body, crc32(body), _OP_PROPERTIES, 0, 0, now_ms,
        broker_host, 0, 0, _OP_TAGS_CODE, (),
    )  # type: ignore[return-value]  # a plain tuple is a third cheaper  # fmt: skip


def half_copy(half: MessageRecord, changes: dict[str, str]) -> NewMessage:
    """The half message once more, with changed properties; MessageError when they become too long."""
    properties = half.property_map | changes
    if prop.UNIQ_KEY not in properties and half.topic == names.TRANSACTION_HALF_TOPIC:
        # nothing else would tell that the copies belong together
        properties.setdefault(prop.TRAN_PREPARED_QUEUE_OFFSET, str(half.queue_offset))
    sys_flag = with_transaction_type(half.sys_flag, TRANSACTION_NOT)
    stored = pack_properties(in_hash_map_order(properties))
    code = tags_code(properties.get(prop.TAGS))
    return _made_of(
        half, names.TRANSACTION_HALF_TOPIC, HALF_QUEUE_ID, stored, code, sys_flag, index_keys(properties)
    )


def given_up_message(half: MessageRecord) -> NewMessage:
    """What operators find when nobody said what became of the transaction."""
    properties = half.property_map
    return _made_of(
        half,
        names.TRANSACTION_GIVEN_UP_TOPIC,
        0,
        half.properties,
        tags_code(properties.get(prop.TAGS)),
        half.sys_flag,
        index_keys(properties),
    )


def _made_of(
    half: MessageRecord,
    topic: str,
    queue_id: int,
    properties: bytes,
    code: int,
    sys_flag: int,
    keys: tuple[str, ...],
) -> NewMessage:
    return NewMessage(
        topic,
        queue_id,
        half.body,
        crc32(half.body) if half.body_crc is None else half.body_crc,
        properties,
        half.flag,
        send_rules.own_sys_flag(sys_flag),
        half.born_timestamp,
        pack_host(*half.born_host),
        half.reconsume_times,
        0,
        code,
        keys,
    )


def check_request(half: MessageRecord, stored: bytes, placed: Placed, stored_ms: int) -> Frame:
    """CHECK_TRANSACTION_STATE for the copy at `placed`: the producer answers with its place.

    `stored` are the copy's properties. The message names its real topic and queue, and WAIT=false, as
    Apache's does.
    """
    properties = unpack_properties(stored)
    topic, queue_id = real_queue(properties)
    with suppress(MessageError):  # one character longer than WAIT=true: there may be no room
        stored = pack_properties(in_hash_map_order(properties | {prop.WAIT: "false"}))
    shown = attrs.evolve(
        half,
        topic=topic,
        queue_id=queue_id,
        properties=stored,
        queue_offset=placed.queue_offset,
        commit_log_offset=placed.commit_log_offset,
        store_timestamp=stored_ms,
    )
    unique_key = properties.get(prop.UNIQ_KEY)
    header = CheckTransactionStateRequestHeader(
        commit_log_offset=placed.commit_log_offset,
        offset_msg_id=shown.offset_message_id,
        msg_id=unique_key,
        transaction_id=unique_key,
        tran_state_table_offset=placed.queue_offset,
    )
    return Frame.request(RequestCode.CHECK_TRANSACTION_STATE, header, encode_record(shown), oneway=True)
