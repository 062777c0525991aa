"""Masks as FiftyOne's labels and back, with no pixel changed.

FiftyOne keeps a detection's mask cropped to its box, and the box as shares of the picture. Its own exporters cut the box's
corners down to whole pixels, so a corner that is a hair below its pixel shifts the mask; ours are a hair above.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

from locara_label import rle
from locara_label.errors import BadMask
from locara_label.types import Box, Grounded, Instance, Label, Mask

Size = tuple[int, int]
"""Height and width in pixels."""

EDGE_PX = 1e-6
_SLACK_PX = 1.5
"""How much a mask may differ from its box, as boxes of others are rounded in many ways."""
_OWN = {
    "id", "attributes", "tags", "label", "bounding_box", "mask", "mask_path", "confidence", "index", "instance",
    "predicted_iou", "location", "dimensions", "rotation",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One label with a mask, as FiftyOne keeps it.

    Attributes:
        mask: at the picture's own size, never empty.
        score: the label's confidence, 0..1; None where a person drew it.
        predicted_iou: the mask model's own estimate of the mask's IoU with the object, 0..1.
        index: number of the object in its video.
        instance: FiftyOne's id of the object, 24 hexadecimal digits, the same on all frames.
        attributes: what else the label has.
    """

    label: str
    mask: Mask
    score: float | None = None
    predicted_iou: float | None = None
    index: int | None = None
    instance: str | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_instance(cls, instance: Instance) -> Region:
        """What a segmentation model found; `is_stuff` is kept as an attribute where it is true."""
        more = {"is_stuff": True} if instance.is_stuff else {}
        return cls(instance.label, instance.mask, float(instance.score), attributes=more)

    @classmethod
    def of_grounded(cls, found: Grounded, label: str) -> Region:
        """What was asked for in words; the score is that of the box."""
        return cls(label, found.mask, float(found.box_score), float(found.mask_score))

    def with_mask(self, mask: Mask) -> Region:
        """The same label with another mask."""
        return replace(self, mask=mask)

    def to_instance(self, label_index: int = 0) -> Instance:
        """For the writers of data sets; what a person drew counts as certain."""
        stuff = self.attributes.get("is_stuff") is True
        return Instance(self.label, label_index, 1.0 if self.score is None else self.score, self.mask, is_stuff=stuff)


def to_detection(region: Region) -> fo.Detection:
    """A detection with the mask cropped to its box.

    Raises:
        BadMask: code `mask.empty`; a box around nothing cannot be.
    """
    box, cropped = cropped_mask(region)
    linked = {} if region.instance is None else {"instance": fo.Instance(id=region.instance)}
    known = {} if region.predicted_iou is None else {"predicted_iou": region.predicted_iou}
    return fo.Detection(
        label=region.label,
        bounding_box=box,
        mask=cropped,
        confidence=region.score,
        index=region.index,
        tags=list(region.tags),
        **known,
        **linked,
        **region.attributes,
    )


def cropped_mask(region: Region) -> tuple[list[float], NDArray[np.bool_]]:
    """A region's box as shares of the picture, and the part of its mask that is in it. Raises as `to_detection`."""
    height, width = region.mask.size
    x, y, across, down = (int(value) for value in region.mask.box.xywh)
    if not across or not down:
        raise BadMask(f"the mask of {region.label!r:.120} is empty", code="mask.empty")
    cropped = np.ascontiguousarray(_columns(region.mask, x, across)[y : y + down])
    return [(x + EDGE_PX) / width, (y + EDGE_PX) / height, across / width, down / height], cropped


def _columns(mask: Mask, start: int, count: int) -> NDArray[np.bool_]:
    """Bool [H, count]: some columns of a mask, without decoding the others; a small object of a large picture is quick."""
    first, last = start * mask.size[0], (start + count) * mask.size[0]
    ends = np.clip(np.cumsum(rle.run_lengths(mask.counts)), first, last)
    foreground = np.arange(len(ends)) % 2 == 1
    return np.repeat(foreground, np.diff(ends, prepend=first)).reshape((mask.size[0], count), order="F")


def to_detections(regions: Iterable[Region]) -> fo.Detections:
    """Those of one picture or frame; see `to_detection`."""
    return fo.Detections(detections=[to_detection(region) for region in regions])


def to_region(detection: fo.Detection, size: Size) -> Region | None:
    """A detection at the picture's size; None for one without a mask.

    The mask is put where the box begins, rounded to whole pixels, and is never resized.

    Raises:
        BadMask: `mask.box`, no box of the picture; `mask.size`, a mask that is not as large as its box; `mask.empty`.
    """
    cropped = _mask_array(detection)
    if cropped is None:
        return None
    mask = _placed(cropped, detection.bounding_box, size)
    if not mask.area:
        raise BadMask(f"the mask of {detection.label!r:.120} is empty", code="mask.empty")
    linked = attribute(detection, "instance")
    return Region(
        str(detection.label or ""),
        mask,
        detection.confidence,
        attribute(detection, "predicted_iou"),
        detection.index,
        None if linked is None else str(linked.id),
        tuple(detection.tags or ()),
        {name: detection[name] for name in detection.field_names if name not in _OWN and detection[name] is not None},
    )


