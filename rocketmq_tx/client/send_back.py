"""Handing a message back to its broker, which delivers it again after a while (CONSUMER_SEND_MSG_BACK)."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.client.calls import Caller, ask
from rocketmq_tx.client.message import ReceivedMessage
from rocketmq_tx.client.routes import Routes
from rocketmq_tx.errors import ConnectFailed, RemotingError
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import ConsumerSendMsgBackRequestHeader

TIMEOUT_S = 5.0
#: The broker chooses: later with each try.
BROKER_CHOOSES_DELAY = 0


class SendBack:
    """Callable with a message; fires with whether the broker has taken it."""

    _log = Logger()

    def __init__(self, group: str, routes: Routes, caller: Caller, max_reconsume_times: int) -> None:
        self._group = group
        self._routes = routes
        self._caller = caller
        self._max_reconsume_times = max_reconsume_times

    def __call__(self, message: ReceivedMessage) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._send(message))

    async def _send(self, message: ReceivedMessage) -> bool:
        header = ConsumerSendMsgBackRequestHeader(
            offset=message.record.commit_log_offset,
            group=self._group,
            delay_level=BROKER_CHOOSES_DELAY,
            origin_msg_id=message.message_id,
            origin_topic=message.topic,
            max_reconsume_times=self._max_reconsume_times,
        )
        frame = Frame.request(RequestCode.CONSUMER_SEND_MSG_BACK, header)
        try:
            await ask(self._caller, self._address(message), frame, TIMEOUT_S)
        except RemotingError as error:
            self._log.warn("message kept for another try: {error}", error=error)
            return False
        return True

    def _address(self, message: ReceivedMessage) -> str:
        address = self._routes.master_address(message.broker_name)
        if address is None:
            raise ConnectFailed(f"broker {message.broker_name} has no known master")
        return address
