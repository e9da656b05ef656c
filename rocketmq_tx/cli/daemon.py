"""What every daemon of ours does around its role's service, under twistd and under the launchers alike.

Time runs on the monotonic clock; a start that fails ends the process with one sentence and an exit code;
a run file tells `mqshutdown` about the process; the garbage collector does not walk over what lives for
ever; the service is made when it starts, since twistd forks and changes its folder before that.
"""

from __future__ import annotations

import gc
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import BindError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.cli.foreground import stop_once
from rocketmq_tx.cli.run_files import RunFile, run_folder
from rocketmq_tx.errors import OperatorError, RocketMQError, StartError
from rocketmq_tx.runtime.clocks import use_steady_clock

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorCore, IReactorTime

STOP_POLL_S = 1.0
SETTLED_S = 1.0
"""So long after the start what lives for ever is there, and the garbage collector goes to work again."""


class Daemon(Service):
    """A role's service with its surroundings. `kind` is mqnamesrv or mqbroker.

    `exit_code` is None until the start has failed; `exit_code_of` chooses it from the failure. With
    `raises_early`, a start that fails before `startService` returns (a port that is taken, a store in use)
    raises from it: twistd in the background passes that on to the process that waits at the prompt.
    """

    log = Logger()

    def __init__(
        self,
        kind: str,
        make: Callable[[], IService],
        reactor: Any,
        *,
        run_in: Path | None = None,
        exit_code_of: Callable[[Failure], int] = lambda failure: 1,
        complain: Callable[[str], None] | None = None,
        polls_for_stop: bool = sys.platform == "win32",
        raises_early: bool = False,
    ) -> None:
        self.exit_code: int | None = None
        self._kind = kind
        self._make = make
        self._reactor = reactor
        self._run_in = run_in
        self._exit_code_of = exit_code_of
        self._complain = complain or self._log_and_complain
        self._polls_for_stop = polls_for_stop
        self._raises_early = raises_early
        self._service: IService | None = None
        self._run_file: RunFile | None = None
        self._stop_poll: LoopingCall | None = None
        self._settling: IDelayedCall | None = None
        self._stopping = False
        self._sentence: str | None = None

    def startService(self) -> Deferred[None]:
        """Fires when the role's service is ready or has failed; never fails itself, twistd would not look."""
        super().startService()
        self._keep_run_file()
        starting: Deferred[Any] = maybeDeferred(self._make_and_start)
        starting.addCallbacks(lambda _: resume_garbage_collector(), self._failed)
        if self.exit_code is None:
            self._settling = self._reactor.callLater(SETTLED_S, self._settle)
        if self._raises_early and self._sentence is not None:
            raise StartError(self._sentence)
        return starting

    def stopService(self) -> Deferred[Any]:
        """Stops the role's service in its own order."""
        self._stopping = True
        if self.running:
            super().stopService()
        stopping: Deferred[Any] = maybeDeferred(self._service.stopService if self._service else lambda: None)
        return stopping.addBoth(self._stopped)

    def _make_and_start(self) -> Any:
        self._service = self._make()
        return self._service.startService()

    def _settle(self) -> None:
        self._settling = None
        freeze_garbage_collector()

    def _failed(self, failure: Failure) -> None:
        if self._stopping and failure.check(CancelledError):
            return  # stopped before it was ready: nobody's failure
        self.exit_code = self._exit_code_of(failure)
        if not failure.check(OperatorError, RocketMQError, OSError, BindError):
            self.log.failure("start failed unexpectedly: kind={kind}", failure, kind=self._kind)
        self._sentence = f"{self._kind}: {sentence_of(failure)}"
        self._complain(self._sentence)
        self._service = None
        self._reactor.callWhenRunning(self._stop_reactor)

    def _log_and_complain(self, sentence: str) -> None:
        self.log.critical("{sentence}", sentence=sentence)
        complain_on_stderr(sentence)

    def _stopped(self, result: Any) -> Any:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self._stop_poll is not None and self._stop_poll.running:
            self._stop_poll.stop()
        if self._run_file is not None:
            self._run_file.remove()
            self._run_file = None
        return result

    def _stop_reactor(self) -> None:
        if not self._stopping:
            self._reactor.stop()

    def _keep_run_file(self) -> None:
        try:
            self._run_file = RunFile.create(self._run_in or run_folder(os.environ), self._kind, os.getpid())
        except StartError as error:
            # Worth a line, not worth a refusal: only mqshutdown misses it.
            self.log.warn("mqshutdown will not find this process: {error}", error=error)
            return
        if self._polls_for_stop:
            # Where SIGTERM ends a process at once, a file asks it to stop in order.
            self._stop_poll = LoopingCall(self._look_for_stop_request, self._run_file)
            self._stop_poll.clock = self._reactor
            self._stop_poll.start(STOP_POLL_S, now=False)

    def _look_for_stop_request(self, run_file: RunFile) -> None:
        if run_file.stop_path.exists():
            self._stop_reactor()


def prepare_reactor(reactor: IReactorTime | IReactorCore) -> None:
    """To be called before anything is scheduled, and before the parts of a role are imported."""
    use_steady_clock(reactor)  # type: ignore[arg-type]
    stop_once(reactor)
    # A start makes hardly any garbage, and collections walk over all that it makes: a tenth of a start,
    # and another tenth when the last one came before the first message.
    gc.disable()


def resume_garbage_collector() -> None:
    """From now on what peers leave behind is collected; what the start has made is not looked at.

    `prepare_reactor` has put collections off.
    """
    gc.freeze()
    gc.enable()


def freeze_garbage_collector() -> None:
    """Modules, tables and recovered state live as long as the process: collections leave them out.

    Measured: a full collection over a million live containers stops everything for 79 ms, after freezing
    for none. Thresholds made no difference, as the hot path makes no cycles.
    """
    gc.unfreeze()  # the garbage of the start, which was frozen with the rest, goes now
    gc.collect()
    gc.freeze()
    gc.enable()


def sentence_of(failure: Failure) -> str:
    """What went wrong, for an operator, on one line."""
    error = failure.value
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, (RocketMQError, BindError)):
        text = str(error)
    elif isinstance(error, ModuleNotFoundError) and error.name == "service_identity":
        text = (
            "pyOpenSSL is installed here without service_identity, and Twisted wants both or neither: "
            "pip install service_identity"
        )
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def complain_on_stderr(sentence: str) -> None:
    """Writes to the process's own stderr, which twistd does not turn into log lines."""
    if sys.__stderr__ is not None:
        print(sentence, file=sys.__stderr__, flush=True)


def announce_on_stdout(line: str) -> None:
    """Prints a banner as it is. In the background, where nobody sees stdout, it becomes a log line."""
    seen = sys.__stdout__ is not None and not _leads_nowhere(sys.__stdout__.fileno())
    print(line, file=sys.__stdout__ if seen else sys.stdout, flush=True)


def _leads_nowhere(descriptor: int) -> bool:
    try:
        facts = os.fstat(descriptor)
        return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == os.stat(os.devnull).st_rdev
    except OSError:  # closed
        return True
