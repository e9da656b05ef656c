"""What is built from the tree installs and runs anywhere: plugins, scripts, configuration files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.integration.processes import ProcessCase

PROJECT = Path(__file__).resolve().parents[2]
CONF = sorted(
    path.relative_to(PROJECT).as_posix() for path in (PROJECT / "conf").rglob("*") if path.is_file()
)
TWISTD = "from twisted.scripts.twistd import run; run()"
PLUGINS = "twisted/plugins/rocketmq_tx_plugins.py"


class PackagingTests(ProcessCase):
    timeout = 400

    async def run_to_end(self, *arguments: str, folder: Path | None = None) -> str:
        # Nothing of this checkout may be found by accident.
        child = self.start(
            arguments, environ={"PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}, folder=folder
        )
        code = await child.ended
        self.assertEqual(code, 0, f"{arguments}\n{child.out}\n{child.err}")
        return child.out

    async def test_sdist_and_wheel_hold_everything_and_a_wheel_runs_anywhere(self) -> None:
        top = self.absolute_folder()
        source = self.copy_of_the_project(top / "source")
        dist = top / "dist"
        isolation = ["--no-isolation"] if importlib.util.find_spec("wheel") else []
        await self.run_to_end(sys.executable, "-m", "build", *isolation, "--outdir", str(dist), str(source))
        self.check_sdist(next(dist.glob("*.tar.gz")))
        wheel = next(dist.glob("*.whl"))
        self.check_wheel(wheel)
        await self.check_installed(wheel, top)

    def absolute_folder(self) -> Path:
        return Path(self.mktemp()).resolve()

    def copy_of_the_project(self, target: Path) -> Path:
        """A build writes into its tree; this one may."""
        ignored = shutil.ignore_patterns(
            ".*", "_trial_temp*", "*.egg-info", "__pycache__", "build", "dist", "tests"
        )
        shutil.copytree(PROJECT, target, ignore=ignored)
        return target

    def check_sdist(self, sdist: Path) -> None:
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for wanted in (PLUGINS, "setup.cfg", "pyproject.toml", "README.md", "rocketmq_tx/py.typed", *CONF):
            self.assertIn(wanted, names)

    def check_wheel(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        for wanted in (PLUGINS, "rocketmq_tx/py.typed", "rocketmq_tx/config/keys.py"):
            self.assertIn(wanted, names)
        for wanted in CONF:
            self.assertTrue(
                any(name.endswith(f".data/data/share/rocketmq_tx/{wanted}") for name in names), wanted
            )
        # Either would hide Twisted's own package.
        self.assertNotIn("twisted/__init__.py", names)
        self.assertNotIn("twisted/plugins/__init__.py", names)
        self.assertEqual([name for name in names if name.startswith("tests/")], [])

    async def check_installed(self, wheel: Path, top: Path) -> None:
        """Installs without the network: the dependencies are those of the Python that runs the tests."""
        venv, elsewhere = top / "venv", top / "elsewhere"
        elsewhere.mkdir()
        await self.run_to_end(sys.executable, "-m", "venv", "--without-pip", str(venv))
        python = str(venv / "bin" / "python")
        site = next((venv / "lib").glob("python*")) / "site-packages"
        # Folders named in a .pth file are searched; .pth files in them, such as that of this checkout,
        # are not read.
        dependencies = [path for path in sys.path if path.endswith("site-packages")]
        (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in dependencies))
        await self.run_to_end(
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--no-deps", "--ignore-installed", str(wheel)),
        )
        located = await self.run_to_end(
            python, "-c", "import rocketmq_tx; print(rocketmq_tx.__file__)", folder=elsewhere
        )
        self.assertTrue(located.startswith(str(site)), located)
        for command, words in (
            ("rocketmq-broker", ("--config", "--namesrv")),
            ("rocketmq-namesrv", ("--config",)),
        ):
            out = await self.run_to_end(python, "-c", TWISTD, command, "--help", folder=elsewhere)
            for word in words:
                self.assertIn(word, out)
        help_text = await self.run_to_end(str(venv / "bin" / "mqbroker"), "-h", folder=elsewhere)
        self.assertTrue(help_text.startswith("usage: mqbroker"))
        conf = venv / "share" / "rocketmq_tx" / "conf" / "2m-2s-sync" / "broker-a.properties"
        printed = await self.run_to_end(
            str(venv / "bin" / "mqbroker"), "-c", str(conf), "-m", folder=elsewhere
        )
        self.assertIn("brokerName=broker-a\n", printed)
        self.assertEqual(os.listdir(elsewhere), [])
