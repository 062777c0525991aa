"""Masks and messages as Label Studio's regions, predictions and answers.

`meta` is the one place of a region where data of ours survives the editor. It carries the exact mask as COCO RLE, and a hash of
what is drawn: `regions.read_regions` trusts the first only while the second still fits.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from locara_label.errors import BadOption
from locara_label.hosts.label_studio import bitmask, brush_rle
from locara_label.hosts.label_studio.config import ControlTag, Output
from locara_label.hosts.label_studio.outlines import parts
from locara_label.hosts.label_studio.shapes import DECIMALS, percent
from locara_label.types import Candidate, Mask

Region = dict[str, Any]
"""One entry of `result`, ready for JSON."""

TOLERANCE_PX = 1.0
_KEYPOINT_WIDTH_PERCENT = 0.5
MAX_MESSAGE = 2000
OWN_WORDS = "locara-label: "
"""What every message starts with: it may land among the texts that the annotator typed, and be sent back as one of them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Where regions belong.

    Attributes:
        to_name: the object tag.
        size: height and width in pixels, upright.
        image_rotation: as in the request; says how the view is turned and changes no coordinate.
        item_index: page of a `valueList`, from 0; None for a single picture.
    """

    to_name: str
    size: tuple[int, int]
    image_rotation: int = 0
    item_index: int | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """One value that a control can hold, and the exact mask that it stands for."""

    value: dict[str, Any]
    mask: Mask
    notes: Mapping[str, Any]


def new_region_id() -> str:
    """Ten characters, as the editor makes them; the same mask accepted twice must not be one region."""
    return secrets.token_urlsafe(8)[:10]


def mask_regions(
    mask: Mask,
    label: str | None,
    output: Output,
    picture: Picture,
    *,
    model_version: str,
    score: float | None = None,
    region_id: str | None = None,
    notes: Mapping[str, Any] | None = None,
    tolerance_px: float = TOLERANCE_PX,
) -> list[Region]:
    """The regions that show a mask: one, or two of one id where a `<Labels>` names it, and for polygons one for each part.

    Brush and bitmask show the mask exactly; the others come close, and `meta.coco_rle` has it exactly.

    Args:
        mask: of the picture's size.
        label: as in the project; None for none.
        output: from `LabelingConfig.output`.
        picture: where it belongs.
        model_version: equal to what /setup answered.
        score: 0..1.
        region_id: to replace that region; by default a new one.
        notes: more for `meta`, JSON.
        tolerance_px: how far a polygon may be from the true outline.

    Returns:
        Nothing for an empty mask: no region can show it, and the caller has to say so.

    Raises:
        BadOption: the mask has another size than the picture, the score is not a finite number, or the control draws no masks.
        BadMask: code `mask.ragged` (see `outlines.parts`) or `mask.size`.
    """
    if mask.size != picture.size:
        raise BadOption(f"a mask of {mask.size} does not fit a picture of {picture.size}", code="option.mask")
    if not mask.area:
        return []
    draw = _DRAWERS.get(output.shape.shape)
    if draw is None:
        raise BadOption(f"a {output.shape.kind} cannot show a mask", code="option.control")
    first = region_id or new_region_id()
    drawn = draw(mask, tolerance_px)
    regions = []
    for number, one in enumerate(drawn):
        group = {"group": first, "parts": len(drawn)} if len(drawn) > 1 else {}
        meta = _meta(one, model_version) | group | dict(one.notes) | dict(notes or {})
        base = _base(picture, score) | {"id": first if number == 0 else new_region_id(), "meta": meta}
        regions += _named(base, one.value, label, output)
    return regions


def candidate_regions(
    candidates: Sequence[Candidate],
    label: str | None,
    output: Output,
    picture: Picture,
    *,
    model_version: str,
    region_id: str | None = None,
    tolerance_px: float = TOLERANCE_PX,
) -> list[Region]:
    """The alternatives of one prompt, the best score first; all but the best say so: `meta.candidate` is 2, 3 ..."""
    ordered = sorted(candidates, key=lambda candidate: -candidate.score)
    regions = []
    for rank, candidate in enumerate(ordered, 1):
        regions += mask_regions(
            candidate.mask,
            label,
            output,
            picture,
            model_version=model_version,
            score=candidate.score,
            region_id=region_id if rank == 1 else None,
            notes={"candidate": rank} if rank > 1 else None,
            tolerance_px=tolerance_px,
        )
    return regions


def message_region(text: str, area: ControlTag, to_name: str, page: int | None = None) -> Region:
    """A text that the annotator sees at once. It is saved with the annotation, so say little.

    A `page` of a `valueList`, from 0, is only for an area with a text for each page.
    """
    where = {"item_index": page} if page is not None and area.options.get("perItem") == "true" else {}
    return where | {
        "id": new_region_id(),
        "from_name": area.name,
        "to_name": to_name,
        "type": "textarea",
        "value": {"text": [OWN_WORDS + text[:MAX_MESSAGE]]},
    }


def prediction(regions: Iterable[Region], model_version: str, score: float | None = None) -> dict[str, Any]:
    """One entry of `results`; without a score, the mean of the regions' scores, 0 if none has one."""
    result = list(regions)
    stated = [region["score"] for region in result if "score" in region]
    mean = sum(stated) / len(stated) if stated else 0.0
    return {"result": result, "score": mean if score is None else checked_score(score), "model_version": model_version}


