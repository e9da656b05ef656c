"""Half messages: ending them, asking producers about them, checking them again."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, boolean, header, integer, long_integer, string


@header
class EndTransactionRequestHeader(Header):
    """END_TRANSACTION: 8 commits, 12 rolls back, 0 does not know.

    `tran_state_table_offset` is the half message's queue offset.
    """

    bname: str | None = string("bname", default=None)
    producer_group: str = string("producerGroup", required=True, default="")
    tran_state_table_offset: int = long_integer("tranStateTableOffset", needed=True)
    commit_log_offset: int = long_integer("commitLogOffset", needed=True)
    commit_or_rollback: int = integer("commitOrRollback", needed=True, allowed=(0, 8, 12))
    from_transaction_check: bool = boolean("fromTransactionCheck", default=False)
    msg_id: str = string("msgId", required=True, default="")
    transaction_id: str | None = string("transactionId", default=None)


@header
class EndTransactionResponseHeader(Header):
    """No fields; the answer still carries an empty header."""


@header
class CheckTransactionStateRequestHeader(Header):
    """CHECK_TRANSACTION_STATE: the broker asks a producer what became of a half message."""

    bname: str | None = string("bname", default=None)
    tran_state_table_offset: int | None = long_integer("tranStateTableOffset", required=True, default=None)
    commit_log_offset: int | None = long_integer("commitLogOffset", required=True, default=None)
    msg_id: str | None = string("msgId", default=None)
    transaction_id: str | None = string("transactionId", default=None)
    offset_msg_id: str | None = string("offsetMsgId", default=None)


@header
class CheckTransactionStateResponseHeader(Header):
    """Declared by Apache, never sent: the answer comes as END_TRANSACTION."""

    producer_group: str = string("producerGroup", required=True, default="")
    tran_state_table_offset: int | None = long_integer("tranStateTableOffset", required=True, default=None)
    commit_log_offset: int | None = long_integer("commitLogOffset", required=True, default=None)
    commit_or_rollback: int | None = integer("commitOrRollback", required=True, default=None)


@header
class ResumeCheckHalfMessageRequestHeader(Header):
    """RESUME_CHECK_HALF_MESSAGE: ask about a half message again, by its offset message id."""

    msg_id: str | None = string("msgId", default=None)


@header
class GetOpenTransactionsRequestHeader(Header):
    """GET_OPEN_TRANSACTIONS, a request of ours: those of a producer group, of a topic, or all."""

    producer_group: str | None = string("producerGroup", default=None)
    topic: str | None = string("topic", default=None)
    max_num: int = integer("maxNum", default=1000)
