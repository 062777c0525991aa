"""The whole command with a real Label Studio and Chromium, as docs/start.md has it: checked, started again, stopped, killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locara_label import read_image
from locara_label.quickstart.folder import Folder, Kept
from tests.docs.prepared import with_stand_ins
from tests.documented import blocks, commands
from tests.hosts.label_studio.conftest import _program
from tests.required import missing

pytestmark = [pytest.mark.slow, pytest.mark.label_studio, pytest.mark.timeout(2400)]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The same for all tests, which go on from each other as a person does."""
    return Folder(tmp_path_factory.mktemp("quickstart") / "folder")


def command(folder: Folder, *words: str) -> list[str]:
    program = str(_program())
    ports = [] if "--port" in words else ["--port", str(free_port())]
    return [
        sys.executable,
        "-m",
        "locara_label",
        "quickstart",
        "--label-studio",
        program,
        "--folder",
        str(folder.path),
        *ports,
        *words,
    ]


def environment(folder: Folder) -> dict[str, str]:
    kept = {"PATH", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS", "LOCARA_CHROMIUM", "HOME"}
    own = {"PYTHONPATH": str(ROOT), "LOCARA_THREADS": "1", "LOCARA_CACHE_DIR": str(folder.path.parent / "cache")}
    return {name: value for name, value in os.environ.items() if name in kept} | own


def run_the_guide(folder: Folder, told: dict[str, Any], kept: Kept) -> None:
    """The commands of docs/label-studio.md that need a Label Studio with projects, one of pictures and one of a video."""
    here = folder.path.parent / "guide"
    here.mkdir(exist_ok=True)
    pictures, video = kept.projects.values()
    for project in (pictures, video):
        _annotate(told["url"], kept, project)
    exported = api(told["url"], kept, f"/api/projects/{pictures}/export?exportType=JSON")
    (here / "project-3.json").write_text(json.dumps(exported), "utf-8")
    (here / "config.xml").write_text(api(told["url"], kept, f"/api/projects/{pictures}/")["label_config"], "utf-8")
    own = {"LOCARA_LABEL_STUDIO_URL": told["url"], "LOCARA_LABEL_STUDIO_API_KEY": kept.token}
    own["LOCARA_DATA_DIR"] = str(folder.assist)
    ours = [one for one in blocks("docs/label-studio.md", "sh") if one.test == str(Path(__file__).relative_to(ROOT))]
    for one in (one for block in ours for one in commands(replace(block, text=with_stand_ins(block.text, here)))):
        words = " ".join(one.words).replace("--project 3", f"--project {pictures}").replace("--project 5", f"--project {video}")
        line = [sys.executable, "-m", "locara_label", *words.split()]
        done = subprocess.run(line, capture_output=True, text=True, env=environment(folder) | own, cwd=here, check=False)
        print(words, done.stdout[-600:], done.stderr[-600:])
        assert done.returncode == 0, words
    assert ours
    assert len(list((here / "maps").glob("*.png"))) == 1


def _annotate(url: str, kept: Kept, project: int) -> None:
    """A person accepts what the first task opens with."""
    task = api(url, kept, f"/api/tasks?project={project}&page_size=1&fields=all")["tasks"][0]
    body = {"result": task["predictions"][0]["result"], "parent_prediction": task["predictions"][0]["id"], "lead_time": 5.0}
    send(url, kept, f"/api/tasks/{task['id']}/annotations/", body)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(folder: Folder, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """The command, once it has said where everything is."""
    out, err = (folder.path.parent / name for name in ("out.txt", "err.txt"))
    with out.open("wb") as told, err.open("wb") as said:
        line = command(folder, "--no-browser", "--json", *words)
        process = subprocess.Popen(line, stdout=told, stderr=said, env=environment(folder), cwd=folder.path.parent)
    try:
        assert waited(lambda: out.stat().st_size > 0 or process.poll() is not None), err.read_text("utf-8")
        assert process.poll() is None, out.read_text("utf-8") + err.read_text("utf-8")
        told = json.loads(out.read_text("utf-8"))
        assert "error" not in told, (told, err.read_text("utf-8"))
        yield process, told
    finally:
        process.kill()
        process.wait()
    print(err.read_text("utf-8"))


def waited(what: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    give_up = time.monotonic() + seconds
    while not what() and time.monotonic() < give_up:
        time.sleep(0.25)
    return what()


def running(folder: Folder) -> list[str]:
    """Programs of this quickstart, by what its folder or its login tells of them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            seen = (entry / "cwd").readlink() if entry.name.isdigit() else None
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if seen == folder.path:
            found.append(line)
    return found


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def api(url: str, kept: Kept, path: str) -> Any:
    request = urllib.request.Request(url + path, headers={"Authorization": f"Token {kept.token}"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def send(url: str, kept: Kept, path: str, body: Any, method: str = "POST") -> None:
    headers = {"Authorization": f"Token {kept.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method=method)
    urllib.request.urlopen(request, timeout=120).close()


def rename_backends(url: str, kept: Kept) -> None:
    """As if they had been connected by a release that gave them another title."""
    for backend in [one for project in kept.projects.values() for one in api(url, kept, f"/api/ml?project={project}")]:
        body = {"title": "locara-label", "url": backend["url"], "project": backend["project"]}
        send(url, kept, f"/api/ml/{backend['id']}", body, "PATCH")


def is_ordered_by_doubt(found: dict[str, Any]) -> bool:
    """The column "Prediction score" of the Data Manager is filled, which needs that the project names the backend's version."""
    return all(0 < score <= 1 for score in found["scores"]) and found["versions"] == [found["shown"]]


def contents(url: str, kept: Kept) -> dict[str, Any]:
    """Everything that could be there twice: titles, tasks with the number of their predictions, backends, webhooks."""
    found = {}
    for project in api(url, kept, "/api/projects/?page_size=100")["results"]:
        number = project["id"]
        tasks = api(url, kept, f"/api/tasks?project={number}&page_size=1000&fields=all")["tasks"]
        found[project["title"]] = {
            "id": number,
            "tasks": [(task["id"], len(task["predictions"])) for task in tasks],
            "scores": [task["predictions_score"] for task in tasks],
            "shown": project["model_version"],
            "versions": [backend["model_version"] for backend in api(url, kept, f"/api/ml?project={number}")],
            "backends": [backend["url"] for backend in api(url, kept, f"/api/ml?project={number}")],
            "webhooks": [hook["url"] for hook in api(url, kept, f"/api/webhooks/?project={number}")],
        }
    return found


def test_check_goes_through_the_whole_loop(folder: Folder) -> None:
    from locara_label.quickstart.looking import browser

    if (reason := browser()) is not None:
        missing(reason)
    shots = Path(os.environ.get("LOCARA_SCREENSHOTS") or folder.path.parent / "shots")
    line = command(folder, "--check", "--screenshots", str(shots), "--json")
    done = subprocess.run(line, capture_output=True, text=True, env=environment(folder), cwd=folder.path.parent, check=False)
    print(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    pictures, video = found["projects"]
    assert (pictures["tasks"], video["tasks"]) == (6, 1)
    assert (pictures["empty"], video["empty"]) == (0, 0)
    assert pictures["masks"] >= 15
    assert pictures["answered"] == 1
    assert video["masks"] >= 10
    shown, clip = (read_image(path) for path in found["screenshots"])
    assert shown.shape == clip.shape == (900, 1400, 3)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 1000
    assert waited(lambda: not running(folder), 60)
    secrets = folder.read()
    for log in folder.path.glob("*.log"):
        assert secrets.token not in log.read_text("utf-8", "replace")
        assert secrets.password not in log.read_text("utf-8", "replace")
    assert secrets.token not in done.stdout + done.stderr


def test_the_next_start_finds_everything_and_ctrl_c_ends_it(folder: Folder) -> None:
    before = folder.read()
    with started(folder) as (process, told):
        kept = folder.read()
        assert (told["email"], told["password"]) == (before.email, before.password) == (kept.email, kept.password)
        assert told["without_prediction"] == 0
        assert kept.projects == before.projects
        found = contents(told["url"], kept)
        print(found)
        assert {title: one["id"] for title, one in found.items()} == dict(kept.projects)
        assert sorted(len(one["tasks"]) for one in found.values()) == [1, 6]
        assert {count for one in found.values() for _, count in one["tasks"]} == {1}
        assert all(one["backends"] == [told["assist_url"]] for one in found.values())
        assert all(one["webhooks"] == [f"{told['assist_url']}/webhook"] for one in found.values())
        assert all(map(is_ordered_by_doubt, found.values()))
        run_the_guide(folder, told, kept)
        rename_backends(told["url"], kept)
        assert {one["shown"] for one in contents(told["url"], kept).values()} == {"locara-label"}
        secret = {kept.token, kept.password}
        assert len(running(folder)) == 5  # both programs, what ends each of them, and the process that runs models
        assert not any(word in line for line in running(folder) for word in secret)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    assert running(folder) == []


def test_a_killed_one_takes_both_along_and_other_ports_do_no_harm(folder: Folder) -> None:
    """The backends of the next start have other addresses, and those of the last one are gone."""
    with started(folder, "--assist-port", str(free_port())) as (process, told):
        first = contents(told["url"], folder.read())
        assert all(map(is_ordered_by_doubt, first.values()))
        process.kill()
        process.wait()
        assert waited(lambda: not running(folder), 120)
    ports = [int(re.sub(r"\D", "", told[name].rpartition(":")[2])) for name in ("url", "assist_url")]
    assert not any(map(listens, ports))
    with socket.create_server(("127.0.0.1", ports[1])), started(folder) as (process, again):
        second = contents(again["url"], folder.read())
        assert again["assist_url"] != told["assist_url"]
        assert {title: one["tasks"] for title, one in second.items()} == {title: one["tasks"] for title, one in first.items()}
        assert all(one["backends"] == [again["assist_url"]] for one in second.values())
        assert all(one["webhooks"] == [f"{again['assist_url']}/webhook"] for one in second.values())
        assert all(map(is_ordered_by_doubt, second.values()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert running(folder) == []


def test_a_damaged_database_is_told(folder: Folder) -> None:
    [database] = folder.studio.glob("*.sqlite3")
    database.write_bytes(b"no database at all" * 1000)
    line = command(folder, "--check", "--json")
    done = subprocess.run(line, capture_output=True, text=True, env=environment(folder), cwd=folder.path.parent, check=False)
    error = json.loads(done.stdout)["error"]
    print(error)
    assert (done.returncode, error["code"]) == (1, "quickstart.ended")
    assert "file is not a database" in error["message"]
    assert running(folder) == []
