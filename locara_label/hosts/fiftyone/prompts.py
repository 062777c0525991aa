"""Boxes, masks and key points of a sample as prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import fiftyone as fo

from locara_label.errors import BadOption, BadPrompt
from locara_label.hosts.fiftyone.labels import Size, attribute, box_of, to_region
from locara_label.types import Point, Prompt

UNNAMED = "object"
"""The label of what is shown by a label without a name."""
POINT_MARKS = ("sam_labels", "sam2_labels")
"""Attributes of a key point, as FiftyOne's own SAM models read them: 1 for a point on the object, 0 for one off it."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What shows one object on one picture or frame.

    Attributes:
        prompt: in pixels of the picture.
        label: never empty.
        index, instance: as in `labels.Region`.
        keyframe: a person has drawn or accepted it.
        id: of the label that shows it.
    """

    prompt: Prompt
    label: str
    index: int | None = None
    instance: str | None = None
    keyframe: bool = False
    id: str = ""


def prompts_of(label: Any, size: Size, *, use_masks: bool = False) -> list[Shown]:
    """The objects that a field's value shows; none for an empty field.

    Args:
        label: Detections, a Detection, Keypoints, a Keypoint, or None.
        size: height and width of the picture in pixels.
        use_masks: a detection's mask shows the object where it has one, instead of its box.

    Raises:
        BadOption: code `option.prompt_field`, for labels of another kind.
        BadPrompt, BadMask: a box, mask or point that cannot show an object of the picture.
    """
    return [_shown(one, size, use_masks=use_masks) for one in single_labels(label)]


def single_labels(label: Any) -> Iterable[Any]:
    """The single labels of a field's value. Raises BadOption: see `prompts_of`."""
    if label is None:
        return ()
    if isinstance(label, fo.Detections):
        return label.detections or ()
    if isinstance(label, fo.Keypoints):
        return label.keypoints or ()
    if isinstance(label, fo.Detection | fo.Keypoint):
        return (label,)
    raise BadOption(f"prompts are Detections or Keypoints, got {type(label).__name__}", code="option.prompt_field")


def _shown(one: Any, size: Size, *, use_masks: bool) -> Shown:
    region = to_region(one, size) if use_masks and isinstance(one, fo.Detection) else None
    if region is not None:
        prompt = Prompt(mask=region.mask)
    else:
        prompt = Prompt(box=box_of(one, size)) if isinstance(one, fo.Detection) else Prompt(tuple(_points(one, size)))
    linked = attribute(one, "instance")
    return Shown(
        prompt,
        str(one.label or UNNAMED),
        one.index,
        None if linked is None else str(linked.id),
        attribute(one, "keyframe") is True,
        str(one.id),
    )


def _points(keypoint: fo.Keypoint, size: Size) -> Iterator[Point]:
    """Those that are there: FiftyOne keeps the place of a hidden point as NaN."""
    height, width = size
    for (x, y), mark in zip(keypoint.points, _marks(keypoint), strict=True):
        if not (math.isnan(x) or math.isnan(y)):
            yield Point(x * width, y * height, positive=mark == 1)


def _marks(keypoint: fo.Keypoint) -> list[Any]:
    given = next((found for name in POINT_MARKS if (found := attribute(keypoint, name)) is not None), None)
    marks = [1] * len(keypoint.points) if given is None else list(given)
    if len(marks) != len(keypoint.points) or not set(marks) <= {0, 1}:
        text = f"sam_labels are 1 or 0, one for each of {len(keypoint.points)} points, got {marks!r:.100}"
        raise BadPrompt(text, code="prompt.labels")
    return marks
