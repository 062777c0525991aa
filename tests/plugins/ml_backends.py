"""Backends in the environment that `make label-studio-ml` makes: the frameworks with our class, and our own server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-label-studio-ml" / "bin" / "python"
MODEL = ROOT / "plugins" / "label_studio" / "model.py"
STAND_IN = Path(__file__).parent / "label_studio_ml_2x"
START_S = 120.0
FRAMEWORKS = ("1.0.9", "2.x stand-in")
RUN_2X = "import sys, model; from label_studio_ml.api import init_app; init_app(model.LocaraLabel).run(port=int(sys.argv[1]))"


def python() -> Path | None:
    """The environment's interpreter, or None where there is none."""
    named = os.environ.get("LOCARA_LABEL_STUDIO_ML")
    path = Path(named) if named else PYTHON
    return path if path.is_file() else None


@dataclass(frozen=True)
class Backend:
    """A running backend; `folder` is its own, with what it writes and its log."""

    url: str
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=100) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@contextmanager
def own_server(python: Path, folder: Path, variables: Mapping[str, str]) -> Iterator[Backend]:
    """`locara-label serve` until the block ends."""
    port = _free_port()
    with _running([str(python), "-m", "locara_label", "serve", "--port", str(port)], port, folder, variables) as found:
        yield found


@contextmanager
def framework(name: str, python: Path, folder: Path, variables: Mapping[str, str]) -> Iterator[Backend]:
    """Our class, served by a framework until the block ends."""
    port = _free_port()
    if name == "1.0.9":
        words = [str(python.parent / "label-studio-ml"), "init", "backend", "--script", f"{MODEL}:LocaraLabel"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=60)
        command = [str(python), "backend/_wsgi.py", "--host", "127.0.0.1", "--port", str(port)]
        with _running(command, port, folder, variables) as found:
            yield found
    else:
        path = {"PYTHONPATH": f"{STAND_IN}{os.pathsep}{MODEL.parent}"}
        with _running([str(python), "-c", RUN_2X, str(port)], port, folder, {**variables, **path}) as found:
            yield found


@contextmanager
def _running(command: list[str], port: int, folder: Path, variables: Mapping[str, str]) -> Iterator[Backend]:
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "OMP_NUM_THREADS", "TMPDIR"}}
    environment = {**kept, "HOME": str(folder), "LOCARA_CACHE_DIR": str(folder / "cache"), **variables}
    found = Backend(f"http://127.0.0.1:{port}", folder)
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(found, process)
            yield found
        finally:
            process.terminate()
            process.wait(30)


def _wait(backend: Backend, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{backend.url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the backend did not start: {backend.log[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
