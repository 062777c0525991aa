"""Masklets as boxes with masks beside them: what is written, what of it counts when it comes back, what a person wants."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from locara_label.errors import BadPrompt, BadRequest
from locara_label.hosts.label_studio.keyframes import Key, shown
from locara_label.hosts.label_studio.masklet_records import Place, Record
from locara_label.hosts.label_studio.video_clock import EditorClock
from locara_label.hosts.label_studio.video_objects import VideoObject, judge, video_object
from locara_label.hosts.label_studio.video_regions import Masklet, View, noted_too, region
from locara_label.hosts.label_studio.video_wishes import MAX_PROMPTS, frames_of, prompt_of, wish
from locara_label.types import Box, Mask
from locara_label.video.timeline import of_rate

SIZE = (90, 160)
COUNT = 40
VIEW = View(EditorClock(25.0, of_rate(COUNT, Fraction(25))), COUNT, 1.6)


def mask(x: float, y: float = 20.0, side: int = 25) -> Mask:
    pixels = np.zeros(SIZE, bool)
    pixels[int(y) : int(y) + side, int(x) : int(x) + side] = True
    return Mask.from_array(pixels)


def wandering(frames: range = range(COUNT)) -> dict[int, Mask]:
    return {frame: mask(5 + 60 * np.sin(frame / 9) ** 2, 10 + frame) for frame in frames}


def answered(masks: dict[int, Mask] | None = None, view: View = VIEW, **more: Any) -> dict[str, Any]:
    masklet = Masklet("r1", "box", "video", "Car", wandering() if masks is None else masks, frozenset({1}), score=0.5, **more)
    found: dict[str, Any] = json.loads(json.dumps(region(masklet, view), allow_nan=False))
    return found


def sent(raw: dict[str, Any]) -> VideoObject:
    """The region as it comes back with the next request."""
    return video_object(raw["id"], "Car", raw)


def boxes_of(raw: dict[str, Any]) -> dict[int, Box]:
    height, width = SIZE
    keys = [
        (
            Key(one["frame"], one["enabled"]),
            Box(
                one["x"] * width / 100, one["y"] * height / 100,
                (one["x"] + one["width"]) * width / 100, (one["y"] + one["height"]) * height / 100,
            ),
        )
        for one in raw["value"]["sequence"]
    ]  # fmt: skip
    return shown(keys, raw["value"]["framesCount"])


def known(asked: dict[str, Any], hidden: list[list[int]] | None = None, prompts: dict[int, Any] | None = None) -> Record:
    place = Place(1, 2, asked["id"])
    told = {"hidden": hidden or []}
    first = {0: {"box": [5, 10, 30, 35], "at": 1}}
    return Record(
        place, "v.mp4", "video", "box", SIZE, COUNT, "Car", "m", "v", first if prompts is None else prompts, "done", told
    )


def test_every_box_is_that_of_its_mask() -> None:
    masks = wandering()
    raw = answered(masks)
    drawn = boxes_of(raw)
    assert sorted(drawn) == list(range(1, COUNT + 1))
    for frame, box in drawn.items():
        true = masks[frame - 1].box
        assert max(abs(getattr(box, side) - getattr(true, side)) for side in ("x0", "y0", "x1", "y1")) <= 1.001
    assert 2 < len(raw["value"]["sequence"]) < COUNT
    assert (raw["value"]["framesCount"], raw["value"]["duration"], raw["value"]["labels"]) == (COUNT, 1.6, ["Car"])
    for entry in raw["value"]["sequence"]:
        assert entry["time"] == entry["frame"] / 25
        assert Mask.from_coco(entry["mask"]) == masks[entry["frame"] - 1]
        assert entry["mask"]["frame"] == entry["frame"]
        assert entry["mask"]["box"] == [entry[name] for name in ("x", "y", "width", "height")]
        assert judge(entry).mask == masks[entry["frame"] - 1]


def test_nothing_is_shown_where_the_object_is_gone() -> None:
    empty = Mask.from_array(np.zeros(SIZE, bool))
    masks = wandering(range(8)) | dict.fromkeys(range(8, 12), empty) | wandering(range(20, 30))
    assert sorted(boxes_of(answered(masks))) == [*range(1, 9), *range(21, 31)]
    assert answered({})["value"]["sequence"] == []
    assert sorted(boxes_of(answered(hidden=frames_of(((5, 36),))))) == [1, 2, 3, 4, 37, 38, 39, 40]


@pytest.mark.parametrize(("rate", "frames"), [(12.5, 20), (50.0, 80), (29.97, 48)])
def test_other_frame_rates_show_what_the_editor_shows(rate: float, frames: int) -> None:
    masks = wandering()
    clock = EditorClock(rate, of_rate(COUNT, Fraction(25)))
    drawn = boxes_of(answered(masks, View(clock, frames, 1.6)))
    assert sorted(drawn) == list(range(1, frames + 1))
    for frame, box in drawn.items():
        assert abs(box.x0 - masks[clock.file_frame(frame)].box.x0) <= 1.001


def entry(**changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(answered()["value"]["sequence"][1])
    for name, value in changes.items():
        target = found["mask"] if name.startswith("mask_") else found
        target[name.removeprefix("mask_")] = value
    return found


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "valid"),
        ({"enabled": False}, "valid"),
        ({"time": 99.0}, "valid"),
        ({"x": 1.0}, "moved"),
        ({"height": 1.0}, "moved"),
        ({"rotation": 3}, "moved"),
        ({"width": None}, "moved"),
        ({"frame": 17}, "copied"),
        ({"mask": None}, "none"),
        ({"mask": "no"}, "broken"),
        ({"mask": {}}, "broken"),
        ({"mask_box": [1, 2, 3]}, "broken"),
        ({"mask_box": [1, 2, 3, float("nan")]}, "moved"),
        ({"mask_counts": "junk"}, "broken"),
        ({"mask_counts": mask(70).counts.decode()}, "broken"),
        ({"mask_size": [9, 9]}, "broken"),
        ({"mask_size": None}, "broken"),
    ],
)
def test_a_mask_counts_only_beside_its_own_box(changes: dict[str, Any], state: str) -> None:
    judged = judge(entry(**changes))
    assert judged.state == state
    assert (judged.mask is not None) == (state == "valid")


def test_a_mask_may_not_be_empty() -> None:
    nothing = Mask.from_array(np.zeros(SIZE, bool))
    sides = dict.fromkeys(("x", "y", "width", "height"), 0)
    assert judge({"frame": 3, **sides, "mask": {"frame": 3, "box": [0, 0, 0, 0], **nothing.to_coco()}}).state == "broken"


def wanted(asked: VideoObject, record: Record | None) -> tuple[dict[int, Any], tuple[tuple[int, int], ...]]:
    found = wish(asked, record, VIEW.clock, SIZE, COUNT)
    return dict(found.prompts), found.hidden


def drawn(frame: int, x: float = 10.0, *, enabled: bool = True) -> dict[str, Any]:
    return {"frame": frame, "enabled": enabled, "rotation": 0, "x": x, "y": 20, "width": 10, "height": 20, "time": frame / 25}


def test_a_new_box_shows_the_object() -> None:
    raw = {"id": "r1", "value": {"sequence": [drawn(7)], "labels": ["Car"]}}
    prompts, hidden = wanted(sent(raw), None)
    assert prompts == {6: {"box": [16.0, 18.0, 32.0, 36.0], "at": 7}}
    assert hidden == ()
    assert prompt_of(prompts[6]).box == Box(16, 18, 32, 36)


def test_an_answer_that_comes_back_wants_nothing_new() -> None:
    raw = answered()
    assert wanted(sent(raw), known(raw)) == (dict(known(raw).prompts), ())


def test_a_moved_box_is_a_correction() -> None:
    raw = answered()
    at = raw["value"]["sequence"][2]["frame"]
    raw["value"]["sequence"][2]["x"] += 3
    prompts, _ = wanted(sent(raw), known(raw))
    assert sorted(prompts) == [0, at - 1]
    assert prompts[at - 1]["at"] == at


def test_a_keyframe_between_two_is_a_correction_although_it_has_the_mask_of_the_next() -> None:
    raw = answered()
    sequence = raw["value"]["sequence"]
    between = sequence[1]["frame"] + 1
    assert between not in {one["frame"] for one in sequence}
    sequence.insert(2, {**copy.deepcopy(sequence[2]), "frame": between, "x": 50.0})
    assert sorted(wanted(sent(raw), known(raw))[0]) == [0, between - 1]


def test_a_box_on_the_frame_of_an_earlier_one_takes_its_place() -> None:
    raw = answered()
    raw["value"]["sequence"][0]["x"] += 2
    prompts, _ = wanted(sent(raw), known(raw))
    assert list(prompts) == [0]
    assert prompts[0] != known(raw).prompts[0]


def test_a_keyframe_of_a_person_that_is_gone_is_taken_back() -> None:
    raw = answered()
    last = raw["value"]["sequence"][-1]["frame"]
    both = {0: {"box": [5, 10, 30, 35], "at": 1}, last - 1: {"box": [5, 10, 30, 35], "at": last}}
    assert sorted(wanted(sent(raw), known(raw, prompts=both))[0]) == [0, last - 1]
    raw["value"]["sequence"].pop()
    assert sorted(wanted(sent(raw), known(raw, prompts=both))[0]) == [0]


def test_masks_stand_in_for_a_record_that_is_lost() -> None:
    raw = answered()
    prompts, _ = wanted(sent(raw), None)
    assert list(prompts) == [0]
    assert prompt_of(prompts[0]).mask == wandering()[0]
    raw["value"]["sequence"][2]["x"] += 3
    assert len(wanted(sent(raw), None)[0]) == 2


def test_switching_a_keyframe_off_hides_the_object_up_to_the_next() -> None:
    raw = answered()
    sequence = raw["value"]["sequence"]
    sequence[2]["enabled"] = False
    span = (sequence[2]["frame"] + 1, sequence[3]["frame"] - 1)
    assert wanted(sent(raw), known(raw)) == (dict(known(raw).prompts), (span,))
    sequence[-1]["enabled"] = False
    assert wanted(sent(raw), known(raw))[1] == (span,)  # nothing comes after the last frame


def test_what_is_hidden_stays_hidden_until_it_is_switched_on_or_shown() -> None:
    raw = answered(hidden=frames_of(((11, 20),)))
    keys = [one["frame"] for one in raw["value"]["sequence"]]
    assert 10 in keys
    assert not set(keys) & set(range(11, 21))
    record = known(raw, [[11, 20]])
    assert wanted(sent(raw), record)[1] == ((11, 20),)
    again = copy.deepcopy(raw)
    next(one for one in again["value"]["sequence"] if one["frame"] == 10)["enabled"] = True
    assert wanted(sent(again), record)[1] == ()
    raw["value"]["sequence"].append(drawn(15))
    assert wanted(sent(raw), record)[1] == ((11, 14),)


def test_the_end_of_a_span_of_ours_hides_nothing() -> None:
    raw = answered(wandering(range(20)))
    assert raw["value"]["sequence"][-1]["enabled"] is False
    assert wanted(sent(raw), known(raw))[1] == ()


@pytest.mark.parametrize(
    ("sequence", "code"),
    [([], "prompt.empty"), ([drawn(1, 200)], "prompt.box"), ([drawn(n + 1) for n in range(MAX_PROMPTS + 1)], "prompt.points")],
)
def test_what_shows_nothing(sequence: list[dict[str, Any]], code: str) -> None:
    view = EditorClock(25.0, of_rate(2000, Fraction(25)))
    with pytest.raises(BadPrompt) as raised:
        wish(sent({"id": "r1", "value": {"sequence": sequence}}), None, view, SIZE, 2000)
    assert raised.value.code == code


@pytest.mark.parametrize("written", [{}, {"box": [1, 2]}, {"box": None}, [], "box", None])
def test_what_is_no_prompt(written: Any) -> None:
    with pytest.raises(BadRequest):
        prompt_of(written)


def test_boxes_without_masks_come_back_as_what_a_person_drew() -> None:
    drawn = Box(20, 30, 60, 50)
    made = answered(wandering(range(10)), drawn={21: drawn}, size=SIZE)
    assert "mask" not in next(one for one in made["value"]["sequence"] if one["frame"] == 21)
    assert boxes_of(made)[21].xywh == pytest.approx(drawn.xywh)
    assert 20 not in boxes_of(made)
    again = wish(sent(made), None, VIEW.clock, SIZE, COUNT)
    assert again.prompts[20] == {"box": pytest.approx([20, 30, 60, 50]), "at": 21}


def test_messages_beside_a_region_are_one() -> None:
    once = noted_too(answered(), "first")
    assert noted_too(once, "second")["meta"]["text"] == ["locara-label: first; second"]
    assert noted_too(once, "second")["value"] == once["value"]
    assert "text" not in answered()["meta"]