def answer(predictions: Iterable[dict[str, Any]], model_version: str) -> dict[str, Any]:
    """The body that /predict returns: one prediction for each task asked, in their order."""
    return {"results": list(predictions), "model_version": model_version}


def checked_score(score: float) -> float:
    """A number that JSON has; Label Studio drops a whole batch over one that is not."""
    if not math.isfinite(score):
        raise BadOption(f"a score is a finite number, got {score}", code="option.score")
    return float(score)


def value_hash(value: Mapping[str, Any]) -> str:
    """sha256 of what a region draws, without its labels; numbers count to `DECIMALS` digits, as they are written.

    Raises:
        ValueError or TypeError: `rle` is not a list of bytes.
    """
    drawn = {name: _rounded(value[name], depth=3) for name in _DRAWN_KEYS if name in value}
    if "rle" in value:
        drawn["rle"] = hashlib.sha256(bytes(value["rle"])).hexdigest()
    text = json.dumps(drawn, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_DRAWN_KEYS = ("imageDataURL", "points", "x", "y", "width", "height", "rotation", "radiusX", "radiusY")
_EXACT_IN_A_FLOAT = 1 << 53


def _rounded(value: Any, depth: int) -> Any:
    """5 and 5.0 are one number to the editor. Nothing of ours is nested deeper than a polygon's points."""
    if isinstance(value, list):
        return [_rounded(part, depth - 1) for part in value] if depth else None
    if type(value) is int:
        return float(value) if abs(value) < _EXACT_IN_A_FLOAT else str(value)[:100]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value


def _meta(drawn: Drawn, model_version: str) -> dict[str, Any]:
    return {"coco_rle": drawn.mask.to_coco(), "value_sha256": value_hash(drawn.value), "model_version": model_version}


def _base(picture: Picture, score: float | None) -> Region:
    height, width = picture.size
    base: Region = {
        "to_name": picture.to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": picture.image_rotation,
    }
    if picture.item_index is not None:
        base["item_index"] = picture.item_index
    return base if score is None else base | {"score": checked_score(score)}


def _named(base: Region, value: dict[str, Any], label: str | None, output: Output) -> list[Region]:
    """`<BrushLabels>` names what it draws; `<Brush>` leaves that to a second result of the same id for its `<Labels>`."""
    shape, names = output.shape, output.names
    kind = shape.kind.lower()
    if names is shape:
        named = value if label is None else value | {kind: [label]}
        return [base | {"from_name": shape.name, "type": kind, "value": named}]
    drawn = base | {"from_name": shape.name, "type": kind, "value": value}
    if names is None or label is None:
        return [drawn]
    return [drawn, base | {"from_name": names.name, "type": "labels", "value": value | {"labels": [label]}}]


def _brush(mask: Mask, _tolerance_px: float) -> list[Drawn]:
    return [Drawn({"format": "rle", "rle": list(brush_rle.encode(mask))}, mask, {})]


def _bitmask(mask: Mask, _tolerance_px: float) -> list[Drawn]:
    return [Drawn({"imageDataURL": bitmask.encode(mask)}, mask, {})]


def _polygon(mask: Mask, tolerance_px: float) -> list[Drawn]:
    height, width = mask.size
    found, left_out = parts(mask, tolerance_px)
    drawn = []
    for part in found:
        points = [[percent(x, width), percent(y, height)] for x, y in part.outline.tolist()]
        notes = {"holes_covered": True} if part.holes else {}
        drawn.append(
            Drawn({"points": points, "closed": True}, part.mask, notes | ({"parts_left_out": left_out} if left_out else {}))
        )
    return drawn


def _rectangle(mask: Mask, _tolerance_px: float) -> list[Drawn]:
    height, width = mask.size
    x, y, across, down = mask.box.xywh
    value = {"x": percent(x, width), "y": percent(y, height), "width": percent(across, width), "height": percent(down, height)}
    return [Drawn(value | {"rotation": 0}, mask, {})]


def _ellipse(mask: Mask, _tolerance_px: float) -> list[Drawn]:
    """The ellipse of the same centre and second moments: an ellipse's own."""
    height, width = mask.size
    rows, columns = np.nonzero(mask.to_array())
    points = np.stack([columns + 0.5, rows + 0.5])
    centre = points.mean(axis=1)
    # 1/12 is the second moment of a pixel itself.
    spread, axes = np.linalg.eigh(np.cov(points, bias=True).reshape(2, 2) + np.eye(2) / 12)
    major = axes[:, 1]
    radii = 2 * np.sqrt(spread[::-1])
    value = {
        "x": percent(float(centre[0]), width),
        "y": percent(float(centre[1]), height),
        "radiusX": percent(float(radii[0]), width),
        "radiusY": percent(float(radii[1]), height),
        "rotation": round(math.degrees(math.atan2(major[1], major[0])) % 180, DECIMALS),
    }
    return [Drawn(value, mask, {})]


def _keypoint(mask: Mask, _tolerance_px: float) -> list[Drawn]:
    """The pixel of the mask that is nearest to its centre of mass."""
    height, width = mask.size
    rows, columns = np.nonzero(mask.to_array())
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    x, y = float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5
    return [Drawn({"x": percent(x, width), "y": percent(y, height), "width": _KEYPOINT_WIDTH_PERCENT}, mask, {})]


_DRAWERS: Mapping[str, Callable[[Mask, float], list[Drawn]]] = {
    "brush": _brush,
    "bitmask": _bitmask,
    "polygon": _polygon,
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "keypoint": _keypoint,
}