def attribute(label: Any, name: str) -> Any:
    """An attribute that a label may have; None where it has none."""
    return label[name] if label.has_field(name) else None


def box_of(detection: fo.Detection, size: Size) -> Box:
    """A detection's box in pixels of the picture, cut to it.

    Raises:
        BadMask: code `mask.box`, see `to_region`; also where nothing of it is in the picture.
    """
    height, width = size
    x, y, across, down = _shares(detection.bounding_box)
    box = Box(max(x * width, 0.0), max(y * height, 0.0), min((x + across) * width, width), min((y + down) * height, height))
    if not (box.x0 < box.x1 and box.y0 < box.y1):
        raise BadMask(f"the box {detection.bounding_box!r:.120} has no area in the picture", code="mask.box")
    return box


def _mask_array(detection: fo.Detection) -> NDArray[np.bool_] | None:
    array = detection.get_mask()
    if array is None:
        return None
    array = np.asarray(array)
    if array.ndim == 3:
        array = array.any(axis=2)
    if array.ndim != 2 or not array.size:
        raise BadMask(f"a mask is an array [H, W], got {array.shape}", code="mask.kind")
    return np.asarray(array != 0, np.bool_)


def _placed(cropped: NDArray[np.bool_], shares: Any, size: Size) -> Mask:
    height, width = size
    x, y, across, down = _shares(shares)
    found, wanted = cropped.shape, (down * height, across * width)
    differs = any(abs(one - other) > _SLACK_PX for one, other in zip(found, wanted, strict=True))
    if differs or found[0] > height or found[1] > width:
        text = f"a mask of {found[1]} x {found[0]} pixels in a box of {wanted[1]:.1f} x {wanted[0]:.1f} px"
        raise BadMask(f"{text}, on a picture of {width} x {height}: masks are not resized", code="mask.size")
    left, top = min(max(round(x * width), 0), width - found[1]), min(max(round(y * height), 0), height - found[0])
    canvas = np.zeros(size, bool, order="F")
    canvas[top : top + found[0], left : left + found[1]] = cropped
    return Mask.from_array(canvas)


def _shares(value: Any) -> tuple[float, float, float, float]:
    try:
        x, y, across, down = (float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise BadMask(f"a box is [x, y, width, height] as shares of the picture, got {value!r:.120}", code="mask.box") from error
    if not all(map(math.isfinite, (x, y, across, down))) or across < 0 or down < 0 or max(map(abs, (x, y, across, down))) > 2:
        raise BadMask(f"a box is [x, y, width, height] as shares of the picture, got {value!r:.120}", code="mask.box")
    return x, y, across, down


def mask_targets(labels: Sequence[Label]) -> dict[int, str]:
    """The pixel values of `to_segmentation`: a class's index plus one, as FiftyOne draws nothing where the value is 0."""
    return {label.index + 1: label.name for label in labels}


def to_segmentation(regions: Sequence[Region], size: Size, targets: Mapping[int, str]) -> fo.Segmentation:
    """One label map of a picture; 0 where there is no region. Where regions overlap, the first keeps the pixels.

    Raises:
        BadMask: `mask.size`, or `mask.target` for a label without a value.
    """
    values = {name: value for value, name in targets.items()}
    canvas = np.zeros(size, np.uint8 if max(targets, default=0) < 256 else np.uint16)
    for region in reversed(regions):
        if region.label not in values:
            raise BadMask(f"the mask targets have no value for {region.label!r:.120}", code="mask.target")
        if region.mask.size != size:
            raise BadMask(f"a mask of {region.mask.size} on a picture of {size}", code="mask.size")
        canvas[region.mask.to_array()] = values[region.label]
    return fo.Segmentation(mask=canvas)


def label_map(segmentation: fo.Segmentation, size: Size) -> NDArray[np.int64]:
    """The values [H, W] of a segmentation; colors as 0xRRGGBB.

    Raises:
        BadMask: `mask.kind` or `mask.size`.
    """
    array = segmentation.get_mask()
    if array is None:
        raise BadMask("the segmentation has no mask", code="mask.kind")
    values = np.asarray(array).astype(np.int64)
    if values.ndim == 3 and values.shape[2] in (3, 4):
        values = (values[..., 0] << 16) + (values[..., 1] << 8) + values[..., 2]
    if values.shape != size:
        raise BadMask(f"a segmentation of {values.shape} on a picture of {size}", code="mask.size")
    return values


def from_segmentation(segmentation: fo.Segmentation, size: Size, targets: Mapping[Any, str]) -> list[Region]:
    """One region for each value that occurs, but 0; a value without a target is named by its number.

    Raises:
        BadMask: see `label_map`.
    """
    names = {target_value(key): name for key, name in targets.items()}
    found = rle.encode_labels(label_map(segmentation, size))
    return [Region(names.get(value, str(value)), Mask(size, counts)) for value, counts in sorted(found.items()) if value]


def target_value(key: Any) -> int:
    """Mask targets are keyed by numbers, or by colors as "#RRGGBB"."""
    return int(key[1:], 16) if isinstance(key, str) and key.startswith("#") else int(key)
