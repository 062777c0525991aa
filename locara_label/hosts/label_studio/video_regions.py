"""Masklets as Label Studio's `videorectangle`: boxes at few keyframes, beside each of them its mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from locara_label.hosts.label_studio.fields import Fields
from locara_label.hosts.label_studio.keyframes import Key, keyframes
from locara_label.hosts.label_studio.results import MAX_MESSAGE, OWN_WORDS, Region, checked_score
from locara_label.hosts.label_studio.video_clock import EditorClock
from locara_label.hosts.label_studio.video_objects import percents
from locara_label.rle import Size
from locara_label.types import Box, Mask

TOLERANCE_PX = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """How the editor shows a video.

    Attributes:
        clock: its frames and the file's.
        frame_count: how many frames it counts (`framesCount`).
        duration_s: as it tells it.
    """

    clock: EditorClock
    frame_count: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Masklet:
    """An object through a video.

    Attributes:
        region_id: of the region that shows it.
        from_name, to_name: the control that draws boxes, and the video.
        label: None for none.
        masks: by frame of the file, from 0; frames without it, or with an empty mask, show nothing.
        prompted: frames of the editor, from 1, on which a person showed the object.
        hidden: frames of the editor on which a person says that it is not to be seen.
        score: of the whole, 0..1.
        meta: for `meta.masklet`, plain JSON.
        note: what the annotator is told, beside the region; None for nothing.
        drawn: by frame of the editor, boxes in pixels that a person drew and that have no mask.
        size: height and width of the video in pixels; None where nothing is drawn.
    """

    region_id: str
    from_name: str
    to_name: str
    label: str | None
    masks: Mapping[int, Mask] = field(hash=False)
    prompted: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()
    score: float = 0.0
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    note: str | None = None
    drawn: Mapping[int, Box] = field(default_factory=dict, hash=False)
    size: Size | None = None


def region(masklet: Masklet, view: View, tolerance_px: float = TOLERANCE_PX) -> Region:
    """The region, ready for JSON; one without any keyframe shows nothing at all.

    Args:
        masklet: the object.
        view: how the editor shows its video.
        tolerance_px: how far a side of a box that the editor shows may lie off that of the mask.
    """
    seen = {frame: mask for frame, mask in masklet.masks.items() if mask.area}
    file_frames = {at: view.clock.file_frame(at) for at in range(1, view.frame_count + 1) if at not in masklet.hidden}
    boxes_of = {frame: mask.box for frame, mask in seen.items()}
    boxes = {at: boxes_of[frame] for at, frame in file_frames.items() if frame in boxes_of} | dict(masklet.drawn)
    keys = keyframes(boxes, view.frame_count, tolerance_px, masklet.prompted | masklet.drawn.keys())
    entries = [
        _drawn(key, masklet, view) if key.frame in masklet.drawn else _entry(key, seen[file_frames[key.frame]], masklet, view)
        for key in keys
    ]
    value: dict[str, Any] = {"framesCount": view.frame_count, "duration": view.duration_s, "sequence": entries}
    if masklet.label is not None:
        value["labels"] = [masklet.label]
    return {
        "id": masklet.region_id,
        "from_name": masklet.from_name,
        "to_name": masklet.to_name,
        "type": "videorectangle",
        "score": checked_score(masklet.score),
        "meta": {"masklet": dict(masklet.meta), **_note(masklet.note)},
        "value": value,
    }


def noted(raw: Fields, message: str) -> Region:
    """A region as the editor has sent it, with a message beside it.

    A text in a TextArea, as pictures have it, would get the label that is selected, and become one more region of the video.
    """
    meta = raw.get("meta")
    kept = dict(meta) if isinstance(meta, dict) else {}
    names = ("id", "from_name", "to_name", "type", "value")
    return {name: raw[name] for name in names if name in raw} | {"meta": {**kept, **_note(message)}}


def noted_too(made: Region, message: str) -> Region:
    """A region of ours with one more message beside it, after the one that it has."""
    before = [text.removeprefix(OWN_WORDS) for text in made["meta"].get("text", [])]
    return made | {"meta": {**made["meta"], **_note("; ".join([*before, message]))}}


def _note(message: str | None) -> dict[str, Any]:
    """What the editor shows of a region among its details."""
    return {} if message is None else {"text": [OWN_WORDS + message[:MAX_MESSAGE]]}


def _entry(key: Key, mask: Mask, masklet: Masklet, view: View) -> dict[str, Any]:
    box = percents(mask.box, mask.size)
    beside = {"frame": key.frame, **mask.to_coco(), "box": box, "enabled": key.enabled}
    if key.frame in masklet.prompted:
        beside["prompted"] = True
    return {**_keyframe(key, box, view), "mask": beside}


def _drawn(key: Key, masklet: Masklet, view: View) -> dict[str, Any]:
    """As the editor sends it, so that the next request shows the object by it again."""
    if masklet.size is None:
        raise AssertionError("boxes are drawn on a video of some size")
    return _keyframe(key, percents(masklet.drawn[key.frame], masklet.size), view)


def _keyframe(key: Key, box: list[float], view: View) -> dict[str, Any]:
    return {
        "frame": key.frame,
        "enabled": key.enabled,
        "rotation": 0,
        **dict(zip(("x", "y", "width", "height"), box, strict=True)),
        "time": key.frame / view.clock.rate,
    }
