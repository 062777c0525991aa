"""Tracks of videos as the editor shows them, so that what became of them can be told: by their boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from locara_label.hosts.label_studio.export_videos import MAX_EDITOR_FRAMES
from locara_label.hosts.label_studio.fields import Fields, fields, whole
from locara_label.hosts.label_studio.keyframes import Key, shown
from locara_label.hosts.label_studio.video_objects import Keyframe, VideoObject, video_object
from locara_label.types import Box

Floats = NDArray[np.float64]

_CODE = "request.region"
_DECIMALS = 3
"""Of a percent: what counts as the same place, as the editor writes some numbers anew."""


@dataclass(frozen=True, eq=False)
class Track:
    """The boxes of an object.

    Attributes:
        boxes: float64 [F, 4]: x0, y0, x1, y1 in percent of the picture, for each frame of the editor; NaN where nothing is shown.
    """

    boxes: Floats = field(repr=False)

    def iou(self, other: Track) -> float:
        """Mean over the frames that either shows, 0 where only one does; 1 where neither shows any."""
        length = max(len(self.boxes), len(other.boxes))
        one, two = (_padded(track.boxes, length) for track in (self, other))
        there = [~np.isnan(boxes[:, 0]) for boxes in (one, two)]
        either, both = there[0] | there[1], there[0] & there[1]
        if not either.any():
            return 1.0
        return float(_ious(one[both], two[both]).sum() / either.sum())

    def is_same(self, other: Track) -> bool:
        """Whether both show the same boxes on the same frames."""
        length = max(len(self.boxes), len(other.boxes))
        return np.array_equal(_padded(self.boxes, length), _padded(other.boxes, length), equal_nan=True)


def track_of(entry: Fields) -> Track:
    """A region of the type videorectangle; a turned box counts as one that is not.

    Raises:
        BadRequest: code request.region, request.percent or request.too_many.
    """
    found = video_object("", None, entry)
    boxes = shown([(Key(one.frame, one.enabled), _box(one)) for one in _on_frames(found)], _count(found))
    held = np.full((max(boxes, default=0) + 1, 4), np.nan)
    for frame, box in boxes.items():
        held[frame] = box.x0, box.y0, box.x1, box.y1
    return Track(np.round(held, _DECIMALS))


def _on_frames(found: VideoObject) -> list[Keyframe]:
    return [one for one in found.keyframes if 1 <= one.frame <= MAX_EDITOR_FRAMES]


def _count(found: VideoObject) -> int:
    """Frames that the editor counts, at least those that have a box."""
    told = whole(
        fields(found.fields.get("value"), "value", _CODE).get("framesCount") or 0, "framesCount", _CODE, MAX_EDITOR_FRAMES
    )
    return max([told, *(one.frame for one in _on_frames(found))])


def _box(one: Keyframe) -> Box:
    return Box(one.x, one.y, one.x + one.width, one.y + one.height)


def _padded(boxes: Floats, length: int) -> Floats:
    return np.pad(boxes, ((0, length - len(boxes)), (0, 0)), constant_values=np.nan)


def _ious(one: Floats, two: Floats) -> Floats:
    """[N]: of pairs of boxes; 0 for boxes without area."""
    sides = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, two)]
    joined = areas[0] + areas[1] - shared
    return np.asarray(np.divide(shared, joined, out=np.zeros(len(one)), where=joined > 0), np.float64)
