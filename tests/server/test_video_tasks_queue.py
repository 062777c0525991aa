"""Video tasks: what takes long, who goes first, what is left when the server ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tasking
from tasking import BOX, FRAMES, asked, drawn, one, shape, state, stored, told, until
from walking_model import WalkingModel, clip, walked

from locara_label.types import Box
from tests.hosts.label_studio.fake_label_studio import FakeLabelStudio

label_studio, server = tasking.label_studio, tasking.server


def test_what_takes_long_is_answered_with_what_exists_and_goes_on(
    server: Callable[..., Any], label_studio: FakeLabelStudio, tmp_path: Path
) -> None:
    model = WalkingModel(allowed=threading.Semaphore(10))
    client = server(model, predict_s=2)
    found = one(asked(client, shape(drawn(1))))
    assert [(entry["frame"], entry["enabled"]) for entry in found["value"]["sequence"]] == [(1, True), (11, False)]
    assert found["meta"]["masklet"]["state"] == "running"
    rest = "the whole of it will be a prediction of this task"
    assert told(found) == f"locara-label: still being followed, 11 of {FRAMES} frames are done; {rest}"
    [job] = client.get("/ready").json()["masklets"]
    assert job == {"project": 1, "task": 1, "to_name": "video", "running": True, "frames": FRAMES - 1, "done": 10}
    assert label_studio.predictions == []
    model.allowed.release(1000)
    [prediction] = until(lambda: label_studio.predictions)
    assert until(lambda: state(tmp_path) == "done")
    [region] = prediction["result"]
    assert (region["id"], prediction["task"], prediction["model_version"]) == ("r1", 1, client.service.version)
    assert [entry["frame"] for entry in region["value"]["sequence"]] == [1, FRAMES]
    assert until(lambda: client.get("/ready").json()["masklets"] == [])


def test_what_has_not_begun_is_answered_as_it_was_sent(server: Callable[..., Any]) -> None:
    client = server(WalkingModel(allowed=threading.Semaphore(0)), predict_s=0.5)
    asked(client, shape(drawn(1)), task=2)
    found = one(asked(client, shape(drawn(1))))
    assert found["value"] == shape(drawn(1))["value"]
    assert told(found).startswith(f"locara-label: still being followed, 0 of {FRAMES} frames are done; ")


def test_predictions_are_replaced_and_not_piled_up(server: Callable[..., Any], label_studio: FakeLabelStudio) -> None:
    model = WalkingModel(allowed=threading.Semaphore(0))
    client = server(model, predict_s=1)
    mine = {"id": 90, "task": 1, "model_version": "other", "score": 0.5, "result": [{"id": "x", "to_name": "video", "meta": {}}]}
    old = {"id": 91, "task": 1, "model_version": "old", "score": 0.5, "result": [{"to_name": "video", "meta": {"masklet": {}}}]}
    label_studio.predictions += [mine, dict(old), old | {"id": 92}]
    asked(client, shape(drawn(1)))
    model.allowed.release(1000)
    until(lambda: client.get("/ready").json()["masklets"] == [])
    assert [found["id"] for found in label_studio.predictions] == [90, 91]
    assert label_studio.predictions[1]["result"][0]["id"] == "r1"
    assert label_studio.predictions[1]["model_version"] == client.service.version


def test_more_for_a_task_while_it_is_gone_through(server: Callable[..., Any], tmp_path: Path) -> None:
    model = WalkingModel(allowed=threading.Semaphore(10))
    client = server(model, predict_s=2)
    asked(client, shape(drawn(1)))
    model.allowed.release(1000)
    found = asked(client, shape(drawn(5, Box(30, 30, 50, 60)), region="r2", label="Man"))
    assert found[0]["id"] == "r2"
    until(lambda: client.get("/ready").json()["masklets"] == [])
    assert (state(tmp_path), state(tmp_path, "r2")) == ("done", "done")
    assert (len(stored(tmp_path)), len(stored(tmp_path, "r2"))) == (FRAMES, FRAMES)


def test_who_waits_goes_before_what_nobody_waits_for(server: Callable[..., Any], tmp_path: Path) -> None:
    model = WalkingModel(allowed=threading.Semaphore(10))
    client = server(model, predict_s=6)
    asked(client, shape(drawn(1), frames=3 * FRAMES), task=3)
    assert state(tmp_path, task=3) == "running"
    found: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: found.extend(asked(client, shape(drawn(1)), task=1)))
    waiting.start()
    until(lambda: len(client.get("/ready").json()["masklets"]) == 2)
    model.allowed.release(FRAMES)  # one for the frame under way, and those of the other video
    waiting.join()
    assert found[0]["meta"]["masklet"]["state"] == "done"
    assert state(tmp_path, task=3) == "running"
    model.allowed.release(1000)
    assert until(lambda: state(tmp_path, task=3) == "done")


@pytest.mark.slow
def test_twenty_tasks_one_at_a_time(server: Callable[..., Any], label_studio: FakeLabelStudio, tmp_path: Path) -> None:
    label_studio.files["short.mp4"] = clip(tmp_path / "short.mp4", 8)
    for task in range(4, 24):
        label_studio.files[f"{task}.mp4"] = label_studio.files["short.mp4"]
        label_studio.tasks[task] = {"video": f"/data/upload/1/{task}.mp4"}
    model = WalkingModel(allowed=threading.Semaphore(0))
    client = server(model, predict_s=1.5)
    box = shape(drawn(1), frames=8)
    threads = [threading.Thread(target=asked, args=(client, box), kwargs={"task": task}) for task in range(4, 24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs = client.get("/ready").json()["masklets"]
    assert len(jobs) == 20
    assert [job["running"] for job in jobs].count(True) == 1
    assert b"locara_masklets_waiting 19.0" in client.get("/metrics").body
    model.allowed.release(100_000)
    until(lambda: client.get("/ready").json()["masklets"] == [])
    assert model.peak == 1
    assert {state(tmp_path, task=task) for task in range(4, 24)} == {"done"}
    assert sorted(found["task"] for found in label_studio.predictions) == list(range(4, 24))
    assert client.service.video_sessions.open <= client.service.settings.server.video_sessions


def test_the_next_server_goes_on(server: Callable[..., Any], start: Any, tmp_path: Path, label_studio: FakeLabelStudio) -> None:
    """An orderly end; for another one see the faults."""
    model = WalkingModel(allowed=threading.Semaphore(10))
    client = server(model, predict_s=1.5)
    asked(client, shape(drawn(1)))
    client.service.close()
    assert state(tmp_path) == "running"
    server()
    assert until(lambda: state(tmp_path) == "done")
    assert stored(tmp_path) == {frame: walked(BOX, frame) for frame in range(FRAMES)}
    assert until(lambda: [found["task"] for found in label_studio.predictions]) == [1]
