"""Video tasks: what goes wrong, and where the annotator reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tasking
from tasking import BOX, FRAMES, asked, drawn, message, one, shape, state, stored, told, until, words
from walking_model import PER_FRAME, WalkingModel

from locara_label.types import Box
from tests.engine.scripted_text_model import ScriptedTextModel
from tests.hosts.label_studio.fake_label_studio import FakeLabelStudio

label_studio, server = tasking.label_studio, tasking.server


def test_a_box_with_nothing_in_it_is_told_and_the_others_go_on(server: Callable[..., Any], tmp_path: Path) -> None:
    client = server(WalkingModel(gone={5}))
    sent = shape(drawn(6), region="r2")
    first, second = asked(client, shape(drawn(1)), sent)
    assert told(second) == "locara-label: [prompt.nothing] nothing was found in the box on frame 6"
    assert (second["id"], second["value"]) == ("r2", sent["value"])
    assert "text" not in first["meta"]
    assert (state(tmp_path), state(tmp_path, "r2")) == ("done", "failed")
    assert one(asked(client, sent))["value"] == sent["value"]
    first, outside = asked(client, shape(drawn(1)), shape(drawn(1, Box(200, 10, 230, 40)), region="r3"))
    assert "text" not in first["meta"]
    assert told(outside) == "locara-label: the box on frame 1 of 'r3' lies outside the picture"


def test_a_video_that_is_none_is_told(server: Callable[..., Any], label_studio: FakeLabelStudio) -> None:
    label_studio.files["1.mp4"] = b"no video at all"
    found = one(asked(server(), shape(drawn(1))))
    assert told(found).startswith("locara-label: ")
    assert found["value"] == shape(drawn(1))["value"]
    label_studio.files.clear()
    assert "does not exist" in told(one(asked(server(), shape(drawn(1)))))


def test_a_message_is_gone_with_the_next_answer(server: Callable[..., Any]) -> None:
    model = WalkingModel(broken={30})
    client = server(model)
    found = one(asked(client, shape(drawn(1))))
    assert "frame 30 is broken" in told(found)
    model.broken.clear()
    assert "text" not in one(asked(client, found))["meta"]


def test_a_failing_model_is_told_and_the_next_request_tries_again(server: Callable[..., Any], tmp_path: Path) -> None:
    model = WalkingModel(broken={30})
    client = server(model)
    assert "frame 30 is broken" in told(one(asked(client, shape(drawn(1)))))
    assert state(tmp_path) == "failed"
    model.broken.clear()
    assert one(asked(client, shape(drawn(1))))["type"] == "videorectangle"
    assert (state(tmp_path), len(stored(tmp_path))) == ("done", FRAMES)


def test_a_store_that_cannot_be_read_is_told(server: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "masklets.sqlite3").write_bytes(b"junk" * 1000)
    client = server()
    assert client.get("/health").status == 200
    assert "masklets cannot be read" in told(one(asked(client, shape(drawn(1)))))


def test_a_run_that_fails_after_the_answer_is_told_by_its_prediction_and_by_the_next_answer(
    server: Callable[..., Any], tmp_path: Path, label_studio: FakeLabelStudio
) -> None:
    model = WalkingModel(allowed=threading.Semaphore(10), broken={30})
    client = server(model, predict_s=1.5)
    assert "still being followed" in told(one(asked(client, shape(drawn(1)))))
    model.allowed.release(1000)
    until(lambda: client.get("/ready").json()["masklets"] == [])
    again = "choose its label again to try again"
    said = f"[run.failed] frame 30 is broken, as the test asked; 30 of {FRAMES} frames are done; {again}"
    [found] = label_studio.predictions[0]["result"]
    assert told(found) == f"locara-label: {said}"
    assert (found["id"], found["meta"]["masklet"]["state"], state(tmp_path)) == ("r1", "failed", "failed")
    assert [(entry["frame"], entry["enabled"]) for entry in found["value"]["sequence"]] == [(1, True), (30, False)]
    model.broken.clear()
    second = shape(drawn(1, Box(30, 30, 50, 60)), region="r2")
    heard = f"Car from frame 1 on: [run.failed] frame 30 is broken, as the test asked; {again}"
    assert heard in told(one(asked(client, second)))
    until(lambda: "text" not in one(asked(client, second))["meta"])
    sent = shape(*found["value"]["sequence"])
    until(lambda: one(asked(client, sent))["meta"].get("masklet", {}).get("state") == "done")
    assert (state(tmp_path), len(stored(tmp_path))) == ("done", FRAMES)
    until(lambda: client.get("/ready").json()["masklets"] == [])
    [prediction] = label_studio.predictions
    assert {region["meta"]["masklet"]["state"] for region in prediction["result"]} == {"done"}


def test_a_box_that_fails_after_the_answer_stays_in_the_prediction(
    server: Callable[..., Any], label_studio: FakeLabelStudio
) -> None:
    """A draft may be lost, and with it what the person drew."""
    model = WalkingModel(allowed=threading.Semaphore(0), gone={5})
    client = server(model, predict_s=0.5)
    asked(client, shape(drawn(1)))
    sent = shape(drawn(6), region="r2")
    asked(client, sent)
    model.allowed.release(1000)
    until(lambda: client.get("/ready").json()["masklets"] == [])
    shown = {region["id"]: region for region in label_studio.predictions[-1]["result"]}
    assert "nothing was found in the box on frame 6" in told(shown["r2"])
    [key] = shown["r2"]["value"]["sequence"]
    [mine] = sent["value"]["sequence"]
    assert (key.keys(), key["frame"]) == (mine.keys(), 6)
    assert [key[side] for side in ("x", "y", "width", "height")] == pytest.approx(
        [mine[side] for side in ("x", "y", "width", "height")]
    )
    assert "text" not in shown["r1"]["meta"]


class Unthought(WalkingModel):
    """Fails as no model should."""

    def _step(self, frame: int, asked: Any, limit: Any) -> Any:
        if frame == 20:
            raise ZeroDivisionError("nobody thought of this")
        return super()._step(frame, asked, limit)


def test_a_failure_that_nobody_thought_of_is_told_too(server: Callable[..., Any], tmp_path: Path) -> None:
    client = server(Unthought())
    assert told(one(asked(client, shape(drawn(1))))) == "locara-label: the server failed; its log says how"
    assert state(tmp_path) == "failed"
    assert client.get("/ready").json()["masklets"] == []


def test_a_text_that_fails_after_the_answer_is_told(server: Callable[..., Any], label_studio: FakeLabelStudio) -> None:
    model = WalkingModel(allowed=threading.Semaphore(3), broken={30})
    client = server(model, text_model=ScriptedTextModel({0: [("car", BOX)]}, PER_FRAME), predict_s=1)
    assert "still being gone through" in message(asked(client, words("car"))[-1])
    model.allowed.release(1000)
    until(lambda: client.get("/ready").json()["masklets"] == [])
    region, text = label_studio.predictions[0]["result"]
    assert "30 of 40 frames are done" in told(region)
    assert message(text) == '"car": [run.failed] frame 30 is broken, as the test asked'
