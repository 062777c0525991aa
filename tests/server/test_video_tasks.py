"""Video tasks: boxes to tracks, corrections, what a person hides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tasking
from tasking import BOX, FRAMES, asked, body, drawn, masks, one, shape, state, stored
from walking_model import WalkingModel, walked

from locara_label.types import Box
from tests.hosts.label_studio.fake_label_studio import LEGACY, FakeLabelStudio

label_studio, server = tasking.label_studio, tasking.server


def test_a_box_is_followed_both_ways(server: Callable[..., Any], tmp_path: Path) -> None:
    box, model = Box(40, 10, 60, 40), WalkingModel()
    found = one(asked(server(model), shape(drawn(20, box))))
    assert (found["id"], found["from_name"], found["to_name"], found["type"]) == ("r1", "box", "video", "videorectangle")
    assert found["value"]["labels"] == ["Car"]
    assert [entry["frame"] for entry in found["value"]["sequence"]] == [1, 20, FRAMES]
    true = {frame: walked(box, frame - 20) for frame in range(1, FRAMES + 1)}
    assert all(mask == true[frame] for frame, mask in masks(found).items())
    assert stored(tmp_path) == {frame - 1: mask for frame, mask in true.items()}
    assert state(tmp_path) == "done"
    told = found["meta"]["masklet"]
    assert (told["model"], told["state"], told["frames"]) == ("walking", "done", FRAMES)
    assert told["prompts"] == {"19": {"box": pytest.approx([40, 10, 60, 40]), "at": 20}}
    assert sorted(frame for frame, _ in model.steps) == [frame for frame in range(FRAMES) if frame != 19]


def test_nothing_asked_is_answered_at_once(server: Callable[..., Any], label_studio: FakeLabelStudio) -> None:
    client = server()
    assert asked(client) == []
    assert asked(client, shape(drawn(), label=None)) == []
    batch = body() | {"params": {"context": None}}
    assert client.post("/predict", batch).json()["results"] == [[]]
    assert label_studio.times("GET", "/data/upload/1/1.mp4") == 0


def test_a_batch_of_video_tasks_with_a_model_for_pictures(start: Callable[..., Any], label_studio: FakeLabelStudio) -> None:
    client = start(label_studio_url=label_studio.url, api_key=LEGACY)
    batch = body() | {"params": {"login": None, "password": None, "context": None}}
    assert client.post("/predict", batch).json()["results"] == [[]]


def test_several_boxes_are_several_objects(server: Callable[..., Any]) -> None:
    model = WalkingModel()
    first, second = Box(10, 5, 20, 15), Box(30, 30, 50, 60)
    found = asked(server(model), shape(drawn(1, first)), shape(drawn(11, second), region="r2"))
    assert [region["id"] for region in found] == ["r1", "r2"]
    assert masks(found[0])[1] == walked(first, 0)
    assert masks(found[1])[11] == walked(second, 0)
    assert max(objects for _, objects in model.steps) == 2


def test_a_correction_redoes_only_what_depends_on_it(server: Callable[..., Any], tmp_path: Path) -> None:
    model = WalkingModel()
    client = server(model)
    before = one(asked(client, shape(drawn(1))))
    model.steps.clear()
    model.shown.clear()
    corrected = Box(50, 20, 70, 50)
    sequence = [*before["value"]["sequence"][:-1], drawn(21, corrected, mask=before["value"]["sequence"][-1]["mask"])]
    sequence.append(before["value"]["sequence"][-1])
    found = one(asked(client, shape(*sequence)))
    assert model.shown == [20]
    assert sorted(frame for frame, _ in model.steps) == list(range(21, FRAMES))
    assert masks(found)[21] == walked(corrected, 0)
    assert stored(tmp_path)[FRAMES - 1] == walked(corrected, FRAMES - 21)
    assert stored(tmp_path)[5] == walked(BOX, 5)
    assert sorted(found["meta"]["masklet"]["prompts"]) == ["0", "20"]


def test_the_same_again_asks_the_model_nothing(server: Callable[..., Any]) -> None:
    model = WalkingModel()
    client = server(model)
    before = one(asked(client, shape(drawn(1))))
    model.steps.clear()
    found = one(asked(client, shape(*before["value"]["sequence"], label="Man")))
    assert (model.steps, model.shown) == ([], [0])
    assert found["value"]["labels"] == ["Man"]
    assert found["value"]["sequence"] == before["value"]["sequence"]


def test_a_keyframe_that_is_taken_back(server: Callable[..., Any], tmp_path: Path) -> None:
    client = server()
    before = one(asked(client, shape(drawn(1), drawn(21, Box(50, 20, 70, 50)))))
    kept = [entry for entry in before["value"]["sequence"] if entry["frame"] != 21]
    found = one(asked(client, shape(*kept)))
    assert sorted(found["meta"]["masklet"]["prompts"]) == ["0"]
    assert stored(tmp_path)[30] == walked(BOX, 30)


def test_what_a_person_hides_stays_hidden(server: Callable[..., Any]) -> None:
    model = WalkingModel()
    client = server(model)
    before = one(asked(client, shape(drawn(1), drawn(21))))
    sequence = before["value"]["sequence"]
    next(entry for entry in sequence if entry["frame"] == 21)["enabled"] = False
    model.steps.clear()
    hidden = one(asked(client, shape(*sequence)))
    assert [(entry["frame"], entry["enabled"]) for entry in sequence[-2:]] == [(21, False), (FRAMES, True)]
    assert [(entry["frame"], entry["enabled"]) for entry in hidden["value"]["sequence"][-2:]] == [(21, False), (FRAMES, True)]
    assert model.steps == []
    again = one(asked(client, shape(*hidden["value"]["sequence"], label="Man")))
    assert again["value"]["sequence"] == hidden["value"]["sequence"]


def test_occlusion_is_a_gap(server: Callable[..., Any]) -> None:
    found = one(asked(server(WalkingModel(gone=set(range(10, 20)))), shape(drawn(1))))
    assert [(entry["frame"], entry["enabled"]) for entry in found["value"]["sequence"]] == [
        (1, True), (10, False), (21, True), (FRAMES, True),
    ]  # fmt: skip


def test_the_editors_frame_rate_is_not_the_files(server: Callable[..., Any]) -> None:
    """At half the rate the editor shows every other frame."""
    sequence = [{**drawn(6), "time": 6 / 12.5}]
    found = one(asked(server(), shape(*sequence, frames=20)))
    assert found["meta"]["masklet"]["prompts"].keys() == {"10"}
    assert [entry["frame"] for entry in found["value"]["sequence"]] == [1, 6, 20]
    assert masks(found)[20] == walked(BOX, 28)
    assert found["value"]["sequence"][-1]["time"] == 20 / 12.5


def test_answers_are_plain_json(server: Callable[..., Any]) -> None:
    reply = server().post("/predict", body(shape(drawn(1))))
    json.loads(reply.body, parse_constant=pytest.fail)
