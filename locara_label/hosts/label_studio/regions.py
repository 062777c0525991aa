"""Regions of an annotation or prediction, as the API and the JSON export give them, back to masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from locara_label.errors import BadMask, BadRequest
from locara_label.hosts.label_studio import bitmask, brush_rle, shapes
from locara_label.hosts.label_studio.fields import Fields, fields, items
from locara_label.hosts.label_studio.prompts import picture_size
from locara_label.hosts.label_studio.results import value_hash
from locara_label.types import Mask

MAX_REGIONS = 100_000


@dataclass(frozen=True, slots=True)
class RegionMask:
    """A region as a mask.

    Attributes:
        id: the region's id.
        labels: all labels chosen for it.
        mask: at the picture's size, exact where `is_exact`.
        from_name: the control that drew it.
        to_name: the object tag.
        item_index: page of a `valueList`, from 0.
        score: None where it has none, as with what was drawn by hand.
        is_exact: the mask is what the model or the annotator marked, to the pixel: a brush, a bitmask, or `meta.coco_rle` of a
            shape that nobody changed. Otherwise the shape was filled.
        group: id shared by the polygons of one mask; otherwise the region's own id.
        meta: as stored.
    """

    id: str
    labels: tuple[str, ...]
    mask: Mask
    from_name: str
    to_name: str
    item_index: int
    score: float | None
    is_exact: bool
    group: str
    meta: Fields = field(hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class Regions:
    """`masks` in the order of the result, and for each region without one its id and the reason; `codes` are of these reasons."""

    masks: tuple[RegionMask, ...]
    skipped: tuple[tuple[str, str], ...]
    codes: tuple[str, ...] = ()


def read_regions(result: Any) -> Regions:
    """The masks of a `result` list. One bad region is skipped with its reason and does not cost the others.

    A brush counts every pixel with alpha above 0, as the editor draws it: half-transparent edges of a hand-drawn stroke count.

    Raises:
        BadRequest: code `request.region`; the result is no list of objects.
    """
    grouped: dict[str, list[Fields]] = {}
    for number, entry in enumerate(items(result, "result", "request.region", MAX_REGIONS)):
        region = fields(entry, "a region", "request.region")
        given = region.get("id")
        grouped.setdefault(given if isinstance(given, str) else f"#{number}", []).append(region)
    masks, skipped, codes = [], [], []
    for region_id, entries in grouped.items():
        try:
            masks.append(_read(region_id, entries))
        except (BadMask, BadRequest) as error:
            skipped.append((region_id, str(error)))
            codes.append(error.code)
    return Regions(tuple(masks), tuple(skipped), tuple(codes))


def merge_groups(masks: Iterable[RegionMask]) -> tuple[RegionMask, ...]:
    """Polygons of one `group`, with equal labels on one picture, as the one mask that they are parts of; at the first's place."""
    merged: dict[tuple[object, ...], RegionMask] = {}
    for one in masks:
        key = one.group, one.labels, one.to_name, one.item_index, one.mask.size
        before = merged.get(key)
        if before is not None:
            one = replace(before, mask=before.mask.union(one.mask), is_exact=before.is_exact and one.is_exact)  # noqa: PLW2901
        merged[key] = one
    return tuple(merged.values())


def _read(region_id: str, entries: list[Fields]) -> RegionMask:
    drawn = next((entry for entry in entries if _drawer(entry) is not None), entries[0])
    draw = _drawer(drawn)
    size = picture_size(drawn)
    if draw is None or size is None:
        raise BadRequest(f"a {drawn.get('type')!r} has no mask", code="request.kind")
    value, meta = fields(drawn["value"], "value", "request.region"), drawn.get("meta")
    known = meta if isinstance(meta, dict) else {}
    kept = None if draw in (_brush, _bitmask) else _kept(value, known, size)
    group, index, score = known.get("group"), drawn.get("item_index"), drawn.get("score")
    return RegionMask(
        region_id,
        tuple(dict.fromkeys(name for entry in entries for name in _labels(entry))),
        draw(value, size) if kept is None else kept,
        str(drawn.get("from_name", "")),
        str(drawn.get("to_name", "")),
        index if type(index) is int and index >= 0 else 0,
        float(score) if isinstance(score, float | int) and -1e9 < score < 1e9 else None,
        kept is not None or draw in (_brush, _bitmask),
        group if isinstance(group, str) else region_id,
        known,
    )


def _kept(value: Fields, meta: Fields, size: tuple[int, int]) -> Mask | None:
    """The mask of `meta.coco_rle`; None where there is none, it is damaged, or the shape was edited since."""
    if "coco_rle" not in meta or meta.get("value_sha256") != value_hash(value):
        return None
    try:
        mask = Mask.from_coco(meta["coco_rle"])
    except BadMask:
        return None
    return mask if mask.size == size else None


def _labels(entry: Fields) -> list[str]:
    value, kind = entry.get("value"), str(entry.get("type", "")).lower()
    names = value.get(kind) if isinstance(value, dict) and kind.endswith("labels") else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


Draw = Callable[[Fields, tuple[int, int]], Mask]


def _drawer(entry: Fields) -> Draw | None:
    value = entry.get("value")
    if not isinstance(value, dict):
        return None
    return next((draw for mark, draw in _DRAWERS.items() if mark in value), None)


def _brush(value: Fields, size: tuple[int, int]) -> Mask:
    return brush_rle.decode(value["rle"], size)


def _bitmask(value: Fields, size: tuple[int, int]) -> Mask:
    return bitmask.decode(value["imageDataURL"], size)


def _polygon(value: Fields, size: tuple[int, int]) -> Mask:
    return shapes.fill_polygon(shapes.polygon(value, size), size)


def _vector(value: Fields, size: tuple[int, int]) -> Mask:
    return shapes.fill_polygon(shapes.vector(value, size), size)


def _ellipse(value: Fields, size: tuple[int, int]) -> Mask:
    return shapes.fill_ellipse(*shapes.ellipse(value, size), size)


def _rectangle(value: Fields, size: tuple[int, int]) -> Mask:
    return shapes.fill_polygon(shapes.rectangle(value, size), size)


def _keypoint(value: Fields, size: tuple[int, int]) -> Mask:
    raise BadRequest(f"a key point has no area; it shows one spot of {size}: {dict(value)}", code="request.kind")


_DRAWERS: Mapping[str, Draw] = {
    "rle": _brush,
    "imageDataURL": _bitmask,
    "points": _polygon,
    "vertices": _vector,
    "radiusX": _ellipse,
    "height": _rectangle,
    "x": _keypoint,
}
"""By the key of `value` that tells the shape, as the editor itself does."""
