"""A real Label Studio that stops in the middle of the work and comes back: clicks go on where they can, then everywhere."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cli.served import Served, serve
from tests.hosts.label_studio import real_label_studio
from tests.hosts.label_studio.assisted import config, png, scene
from tests.hosts.label_studio.conftest import _program
from tests.hosts.label_studio.real_label_studio import OPEN_TO_LOCAL, RealLabelStudio
from tests.hosts.label_studio.test_real_server import predictions, reaching, retrieve, waited

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

SCENES = (36, 1)
MOST_S = 30.0


def asked(server: Served, image: str) -> tuple[int, Any]:
    return server.post("/v1/mask_from_prompt", {"image": image, "points": [[60, 60]]})


def test_the_server_outlives_its_label_studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, port = _program(), real_label_studio._free_port()
    monkeypatch.setattr(real_label_studio, "_free_port", lambda: port)
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        studio = first.enter_context(real_label_studio.running(program, tmp_path, OPEN_TO_LOCAL))
        project = studio.project(config("BrushLabels"))
        studio.upload(project, {f"{number}.png": png(scene(number).image) for number in SCENES})
        seen, unseen = (task["data"]["image"] for task in studio.tasks(project))
        folder = tmp_path / "server"
        folder.mkdir()
        server = stack.enter_context(serve(folder, "--prelabel-model", "mini", **reaching(studio)))
        status, before = asked(server, seen)
        assert status == 200, before
        first.close()
        while_it_is_gone(server, seen, unseen, before)
        back = real_label_studio._started(program, tmp_path, tmp_path / "data", studio.legacy_token, OPEN_TO_LOCAL)
        stack.enter_context(back)
        assert asked(server, unseen)[0] == 200
        everything_goes_on(studio, server, project)
    assert "Traceback" not in server.said()
    assert studio.personal_token not in server.said()


def while_it_is_gone(server: Served, seen: str, unseen: str, before: Any) -> None:
    """A picture that is known needs no Label Studio; another one is refused with a code, soon."""
    status, again = asked(server, seen)
    assert (status, again["masks"]) == (200, before["masks"])
    began = time.monotonic()
    status, answer = asked(server, unseen)
    assert (status, answer["error"]["code"]) == (422, "fetch.unreachable"), answer
    assert time.monotonic() - began < MOST_S
    assert server.get("/health")[0] == 200
    assert server.get("/ready")[0] == 200


def everything_goes_on(studio: RealLabelStudio, server: Served, project: int) -> None:
    studio.connect(project, server.url)
    retrieve(studio, project)
    found = waited(lambda: all(predictions(studio, project).values()) and predictions(studio, project))
    assert {one["model_version"] for many in found.values() for one in many} == {server.post("/setup", {
        "project": f"{project}.1", "schema": config("BrushLabels")})[1]["model_version"]}  # fmt: skip
