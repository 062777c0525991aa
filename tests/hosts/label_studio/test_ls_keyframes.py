"""Keyframes: what the editor shows between them is what was found, on every frame."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locara_label.hosts.label_studio.keyframes import Key, keyframes, shown
from locara_label.types import Box


def editor(sequence: list[dict[str, Any]], frame: int) -> Box | None:
    """`isInLifespan` and `getShape` of the editor, line by line (VideoRegion.js, VideoRectangleRegion.js of 1.23.2)."""
    before = [item for item in sequence if item["frame"] <= frame]
    closest = before[-1] if before else next((item for item in sequence if item["frame"] >= frame), None)
    if closest is None or not ((closest["frame"] == frame and not closest["enabled"]) or closest["enabled"]):
        return None
    previous, following = None, None
    for item in sequence:
        if item["frame"] == frame:
            return Box(*item["box"])
        if item["frame"] > frame:
            following = item
            break
        previous = item
    if previous is None:
        return None
    if following is None:
        return Box(*previous["box"])
    share = (frame - previous["frame"]) / (following["frame"] - previous["frame"])
    return Box(*(one + (other - one) * share for one, other in zip(previous["box"], following["box"], strict=True)))


def corners(box: Box) -> tuple[float, ...]:
    return box.x0, box.y0, box.x1, box.y1


def written(keys: tuple[Key, ...], boxes: dict[int, Box]) -> list[dict[str, Any]]:
    return [{"frame": key.frame, "enabled": key.enabled, "box": corners(boxes[key.frame])} for key in keys]


def off_by(one: Box, other: Box) -> float:
    return max(abs(a - b) for a, b in zip(corners(one), corners(other), strict=True))


@st.composite
def tracks(draw: st.DrawFn) -> tuple[dict[int, Box], int]:
    """Boxes that wander, with gaps; and the number of frames."""
    count = draw(st.integers(1, 60))
    steps = draw(st.lists(st.tuples(*[st.floats(-6, 6, width=32)] * 4, st.integers(0, 5)), min_size=count, max_size=count))
    place, boxes = [50.0, 50.0, 90.0, 80.0], {}
    for frame, (*moves, gone) in enumerate(steps, 1):
        place = [side + move for side, move in zip(place, moves, strict=True)]
        if gone:
            boxes[frame] = Box(*place)
    return boxes, count


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(tracks(), st.sampled_from([0.0, 0.5, 1.0, 4.0]), st.sets(st.integers(1, 60), max_size=5))
def test_the_editor_shows_every_box_within_the_tolerance(
    track: tuple[dict[int, Box], int], tolerance: float, fixed: set[int]
) -> None:
    boxes, count = track
    keys = keyframes(boxes, count, tolerance, fixed)
    sequence = written(keys, boxes)
    for frame in range(1, count + 1):
        drawn = editor(sequence, frame)
        assert (drawn is None) == (frame not in boxes), frame
        if drawn is not None:
            assert off_by(drawn, boxes[frame]) <= tolerance + 1e-9
    assert fixed & boxes.keys() <= {key.frame for key in keys}
    assert [key.frame for key in keys] == sorted({key.frame for key in keys})


@settings(max_examples=100, deadline=None)
@given(tracks())
def test_shown_is_what_the_editor_shows(track: tuple[dict[int, Box], int]) -> None:
    boxes, count = track
    keys = keyframes(boxes, count, 1.0)
    found = shown([(key, boxes[key.frame]) for key in keys], count)
    sequence = written(keys, boxes)
    for frame in range(1, count + 1):
        drawn = editor(sequence, frame)
        assert (drawn is None) == (frame not in found)
        assert drawn is None or off_by(drawn, found[frame]) < 1e-9


def fits(boxes: dict[int, Box], start: int, end: int, tolerance: float) -> bool:
    """Whether a straight line between two frames passes all boxes."""
    line = [{"frame": at, "enabled": True, "box": corners(boxes[at])} for at in (start, end)]
    return all(off_by(editor(line, at) or boxes[end], boxes[at]) <= tolerance + 1e-12 for at in range(start, end + 1))


def fewest(boxes: dict[int, Box], tolerance: float) -> int:
    """The least number of keyframes of one span, by trying all."""
    frames = sorted(boxes)
    best = {frames[0]: 1}
    for at, frame in enumerate(frames[1:], 1):
        best[frame] = min(best[start] for start in frames[:at] if fits(boxes, start, frame, tolerance)) + 1
    return best[frames[-1]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-3, 3, width=32)] * 4), min_size=2, max_size=25))
def test_there_are_few(steps: list[tuple[float, ...]]) -> None:
    place, boxes = [50.0, 50.0, 90.0, 80.0], {}
    for frame, moves in enumerate(steps, 1):
        place = [side + move for side, move in zip(place, moves, strict=True)]
        boxes[frame] = Box(*place)
    assert len(keyframes(boxes, len(boxes), 1.0)) <= 2 * fewest(boxes, 1.0)


@pytest.mark.parametrize("speed", [0.0, 2.5])
def test_a_straight_way_needs_two(speed: float) -> None:
    boxes = {frame: Box(speed * frame, 10, 40 + speed * frame, 50) for frame in range(1, 1001)}
    assert keyframes(boxes, 1000, 1.0) == (Key(1, enabled=True), Key(1000, enabled=True))


def test_spans() -> None:
    box = Box(1, 2, 3, 4)
    assert keyframes({}, 10, 1.0) == ()
    assert keyframes({4: box}, 10, 1.0) == (Key(4, enabled=False),)
    assert keyframes({10: box}, 10, 1.0) == (Key(10, enabled=True),)
    found = keyframes(dict.fromkeys([2, 3, 4, 8, 9, 10], box), 10, 1.0)
    assert found == (Key(2, enabled=True), Key(4, enabled=False), Key(8, enabled=True), Key(10, enabled=True))
