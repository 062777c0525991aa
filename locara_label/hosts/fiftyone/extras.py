"""What COCO has no place for, as plain fields of an annotation, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from locara_label.datasets.fields import is_number
from locara_label.hosts.fiftyone.labels import Region
from locara_label.types import Mask

OF_COCO = {"id", "image_id", "category_id", "area", "bbox", "segmentation", "iscrowd", "score"}
_PREFIX = "fiftyone_"
_OWN = {"track_id", "instance_id", "predicted_iou", "exact_score", "unscored", "fiftyone_tags"}
Extras = dict[str, str | float]


def to_extras(region: Region) -> tuple[Extras, list[str]]:
    """The fields of an annotation, and the names of attributes that are neither texts nor finite numbers and stay behind.

    COCO's writers round scores to six digits, and know none that is not there: `exact_score` and `unscored` say what it was.
    """
    extras: Extras = {}
    if region.score is None:
        extras["unscored"] = 1
    elif region.score != round(region.score, 6):
        extras["exact_score"] = region.score
    own = {"track_id": region.index, "instance_id": region.instance, "predicted_iou": region.predicted_iou}
    extras |= {name: value for name, value in own.items() if value is not None}
    if region.tags:
        extras["fiftyone_tags"] = json.dumps(list(region.tags))
    plain = {name: value for name, value in region.attributes.items() if _is_plain(value)}
    extras |= {_outside(name): value for name, value in plain.items()}
    return extras, [name for name in region.attributes if name not in plain]


def from_extras(label: str, mask: Mask, score: float | None, row: Mapping[str, Any]) -> Region:
    """A region from an annotation as it is in the file; what is not of the expected kind stays an attribute or is left out."""
    instance, index, exact = row.get("instance_id"), row.get("track_id"), as_float(row.get("exact_score"))
    if exact is not None and score is not None and abs(exact - score) <= 1e-6:
        score = exact
    named = {name: value for name, value in row.items() if name not in OF_COCO | _OWN and _is_plain(value)}
    attributes = {name.removeprefix(_PREFIX): value for name, value in named.items()}
    if row.get("iscrowd") == 1:
        attributes["iscrowd"] = True
    return Region(
        label,
        mask,
        None if row.get("unscored") == 1 else score,
        as_float(row.get("predicted_iou")),
        index if type(index) is int else None,
        instance if _is_id(instance) else None,
        _tags(row.get("fiftyone_tags")),
        {name: value for name, value in attributes.items() if name.isidentifier() and not name.startswith("_")},
    )


def as_float(value: Any) -> float | None:
    """A finite number; None for anything else."""
    return float(value) if is_number(value) else None


def _outside(name: str) -> str:
    """Names that would hide a field of COCO or of ours get a prefix."""
    return _PREFIX + name if name in OF_COCO | _OWN or name.startswith(_PREFIX) else name


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 24 and set(value) <= set("0123456789abcdef")


def _tags(value: Any) -> tuple[str, ...]:
    try:
        found = json.loads(value) if isinstance(value, str) else []
    except (ValueError, RecursionError):
        return ()
    return tuple(tag for tag in found if isinstance(tag, str)) if isinstance(found, list) else ()
