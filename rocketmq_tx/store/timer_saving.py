"""Writing a timer index down so that its state is found again, in a thread: runs first, then the manifest."""

from __future__ import annotations

import attrs

from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.json_file import JsonFile
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
