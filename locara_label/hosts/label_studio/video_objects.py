"""Boxes of a video as the editor sends them, and which of their keyframes are a person's.

An answer of ours has the mask beside each keyframe (`mask: {frame, size, counts, box}`). The editor keeps such extras, but not
their meaning: it leaves them as they are when the box is moved, and a keyframe that is added between two gets those of the next.
So a mask counts only where its frame and its box are those of the keyframe that it stands beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from locara_label.errors import BadMask
from locara_label.hosts.label_studio import shapes
from locara_label.hosts.label_studio.fields import Fields, fields, items, number, text, whole
from locara_label.rle import Size
from locara_label.types import Box, Mask

MAX_KEYFRAMES = 20_000
_CODE = "request.region"
_SAME = 2e-5
"""Percent; what the editor's numbers may lose on their way."""

Judgement = Literal["valid", "none", "moved", "copied", "broken"]


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A box of a video at one frame: `frame` counts from 1, x, y, width and height are percents, `rotation` degrees.

    Attributes:
        time_s: as the editor tells it, the end of the frame; None where it does not.
        extras: the entry as sent, with the mask that an answer of ours may have put there.
    """

    frame: int
    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0
    enabled: bool = True
    time_s: float | None = None
    extras: Fields = field(default_factory=dict, hash=False, compare=False, repr=False)

    def box(self, size: Size) -> Box | None:
        """In pixels of frames of (height, width), turned and clipped; None if nothing of it lies inside."""
        value = {"x": self.x, "y": self.y, "width": self.width, "height": self.height, "rotation": self.rotation}
        return shapes.box_around(shapes.rectangle(value, size), size)

    @property
    def is_ours(self) -> bool:
        """It has the mask of an answer of ours and was not changed since, but for `enabled`."""
        return judge(self.extras).state == "valid"

    @property
    def answered(self) -> bool | None:
        """What `enabled` was in the answer of ours that this keyframe is from; None where it is from none."""
        mask = self.extras.get("mask")
        told = mask.get("enabled") if isinstance(mask, dict) and mask.get("frame") == self.frame else None
        return told if isinstance(told, bool) else None


@dataclass(frozen=True, slots=True)
class VideoObject:
    """A VideoRectangle of the context. Label Studio tells no frame size: percents stay percents.

    Attributes:
        region_id: an answer of this id replaces it.
        label: None if none was chosen.
        keyframes: by rising frame.
        fields: the region as sent, for what an answer has to repeat (`framesCount`, `duration`).
    """

    region_id: str
    label: str | None
    keyframes: tuple[Keyframe, ...]
    fields: Fields = field(hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the mask beside a keyframe is worth.

    Attributes:
        state: "valid"; "none" where there is no mask; "moved" where the box was changed since; "copied" where the mask is of
            another frame; "broken" where it is no mask, or has another box than it says.
        mask: None unless valid.
    """

    state: Judgement
    mask: Mask | None = None


def judge(entry: Mapping[str, Any]) -> Judged:
    """Whether the mask beside a keyframe, an entry of `value.sequence`, is that of its box.

    Only a valid one may be used. The others are stale: the box is what a person means, and the mask has to be found anew.
    Nothing is raised, whatever the entry holds.
    """
    beside = entry.get("mask")
    if beside is None:
        return Judged("none")
    written = _sides(beside.get("box")) if isinstance(beside, Mapping) else None
    if written is None:
        return Judged("broken")
    if beside.get("frame") != entry.get("frame"):
        return Judged("copied")
    drawn = _sides([entry.get(name) for name in ("x", "y", "width", "height")])
    if drawn is None or entry.get("rotation") or not _same(written, drawn):
        return Judged("moved")
    mask = _mask(beside)
    return Judged("broken") if mask is None or not _same(_sides(percents(mask.box, mask.size)), drawn) else Judged("valid", mask)


def _mask(beside: Any) -> Mask | None:
    """The mask beside a keyframe, None where it is none or empty."""
    try:
        mask = Mask.from_coco(beside)
    except BadMask:
        return None
    return mask if mask.area else None


def percents(box: Box, size: Size) -> list[float]:
    """A box in pixels as the editor has it: x, y, width, height in percent of a picture of (height, width)."""
    x, y, across, down = box.xywh
    height, width = size
    return [shapes.percent(x, width), shapes.percent(y, height), shapes.percent(across, width), shapes.percent(down, height)]


def _sides(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 4 or any(type(side) not in (int, float) for side in value):
        return None
    return tuple(float(side) for side in value)


def _same(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    return one is not None and other is not None and all(abs(a - b) <= _SAME for a, b in zip(one, other, strict=True))


def video_object(region_id: str, label: str | None, raw: Fields) -> VideoObject:
    """A region of the type videorectangle.

    Raises:
        BadRequest: code request.region, request.percent or request.too_many.
    """
    value = fields(raw.get("value"), "value", _CODE)
    entries = items(value.get("sequence"), "sequence", _CODE, MAX_KEYFRAMES)
    found = (_keyframe(fields(entry, "a keyframe", _CODE)) for entry in entries)
    return VideoObject(region_id, label, tuple(sorted(found, key=lambda one: one.frame)), raw)


def _keyframe(entry: Fields) -> Keyframe:
    x, y, width, height = (
        number(entry.get(name), name, "request.percent", low, 1000)
        for name, low in (("x", -1000), ("y", -1000), ("width", 0), ("height", 0))
    )
    rotation = number(entry.get("rotation") or 0, "rotation", "request.percent", -3600, 3600)
    frame = whole(entry.get("frame"), "frame", _CODE)
    time_s = entry.get("time")
    told = None if time_s is None else number(time_s, "time", _CODE, 0, 1e9)
    return Keyframe(frame, x, y, width, height, rotation, entry.get("enabled", True) is not False, told, entry)


def region_name(raw: Fields, name: str) -> str:
    """`from_name` or `to_name` of a region."""
    return text(raw.get(name), name, _CODE)
