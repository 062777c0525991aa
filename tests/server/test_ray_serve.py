"""Two replicas on a real Ray cluster, and one of them killed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.served import environment
from tests.replicas import CREDENTIALS, Clicking, asked
from tests.required import missing

PROGRAM = os.environ.get("LOCARA_RAY_SERVE") or sys.executable
"""A Python with the extra `ray-serve`."""
_START_S, _STOP_S = 240, 60

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program() -> str:
    words = [PROGRAM, "-c", "from ray import serve"]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        missing("Ray Serve is not installed: pip install 'locara-label[ray-serve]', or LOCARA_RAY_SERVE names a Python with it")
    return PROGRAM


@contextmanager
def serving(program: str, folder: Path, token: str) -> Iterator[int]:
    """The port of a server with two replicas."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = {
        "LOCARA_SERVER__BASIC_AUTH": CREDENTIALS,
        "LOCARA_SERVER__EMBEDDING_DIR": str(folder / "embeddings"),
        "LOCARA_SERVER__STORE": str(folder / "shared.sqlite3"),
        "LOCARA_SERVER__TEXT_MODEL": "none",
        "LOCARA_CAPABILITIES__FOLDERS": json.dumps([str(folder)]),
        "RAY_AUTH_TOKEN": token,
    }
    words = [program, "-m", "locara_label.server.ray_serve", "--replicas", "2", "--port", str(port)]
    log = folder / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, cwd=folder, env=environment(folder, **settings))
    try:
        ends = time.monotonic() + _START_S
        while "locara-label runs on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        finally:
            for pid in processes(token, ""):
                os.kill(pid, signal.SIGKILL)


def processes(token: str, title: str) -> list[int]:
    """Those of the cluster with this token, by what they call themselves."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"RAY_AUTH_TOKEN={token}".encode() in (folder / "environ").read_bytes()
            if ours and (folder / "cmdline").read_bytes().startswith(title.encode()):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_replica_that_is_killed_costs_no_click(program: str, tmp_path: Path) -> None:
    token = secrets.token_hex(32)
    clicking = Clicking(tmp_path, 8)
    with serving(program, tmp_path, token) as port:
        replicas = processes(token, "ray::ServeReplica:locara-label:replica")
        assert len(replicas) == 2
        wrong, sent_again = clicking.go(
            lambda method, path, body: asked(port, method, path, body), 64, 24, lambda: os.kill(replicas[0], signal.SIGKILL)
        )
        assert (wrong, sent_again) == (0, 0)
        assert replicas[0] not in processes(token, "ray::ServeReplica:locara-label:replica")
        refused = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}/metrics"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert refused.stdout == "401"
