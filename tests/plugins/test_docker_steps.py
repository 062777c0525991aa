"""The Dockerfiles without Docker: their rules by hadolint, and their steps in a clean folder.

Packages come from the environment of the tests; LOCARA_DOCKER_FULL=1 installs them anew, as an image does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from locara_label import images
from tests.plugins.test_label_studio_ml_files import DOCKERFILES, PLUGIN, ROOT, copied, instructions, one
from tests.required import missing
from tests.server.running import Client

COMPOSED = sorted(PLUGIN.rglob("compose*.yaml"))
RULES = {"DL3006": "FROM debian", "DL3007": "FROM debian:latest", "DL3013": "RUN pip install x", "DL3025": "CMD sleep 1"}
START_S = 120.0
PORT = re.compile(r"running on http://[^\s:]+:(\d+)")


def hadolint() -> str:
    program = Path(sys.executable).with_name("hadolint")
    return str(program) if program.is_file() else missing("hadolint is not installed; it is in the extra lint")


@pytest.mark.parametrize("extra", DOCKERFILES)
def test_hadolint_finds_nothing(extra: str) -> None:
    done = subprocess.run([hadolint(), "--no-color", str(DOCKERFILES[extra])], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("rule", RULES)
def test_hadolint_would_find_something(rule: str) -> None:
    text = "FROM debian:12\n" * (not RULES[rule].startswith("FROM")) + RULES[rule] + "\n"
    done = subprocess.run([hadolint(), "--no-color", "-"], input=text, capture_output=True, text=True, check=False)
    assert rule in done.stdout


@pytest.mark.parametrize("extra", DOCKERFILES)
def test_what_hadolint_does_not_look_at(extra: str) -> None:
    words = [word for word, _ in instructions(DOCKERFILES[extra])]
    stages = [rest for word, rest in instructions(DOCKERFILES[extra]) if word == "FROM"]
    assert len(stages) == 2
    assert all(re.match(r"python:3\.\d+-slim( AS \w+)?$", stage) for stage in stages)
    assert not {"ADD", "ARG"} & set(words)
    last = words[len(words) - words[::-1].index("FROM") :]
    assert {"USER", "HEALTHCHECK", "VOLUME", "WORKDIR", "ENTRYPOINT", "CMD"} <= set(last)
    assert last.index("USER") > last.index("RUN")
    for word in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(one(DOCKERFILES[extra], word)), list)
    secret = re.compile(r"(?i)password|token|api_key|basic_auth")
    assert not [rest for word, rest in instructions(DOCKERFILES[extra]) if word in {"ENV", "RUN"} and secret.search(rest)]
    assert (ROOT / ".dockerignore").read_text("utf-8").splitlines()[0] == "*"


@pytest.mark.parametrize("path", COMPOSED, ids=lambda path: path.name)
def test_containers_of_ours_may_do_little(path: Path) -> None:
    """An overlay changes what another file says; that one has to say it."""
    services: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["services"]
    for name, service in services.items():
        assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & service.keys(), name
        assert all(re.match(r"(127\.0\.0\.1|\[::1\]):", str(port)) for port in service.get("ports", ())), name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ())), name
        if str(service.get("image", "")).startswith("locara-label:cpu"):
            assert (service["read_only"], service["stop_grace_period"]) == (True, "30s"), name
            assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first stage makes: an environment with exactly what COPY sends, installed by the RUN line."""
    folder, path = tmp_path_factory.mktemp("image"), DOCKERFILES["cpu"]
    source = folder / "src"
    for name in copied(path):
        place = source / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, place)
    line = next(rest for word, rest in instructions(path) if word == "RUN").replace("/opt/locara", str(folder / "locara"))
    own = "--no-build-isolation --disable-pip-version-check"
    line = line if _is_full() else line.replace("pip install", f"pip install {own}")
    line = line.replace("python -m venv", f"{sys.executable} -m venv")
    done = subprocess.run(["sh", "-ec", line], cwd=source, env=_installed(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "locara"


def _is_full() -> bool:
    return os.environ.get("LOCARA_DOCKER_FULL") == "1"


def _installed() -> dict[str, str]:
    """Where packages are that need not be downloaded again."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LOCARA"))}
    return kept if _is_full() else kept | {"PYTHONPATH": sysconfig.get_paths()["purelib"]}


@contextmanager
def running(image: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The image's command as its user, on a system of which only two folders can be written."""
    cache, temporary = folder / "cache", folder / "tmp"
    cache.mkdir()
    temporary.mkdir()
    path, log = DOCKERFILES["cpu"], folder / "log"
    said = " ".join(rest for word, rest in instructions(path) if word == "ENV")
    named = dict(word.partition("=")[::2] for word in shlex.split(said))
    env = {name: value.replace("/cache", str(cache)).replace("/tmp", str(temporary)) for name, value in named.items()}
    env = _installed() | env | {"PATH": f"{image}/bin:/usr/bin:/bin", "TMPDIR": str(temporary), "LOCARA_BASIC_AUTH": "me:pw"}
    words = [word if word != "9090" else "0" for word in json.loads(one(path, "CMD"))]
    binds = "; ".join(f"mount --bind {shlex.quote(str(one))} {shlex.quote(str(one))}" for one in (cache, temporary))
    user = one(path, "USER")
    command = shlex.join(["unshare", "--user", f"--map-user={user}", f"--map-group={user}", f"{image}/bin/locara-label", *words])
    line = ["unshare", *_namespaces(), "sh", "-ec", f"{binds}; mount -o remount,bind,ro /; cd {cache}; exec {command}"]
    with log.open("wb") as stream:
        process = subprocess.Popen(line, env=env, stdout=stream, stderr=stream)
    try:
        yield process, log
    finally:
        process.terminate()
        process.wait(60)


def _namespaces() -> list[str]:
    return ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]


def can_isolate() -> bool:
    line = ["unshare", *_namespaces(), "sh", "-ec", "mount -o remount,bind,ro /; unshare --user --map-user=10001 true"]
    return shutil.which("unshare") is not None and subprocess.run(line, capture_output=True, check=False).returncode == 0


def clicked(port: int) -> int:
    picture = images.encode_png(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    login = base64.b64encode(b"me:pw").decode()
    body = {"image": "data:image/png;base64," + base64.b64encode(picture).decode(), "points": [[9, 9]]}
    return Client(port).post("/v1/mask_from_prompt", body, authorization=f"Basic {login}").status


@pytest.mark.slow
@pytest.mark.skipif(not can_isolate(), reason="needs mounts of its own, which this system does not allow")
def test_the_image_runs_as_nobody_on_a_system_that_it_cannot_change(image: Path, tmp_path: Path) -> None:
    with running(image, tmp_path) as (process, log):
        give_up = time.monotonic() + START_S
        while not (told := PORT.search(log.read_text("utf-8"))):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < give_up, log.read_text("utf-8")
            time.sleep(0.1)
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        python, *check = json.loads(one(DOCKERFILES["cpu"], "HEALTHCHECK").partition("CMD ")[2])
        asked = [word.replace(":9090/", f":{told[1]}/") for word in check]
        assert subprocess.run([f"{image}/bin/{python}", *asked], capture_output=True, check=False).returncode == 0
        assert clicked(int(told[1])) == 200
    assert process.returncode == 0, log.read_text("utf-8")
    assert "Traceback" not in log.read_text("utf-8")
