"""A daemon starts its role, says one sentence when that fails, and can be found and stopped by others."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import time
import weakref
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.cli import mqshutdown
from rocketmq_tx.cli.daemon import SETTLED_S, STOP_POLL_S, Daemon, prepare_reactor, sentence_of
from rocketmq_tx.cli.launcher import exit_code_of
from rocketmq_tx.cli.run_files import RunFile, RunningDaemon, find_running, run_folder
from rocketmq_tx.errors import StartError


class RecordingReactor(MemoryReactorClock):
    """Counts stops, and runs at once what is to run when it runs."""

    stops = 0

    def stop(self) -> None:
        if self.stops:
            raise ReactorNotRunning
        self.stops += 1

    def callWhenRunning(self, callable, *args, **kwargs):  # type: ignore[no-untyped-def]
        callable(*args, **kwargs)


class Role(Service):
    """A service whose start and stop the test decides."""

    def __init__(self, starting: object = None) -> None:
        self.starting = starting
        self.stopped = 0

    def startService(self):  # type: ignore[no-untyped-def]
        super().startService()
        return self.starting

    def stopService(self) -> None:
        self.stopped += 1


class DaemonCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = RecordingReactor()
        self.folder = Path(self.mktemp())
        self.said: list[str] = []
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.enable)

    def daemon(self, role: Service | Exception, polls_for_stop: bool = False) -> Daemon:
        def make() -> Service:
            if isinstance(role, Exception):
                raise role
            return role

        return Daemon(
            "mqbroker",
            make,
            self.reactor,
            run_in=self.folder,
            complain=self.said.append,
            polls_for_stop=polls_for_stop,
        )


class StartTests(DaemonCase):
    def test_a_ready_role_leaves_no_exit_code(self) -> None:
        daemon = self.daemon(Role())
        self.successResultOf(daemon.startService())
        self.assertIsNone(daemon.exit_code)
        self.assertEqual(self.reactor.stops, 0)

    def test_the_collector_rests_until_what_lives_for_ever_is_there_and_leaves_that_out(self) -> None:
        gc.disable()
        self.daemon(Role(Deferred())).startService()  # waits for long
        self.assertEqual((gc.isenabled(), gc.get_freeze_count()), (False, 0))
        self.reactor.advance(SETTLED_S)
        self.assertTrue(gc.isenabled())
        self.assertGreater(gc.get_freeze_count(), 0)

    def test_the_garbage_of_the_start_goes_when_a_ready_role_has_settled(self) -> None:
        gc.disable()
        left = Role()
        left.itself = left
        garbage = weakref.ref(left)
        del left
        self.daemon(Role()).startService()
        self.assertIsNotNone(garbage())
        self.reactor.advance(SETTLED_S)
        self.assertIsNone(garbage())

    def test_a_daemon_that_stops_at_once_leaves_nothing_to_be_done(self) -> None:
        for role in (Role(), Role(fail(StartError("no")))):
            daemon = self.daemon(role)
            daemon.startService()
            self.successResultOf(daemon.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_the_role_is_made_at_the_start_not_before(self) -> None:
        daemon = self.daemon(StartError("never made"))
        self.assertEqual(self.said, [])
        daemon.startService()
        self.assertEqual(self.said, ["mqbroker: never made"])

    def test_a_failing_start_is_one_sentence_and_stops_the_reactor(self) -> None:
        daemon = self.daemon(Role(fail(StartError("port 10911\nis taken"))))
        self.successResultOf(daemon.startService())
        self.assertEqual(self.said, ["mqbroker: port 10911 is taken"])
        self.assertEqual((daemon.exit_code, self.reactor.stops), (1, 1))

    def test_an_unexpected_failure_is_a_sentence_with_its_trace_in_the_log(self) -> None:
        daemon = self.daemon(Role(fail(ZeroDivisionError("oops"))))
        daemon.startService()
        self.assertEqual(self.said, ["mqbroker: ZeroDivisionError: oops"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stopping_while_starting_is_no_failure(self) -> None:
        starting: Deferred[None] = Deferred()
        role = Role(starting)
        daemon = self.daemon(role)
        daemon.startService()
        self.successResultOf(daemon.stopService())
        starting.errback(CancelledError())
        self.assertEqual((daemon.exit_code, self.said, role.stopped), (None, [], 1))

    def test_a_daemon_without_a_run_file_runs_all_the_same(self) -> None:
        self.folder.write_text("a file, not a folder")
        daemon = self.daemon(Role())
        daemon.startService()
        self.assertIsNone(daemon.exit_code)
        self.successResultOf(daemon.stopService())

    def test_time_runs_on_the_monotonic_clock_and_no_garbage_is_collected_while_starting(self) -> None:
        prepare_reactor(self.reactor)
        self.assertFalse(gc.isenabled())
        self.assertIs(self.reactor.seconds, time.monotonic)

    def test_a_second_ctrl_c_while_it_stops_is_nothing(self) -> None:
        prepare_reactor(self.reactor)
        self.reactor.stop()
        self.reactor.stop()
        self.assertEqual(self.reactor.stops, 1)

    def test_garbage_is_collected_from_the_moment_on_in_which_the_role_is_ready(self) -> None:
        prepare_reactor(self.reactor)
        ready: Deferred[None] = Deferred()
        daemon = self.daemon(Role(ready))
        daemon.startService()
        self.assertFalse(gc.isenabled())
        ready.callback(None)
        self.assertTrue(gc.isenabled())
        self.assertGreater(gc.get_freeze_count(), 0)
        self.successResultOf(daemon.stopService())


class StopTests(DaemonCase):
    def test_the_run_file_lives_as_long_as_the_daemon(self) -> None:
        role = Role()
        daemon = self.daemon(role)
        daemon.startService()
        (running,) = find_running(self.folder, "mqbroker")
        self.assertEqual(running.pid, os.getpid())
        self.successResultOf(daemon.stopService())
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertEqual(role.stopped, 1)

    def test_a_stop_file_stops_where_signals_cannot(self) -> None:
        daemon = self.daemon(Role(), polls_for_stop=True)
        daemon.startService()
        self.reactor.advance(STOP_POLL_S)
        self.assertEqual(self.reactor.stops, 0)
        (running,) = find_running(self.folder, "mqbroker")
        running.stop_path.touch()
        self.reactor.advance(STOP_POLL_S)
        self.assertEqual(self.reactor.stops, 1)
        self.successResultOf(daemon.stopService())
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_daemon_that_never_started_stops(self) -> None:
        self.successResultOf(self.daemon(Role()).stopService())


class SentenceTests(SynchronousTestCase):
    def test_a_system_error_names_its_file(self) -> None:
        error = OSError(errno.EACCES, "Permission denied", "/data/store")
        self.assertEqual(sentence_of(Failure(error)), "/data/store: Permission denied")
        self.assertEqual(sentence_of(Failure(OSError(errno.EIO, "Input/output error"))), "Input/output error")

    def test_a_taken_port_names_the_port(self) -> None:
        taken = CannotListenError("", 10911, OSError(errno.EADDRINUSE, "Address already in use"))
        self.assertIn("10911", sentence_of(Failure(taken)))

    def test_half_of_what_twisted_wants_for_tls_is_said_with_the_remedy(self) -> None:
        missing = ModuleNotFoundError("No module named 'service_identity'", name="service_identity")
        self.assertIn("pip install service_identity", sentence_of(Failure(missing)))
        other = ModuleNotFoundError("No module named 'other'", name="other")
        self.assertEqual(sentence_of(Failure(other)), "ModuleNotFoundError: No module named 'other'")

    def test_a_taken_port_has_apaches_exit_code_and_the_rest_has_1(self) -> None:
        taken = CannotListenError("", 10911, OSError(errno.EADDRINUSE, "Address already in use"))
        wrapped = StartError("port 10911 is taken")
        wrapped.__cause__ = taken
        codes = [exit_code_of(Failure(error)) for error in (taken, wrapped, StartError("no"))]
        self.assertEqual(codes, [255, 255, 1])


class RunFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def test_two_brokers_of_one_folder_are_both_found(self) -> None:
        files = [RunFile.create(self.folder, "mqbroker", pid) for pid in (12, 7)]
        RunFile.create(self.folder, "mqnamesrv", 9).remove()
        self.assertEqual([daemon.pid for daemon in find_running(self.folder, "mqbroker")], [7, 12])
        for file in files:
            file.remove()
        self.assertEqual(list(find_running(self.folder, "mqbroker")), [])

    def test_a_file_without_its_process_is_cleared_away(self) -> None:
        self.folder.mkdir(mode=0o700)
        left = RunFile.create(self.folder, "mqbroker", 7)
        left._file.close()  # as when the process was killed
        self.assertEqual(list(find_running(self.folder, "mqbroker")), [])
        self.assertFalse(left.path.exists())

    def test_files_of_other_machines_and_programs_are_left_alone(self) -> None:
        self.folder.mkdir(mode=0o700)
        for name in ("mqbroker-elsewhere-7.pid", "notes.txt"):
            (self.folder / name).touch()
        self.assertEqual(list(find_running(self.folder, "mqbroker")), [])
        self.assertEqual(len(list(self.folder.iterdir())), 2)

    def test_a_folder_that_others_may_write_to_is_not_trusted(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.assertRaises(StartError, list, find_running(self.folder, "mqbroker"))
        self.assertRaises(StartError, RunFile.create, self.folder, "mqbroker", 1)

    def test_a_file_that_is_locked_already_is_refused(self) -> None:
        first = RunFile.create(self.folder, "mqbroker", 1)
        self.assertRaises(StartError, RunFile.create, self.folder, "mqbroker", 1)
        first.remove()

    def test_a_folder_that_is_not_there_holds_nothing(self) -> None:
        self.assertEqual(list(find_running(self.folder, "mqbroker")), [])

    def test_the_folder_follows_the_environment(self) -> None:
        self.assertEqual(run_folder({"ROCKETMQ_RUN_DIR": "/run/mq"}), Path("/run/mq"))
        self.assertEqual(run_folder({}), Path.home() / ".rocketmq_tx" / "run")


class ShutdownTests(SynchronousTestCase):
    """`mqshutdown` with its waiting in the hands of the test."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.now = 0.0
        self.files = {pid: RunFile.create(self.folder, "mqbroker", pid) for pid in (7, 12)}
        self.addCleanup(self.remove_all)

    def remove_all(self) -> None:
        for file in self.files.values():
            file.remove()

    def run_it(
        self, *arguments: str, obeying: tuple[int, ...] = (7, 12), gone: int = 0
    ) -> tuple[int, list[str]]:
        asked: list[int] = []

        def ask(daemon: RunningDaemon) -> None:
            if daemon.pid == gone:
                raise ProcessLookupError
            asked.append(daemon.pid)

        def pause(seconds: float) -> None:
            self.now += 10
            for pid in asked:
                if pid in obeying and pid in self.files:
                    self.files.pop(pid).remove()

        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = mqshutdown.shut_down(arguments, self.folder, ask, lambda: self.now, pause)
        return code, printed.getvalue().splitlines()

    def test_every_running_one_is_asked_and_waited_for(self) -> None:
        self.assertEqual(
            self.run_it("broker"),
            (
                0,
                [
                    "The mqbroker(7) is running...",
                    "Send shutdown request to mqbroker(7) OK",
                    "The mqbroker(12) is running...",
                    "Send shutdown request to mqbroker(12) OK",
                    "mqbroker(7) has stopped after 10.0 s.",
                    "mqbroker(12) has stopped after 10.0 s.",
                ],
            ),
        )

    def test_one_that_does_not_stop_is_said_and_a_failure(self) -> None:
        code, lines = self.run_it("broker", obeying=(7,))
        self.assertEqual(code, 1)
        self.assertEqual(lines[-1], "mqbroker(12) is still running after 60 s; see its log.")

    def test_one_that_went_by_itself_is_no_failure(self) -> None:
        code, lines = self.run_it("broker", gone=7)
        self.assertEqual(code, 0)
        self.assertIn("mqbroker(7) has stopped by itself.", lines)

    def test_where_none_runs_apaches_words_say_so(self) -> None:
        self.assertEqual(self.run_it("namesrv"), (255, ["No mqnamesrv running."]))

    def test_help_is_no_mistake(self) -> None:
        for option in ("-h", "--help"):
            code, lines = self.run_it(option)
            self.assertEqual(code, 0)
            self.assertIn("255 none was running", lines[-1])

    def test_other_words_get_apaches_usage(self) -> None:
        for arguments in ((), ("proxy",), ("broker", "namesrv")):
            self.assertEqual(self.run_it(*arguments), (1, ["Useage: mqshutdown broker | namesrv"]))
