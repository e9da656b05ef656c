"""Registrations at one NameServer: one request at a time, what changes meanwhile goes with the next one.

So a NameServer that is frozen or gone costs one open request, however often topics change, and never delays
the others. It is told of in the log once when it fails and once when it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.frame import Frame

Call = Callable[[str, Frame], "Deferred[Frame]"]
"""Sends a request to `host:port` and bounds the wait."""


class NameServerLink:
    """`register` at one address; `frame_of(names)` makes the request, with all topics for None.

    `failed` hears of each registration that was not answered with success, when it is over.
    """

    _log = Logger()

    def __init__(
        self,
        address: str,
        call: Call,
        frame_of: Callable[[Iterable[str] | None], Frame],
        answered: Callable[[NameServerLink, Frame], None],
        failed: Callable[[NameServerLink], None] = lambda link: None,
    ) -> None:
        self.address = address
        self._call = call
        self._frame_of = frame_of
        self._answered = answered
        self._on_failure = failed
        self._busy = False
        self._everything = False
        self._topics: set[str] = set()
        self._waiting: list[Deferred[bool]] = []
        self._sent: list[Deferred[bool]] = []
        self.is_up: bool | None = None
        """Whether the last registration was answered; None before the first."""
        self.failures = 0
        """How many in a row were not."""

    def register(self, topics: Iterable[str] | None = None) -> Deferred[bool]:
        """Registers all topics, or these. Fires when a request with them was answered (True) or failed."""
        if topics is None:
            self._everything = True
        else:
            self._topics.update(topics)
        done: Deferred[bool] = Deferred()
        self._waiting.append(done)
        if not self._busy:
            self._send()
        return done

    def up_to_date(self) -> Deferred[bool]:
        """Fires when everything registered so far was answered or has failed."""
        if not self._busy:
            return succeed(True)
        done: Deferred[bool] = Deferred()
        (self._waiting if self._waiting else self._sent).append(done)
        return done

    def _send(self) -> None:
        self._sent, self._waiting = self._waiting, []
        names = None if self._everything else sorted(self._topics)
        self._everything = False
        self._topics = set()
        self._busy = True
        asked = self._call(self.address, self._frame_of(names))
        asked.addCallbacks(self._succeeded, self._failed)
        asked.addBoth(self._finished)
        asked.addErrback(lambda failure: self._log.failure("registration", failure=failure))

    def _succeeded(self, answer: Frame) -> bool:
        if answer.code != ResponseCode.SUCCESS:
            return self._report(f"code {answer.code}: {answer.remark}")
        self._report(None)
        self._answered(self, answer)
        return True

    def _failed(self, failure: Failure) -> bool:
        failure.trap(RocketMQError)
        return self._report(str(failure.value))

    def _report(self, problem: str | None) -> bool:
        well = problem is None
        self.failures = 0 if well else self.failures + 1
        if well != self.is_up:
            self.is_up = well
            if well:
                self._log.info("registered name_server={address}", address=self.address)
            else:
                self._log.warn(
                    "not registered name_server={address}: {problem}", address=self.address, problem=problem
                )
        return well

    def _finished(self, result: object) -> object:
        self._busy = False
        waiting, self._sent = self._sent, []
        if self._waiting:
            self._send()
        elif result is False:
            self._on_failure(self)
        for done in waiting:
            done.callback(result is True)
        return None if isinstance(result, bool) else result
