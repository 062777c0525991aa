"""Video tasks: words to tracks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tasking
from tasking import CONFIG, FRAMES, asked, drawn, masks, message, one, records, shape, state, stored, told, until, wishes, words
from walking_model import PER_FRAME, WalkingModel, walked

from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.server import video_jobs
from locara_label.server.video_texts import Text
from locara_label.types import Box, TextPrompt
from tests.engine.scripted_text_model import ScriptedTextModel
from tests.hosts.label_studio.fake_label_studio import FakeLabelStudio

label_studio, server = tasking.label_studio, tasking.server


def test_a_text_is_followed_under_the_labels_that_it_means(server: Callable[..., Any], tmp_path: Path) -> None:
    car, man, late = Box(10, 10, 30, 40), Box(50, 5, 60, 25), Box(10, 45, 30, 60)
    client = server(text_model=ScriptedTextModel({0: [("red car", car), ("man", man)], 25: [("red car", late)]}, PER_FRAME))
    found = asked(client, words("dog", "red car. man"))
    assert [region["type"] for region in found] == ["videorectangle"] * 3
    [of_man] = [region for region in found if region["value"]["labels"] == ["Man"]]
    cars = [region for region in found if region["value"]["labels"] == ["Car"]]
    assert masks(of_man)[1] == walked(man, 0)
    by_frame = {next(iter(region["meta"]["masklet"]["prompts"])): region for region in cars}
    assert by_frame.keys() == {"0", "25"}
    assert len({region["id"] for region in found}) == 3
    assert stored(tmp_path, by_frame["25"]["id"])[FRAMES - 1] == walked(late, FRAMES - 26)
    assert stored(tmp_path, by_frame["25"]["id"])[0] == walked(late, -25)
    assert {state(tmp_path, region["id"]) for region in found} == {"done"}
    assert one(asked(client, by_frame["0"]))["value"] == by_frame["0"]["value"]


def test_a_text_that_finds_nothing_or_means_no_label_is_told(server: Callable[..., Any]) -> None:
    client = server(text_model=ScriptedTextModel({0: [("car", Box(10, 10, 30, 40))]}, PER_FRAME))
    found = asked(client, words("car. man. zebra"))
    assert [region["type"] for region in found] == ["videorectangle", "textarea"]
    [text] = found[1]["value"]["text"]
    assert text == 'locara-label: nothing was found for "man"; no label stands for "zebra"'
    [text] = one(asked(client, words("zebra")))["value"]["text"]
    assert text == 'locara-label: no label stands for "zebra"; labels are "Car", "Man"'
    [text] = one(asked(client, words("man")))["value"]["text"]
    assert text == 'locara-label: nothing was found for "man"'


def test_a_text_without_a_model_for_it_is_told(server: Callable[..., Any]) -> None:
    [text] = one(asked(server(), words("car")))["value"]["text"]
    assert text.startswith("locara-label: no model that understands text is loaded")


CAR, MAN, LATE = Box(10, 10, 30, 40), Box(50, 5, 60, 25), Box(10, 45, 30, 60)


def scripted() -> ScriptedTextModel:
    """A car and a man from the first frame on, one more car on frame 25."""
    return ScriptedTextModel({0: [("red car", CAR), ("man", MAN)], 25: [("red car", LATE)]}, PER_FRAME)


def test_a_text_that_is_not_done_is_gone_on_with_by_the_next_server(
    server: Callable[..., Any], tmp_path: Path, label_studio: FakeLabelStudio
) -> None:
    client = server(WalkingModel(allowed=threading.Semaphore(10)), text_model=scripted(), predict_s=1.5)
    said = message(asked(client, words("red car. man. dog"))[-1])
    assert said.startswith("the video is still being gone through; ")
    assert said.endswith('no label stands for "dog"')
    until(lambda: len(records(tmp_path)) == 2)
    before = set(records(tmp_path))
    client.service.close()
    assert len(wishes(tmp_path)) == 1
    server(text_model=scripted())
    until(lambda: not wishes(tmp_path) and {one.state for one in records(tmp_path).values()} == {"done"})
    kept = records(tmp_path)
    assert sorted(one.label for one in kept.values()) == ["Car", "Car", "Man"]
    assert before < set(kept)
    [late] = [region for region, one in kept.items() if 25 in one.prompts]
    assert stored(tmp_path, late) == {frame: walked(LATE, frame - 25) for frame in range(FRAMES)}
    [prediction] = until(lambda: label_studio.predictions)
    assert {region["id"] for region in prediction["result"]} == set(kept)


def test_a_text_that_was_never_asked_is_asked_by_the_next_server(server: Callable[..., Any], tmp_path: Path) -> None:
    """The first server was busy with another task all the time."""
    model = WalkingModel(allowed=threading.Semaphore(0))
    client = server(model, text_model=scripted(), predict_s=0.5)
    asked(client, shape(drawn(1), frames=2 * FRAMES), task=2)
    assert "still being gone through" in message(one(asked(client, words("man"))))
    client.service.close()
    assert records(tmp_path) == {}
    server(text_model=scripted())
    until(lambda: not wishes(tmp_path))
    [man] = records(tmp_path)
    assert stored(tmp_path, man)[0] == walked(MAN, 0)


def test_what_is_followed_is_not_found_again(server: Callable[..., Any], tmp_path: Path) -> None:
    """Nor by a server that knows it from the store only."""
    client = server(text_model=scripted())
    drawn_by_hand = one(asked(client, shape(drawn(1, MAN), label="Man")))
    first = asked(client, words("red car. man"), there=["r1"])
    cars = {region["id"] for region in first[:-1]}
    assert {region["value"]["labels"][0] for region in first[:-1]} == {"Car"}
    assert message(first[-1]) == 'followed already: "man"'
    for again in (client, server(text_model=scripted())):
        assert message(one(asked(again, words("red car"), there=["r1", *cars]))) == 'followed already: "red car"'
        assert {region["id"] for region in asked(again, words("red car. man"))} == {"r1", *cars}
    assert set(records(tmp_path)) == {"r1", *cars}
    assert asked(client, words("man"))[0]["value"] == drawn_by_hand["value"]


def test_nothing_found_after_the_answer_is_told_later(
    server: Callable[..., Any], tmp_path: Path, label_studio: FakeLabelStudio
) -> None:
    model = WalkingModel(allowed=threading.Semaphore(0))
    client = server(model, text_model=scripted(), predict_s=0.5)
    asked(client, shape(drawn(1)))
    asked(client, words("dog. car"), config=CONFIG.replace('value="Man"', 'value="Dog"'))
    model.allowed.release(1000)
    until(lambda: client.get("/ready").json()["masklets"] == [])
    told_there = [region for region in label_studio.predictions[0]["result"] if region["type"] == "textarea"]
    assert [message(region) for region in told_there] == ['nothing was found for "dog", "car"']
    assert "nothing was found" in told(one(asked(client, shape(drawn(1)))))
    assert wishes(tmp_path) == []
    assert "text" not in one(asked(client, shape(drawn(1))))["meta"]


def test_a_text_that_is_refused_is_not_kept(server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_jobs, "MAX_JOBS", 0)
    client = server(text_model=scripted())
    assert "videos wait already" in message(one(asked(client, words("man"))))
    assert wishes(tmp_path) == []


def test_a_damaged_text_keeps_no_other_from_being_gone_on_with(server: Callable[..., Any], tmp_path: Path) -> None:
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        store.put_wish(1, 2, {"videos": {"video": {"video": "/data/upload/1/2.mp4", "texts": [{"name": "x"}]}}})
        sound = Text(TextPrompt(("man",)), {"man": "Man"}, [], "box", 0, {}, "walking", "v")
        assert Text.of(sound.content).sought == sound.sought
        store.put_wish(1, 1, {"videos": {"video": {"video": "/data/upload/1/1.mp4", "texts": [sound.content]}}})
    server(text_model=scripted())
    until(lambda: len(wishes(tmp_path)) == 1 and {one.state for one in records(tmp_path).values()} == {"done"})
