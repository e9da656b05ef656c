"""What of a timer index is on the device: written in a thread, runs first, then the manifest; found again."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from rocketmq_tx.errors import StoreDamaged, StoreError
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.json_file import JsonFile
from rocketmq_tx.store.timer_entries import ENTRY_BYTES
from rocketmq_tx.store.timer_manifest import TimerManifest
from rocketmq_tx.store.timer_runs import Run


@attrs.frozen
class SaveJob:
    """One saving: call `run` in a thread, then hand it to `TimerIndex.finish_save`, or `take_back`."""

    manifest: TimerManifest
    runs: list[Run]
    obsolete: list[str]
    _disk: Disk
    _directory: str
    _file: JsonFile

    @property
    def log_end(self) -> int:
        """The log has to be flushed up to here before `run`: else it would tell of what may be lost."""
        return self.manifest.log_end

    def run(self) -> None:
        """Waits for the device; touches no state of the index. StoreError leaves the state saved before."""
        for run in self.runs:
            run.write()
        if self.runs:
            self._disk.sync_directory(self._directory)
        self._file.save(self.manifest.to_json())
        for path in self.obsolete:
            self._disk.remove(path)


class SavedIndex:
    """The manifest in an index's directory. `notice` hears why what is found there is of no use."""

    def __init__(self, disk: Disk, directory: str, notice: Callable[[str], None]) -> None:
        self._disk = disk
        self._directory = directory
        self._notice = notice
        self._file = JsonFile(disk, f"{directory}/manifest.json", notice)

    def load(self, log_end: int, queue_end: int, path_of_run: Callable[[int], str]) -> TimerManifest | None:
        """What was saved, if it fits a log and a queue of timer messages that end there; else None."""
        try:
            manifest = self._file.load(TimerManifest.from_json)
            problem = None
            if manifest is not None:
                problem = self._problem(manifest, log_end, queue_end, path_of_run)
        except (StoreDamaged, StoreError) as error:
            manifest, problem = None, str(error)
        if problem is not None:
            self._notice(f"the timer index in {self._directory} is built anew: {problem}")
            return None
        return manifest

    def _problem(
        self, manifest: TimerManifest, log_end: int, queue_end: int, path_of_run: Callable[[int], str]
    ) -> str | None:
        if manifest.log_end > log_end or manifest.intake_from > queue_end:
            return f"it tells of a log up to {manifest.log_end}, and this one ends at {log_end}"
        for run in manifest.runs:
            path = path_of_run(run.number)
            if (self._disk.file_size(path) or 0) < run.entries * ENTRY_BYTES:
                return f"{path} has not got all of its {run.entries} entries"
        return None

    def remove(self) -> None:
        """The next `load` finds nothing. StoreError."""
        self._file.remove()

    def job(self, manifest: TimerManifest, runs: list[Run], obsolete: list[str]) -> SaveJob:
        """Writes these runs and the manifest; then removes the files at the paths `obsolete`."""
        return SaveJob(manifest, runs, obsolete, self._disk, self._directory, self._file)
