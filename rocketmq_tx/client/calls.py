"""Asking a broker or NameServer something, and answers that are refusals."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from twisted.internet.defer import Deferred

from rocketmq_tx.errors import CallRefused
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame

_SUCCESS_ONLY = frozenset({int(ResponseCode.SUCCESS)})


class Caller(Protocol):
    """`remoting.caller.RemotingClient`, as far as it is needed here. Addresses are `host:port`."""

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        """The answer whatever its code; fails with a RemotingError when there is none."""

    def oneway(self, address: str, frame: Frame) -> Deferred[None]:
        """Fires when the request was handed to a connection; RemotingError when there is none."""


async def ask(
    caller: Caller, address: str, frame: Frame, timeout_s: float, accepted: Collection[int] = _SUCCESS_ONLY
) -> Frame:
    """The answer, if its code is one of `accepted`; else raises CallRefused."""
    answer = await caller.call(address, frame, timeout_s)
    if answer.code not in accepted:
        raise refusal(address, frame, answer)
    return answer


def refusal(address: str, request: Frame, answer: Frame) -> CallRefused:
    """What an answer of that kind amounts to."""
    return CallRefused(RequestCode(request.code).name, address, answer.code, answer.remark)
