"""`locara-label serve` as a process of its own, with its log and nothing of this process's settings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
START_S, STOP_S = 120.0, 60.0


@dataclass(frozen=True)
class Served:
    """A running server: its address, its process, the file of what it says."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> tuple[int, Any]:
        return _asked(urllib.request.Request(self.url + path))

    def post(self, path: str, content: Any, **headers: str) -> tuple[int, Any]:
        body = json.dumps(content).encode()
        return _asked(urllib.request.Request(self.url + path, body, {"content-type": "application/json", **headers}))

    def said(self) -> str:
        return self.log.read_text("utf-8")


def _asked(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, _content(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _content(error.read())


def _content(body: bytes) -> Any:
    return json.loads(body) if body.startswith((b"{", b"[")) else body.decode()


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """What a server's process knows: of ours only what a program needs to start."""
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS"}}
    own = {"HOME": str(folder), "LOCARA_CACHE_DIR": str(folder / "cache"), "LOCARA_THREADS": "1"}
    return {**kept, **own, "PYTHONPATH": str(ROOT), **variables}


@contextmanager
def serve(folder: Path, *words: str, **variables: str) -> Iterator[Served]:
    """The server until the block ends; `folder` is its working folder, where it finds its locara.toml."""
    log = folder / "serve.log"
    line = [sys.executable, "-m", "locara_label", "serve", "--port", "0", *words]
    with log.open("wb") as stream:
        process = subprocess.Popen(line, stdout=stream, stderr=stream, cwd=folder, env=environment(folder, **variables))
    try:
        yield Served(_started(process, log), process, log)
    finally:
        process.terminate()
        process.wait(STOP_S)


def _started(process: subprocess.Popen[bytes], log: Path) -> str:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        told = re.search(r"running on (http://[^\s\"]+)", log.read_text("utf-8"))
        if told:
            return told[1]
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text('utf-8')[-3000:]}")
