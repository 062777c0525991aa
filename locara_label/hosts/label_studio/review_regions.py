"""One annotation against the pre-label that it started from: what became of each region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from locara_label.datasets.agreement import boundary_distance, match
from locara_label.errors import BadMask, BadRequest
from locara_label.hosts.label_studio.export_pictures import NO_MASK, is_moving
from locara_label.hosts.label_studio.fields import Fields, fields, items
from locara_label.hosts.label_studio.regions import MAX_REGIONS, RegionMask, merge_groups, read_regions
from locara_label.hosts.label_studio.review_tracks import Track, track_of
from locara_label.types import Mask

Status = Literal["kept", "edited", "deleted", "added"]
Source = Literal["prelabel", "answer", "hand"]

_MAX_SCORE = 1e9

Frame = tuple[str, int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A region of a picture, or a track of a video.

    Attributes:
        id: of the region; `key` is shared by the polygons of one mask, which are one region here.
        labels: all of them; `label` is the same in one text, empty for none.
        mask: as it is drawn; of a track its boxes.
        given: as the model gave it, where the region still tells.
        is_found: a model found it; False for one that was drawn by hand.
        score: as the model gave it.
        version: of the model, as the region tells; empty where it does not.
        frame: the picture: tag, page and size; of a track the tag alone.
    """

    id: str
    key: str
    labels: tuple[str, ...]
    mask: Mask | Track
    given: Mask | None
    is_found: bool
    score: float | None
    version: str
    frame: Frame

    @property
    def label(self) -> str:
        return ", ".join(self.labels)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a region.

    Attributes:
        before, after: the pre-label and the final region; None where there is none.
        status: "kept" to the pixel and under its label, "edited", "deleted", "added" beside the pre-labels.
        source: what the final region was made from: a pre-label, the answer to a request, or nothing.
        iou: of the final mask with what the model gave; None where one of them is missing.
        boundary_px: see `boundary_distance`; None likewise.
    """

    before: Drawn | None
    after: Drawn | None
    status: Status
    source: Source
    iou: float | None = None
    boundary_px: float | None = None

    @property
    def region(self) -> Drawn:
        """The final region, else the pre-label."""
        found = self.after or self.before
        if found is None:
            raise AssertionError("a change is of some region")
        return found

    @property
    def is_relabeled(self) -> bool:
        return self.before is not None and self.after is not None and self.before.label != self.after.label


@dataclass
class Drawings:
    """The regions of a result that are masks of pictures or tracks of videos.

    Attributes:
        no_mask: how many are neither, such as texts, choices and prompts.
        skipped: those that cannot be read: id, code and reason.
    """

    drawn: list[Drawn] = field(default_factory=list)
    no_mask: int = 0
    skipped: list[tuple[str, str, str]] = field(default_factory=list)


def drawings(result: Any, prompts: frozenset[str] = frozenset()) -> Drawings:
    """The regions of a result, except those that `prompts` drew: controls that only ask.

    Raises:
        BadRequest: code `request.region` or `request.too_many`; the result is no list of objects.
    """
    entries = [fields(one, "a region", "request.region") for one in items(result, "result", "request.region", MAX_REGIONS)]
    wanted = [one for one in entries if not _is_no_mask(one) and str(one.get("from_name")) not in prompts]
    found = Drawings(no_mask=len(entries) - len(wanted))
    _add_masks(found, [one for one in wanted if not is_moving(one)])
    _add_tracks(found, [one for one in wanted if is_moving(one)])
    return found


def _add_masks(found: Drawings, entries: list[Fields]) -> None:
    read = read_regions(entries)
    given = _given(read.masks)
    found.drawn += [_drawn(one, given) for one in merge_groups(read.masks) if one.mask.area]
    found.skipped += [(region, code, reason) for (region, reason), code in zip(read.skipped, read.codes, strict=True)]


def _add_tracks(found: Drawings, entries: list[Fields]) -> None:
    """What a `<Labels>` names comes as two results of one id, the shape in both."""
    named: dict[str, list[Fields]] = {}
    for number, entry in enumerate(entries):
        given = entry.get("id")
        named.setdefault(given if isinstance(given, str) else f"#{number}", []).append(entry)
    for region, same in named.items():
        try:
            found.drawn.append(_tracked(region, same))
        except BadRequest as error:
            found.skipped.append((region, error.code, error.message))


def changes(before: Iterable[Drawn], after: Iterable[Drawn]) -> list[Change]:
    """What became of each pre-label, and what else is there; the final regions in their order, then what was deleted.

    A region that kept its id is what it was before, whatever was done to it. The others are paired as `match` does it.
    """
    old, new = list(before), list(after)
    partners = _same_ids(old, new)
    for frame in dict.fromkeys(one.frame for one in new):
        left = [one for one in old if one.frame == frame and id(one) not in {id(found) for found in partners.values()}]
        free = [one for one in new if one.frame == frame and id(one) not in partners]
        for one, partner in zip(free, match(left, free).partners, strict=True):
            if partner is not None:
                partners[id(one)] = left[partner]
    found = [_change(partners.get(id(one)), one) for one in new]
    taken = {id(one) for one in partners.values()}
    return found + [Change(one, None, "deleted", "prelabel") for one in old if id(one) not in taken]


def _same_ids(old: list[Drawn], new: list[Drawn]) -> dict[int, Drawn]:
    """Pre-labels by the identity of the final region that has their id."""
    known = {(one.key, one.frame): one for one in reversed(old)}
    partners: dict[int, Drawn] = {}
    for one in new:
        found = known.pop((one.key, one.frame), None)
        if found is not None:
            partners[id(one)] = found
    return partners


def _change(before: Drawn | None, after: Drawn) -> Change:
    if before is not None:
        same = _is_same(before.mask, after.mask) and before.label == after.label
        return Change(before, after, "kept" if same else "edited", "prelabel", *_apart(before.mask, after.mask))
    if after.is_found:
        return Change(None, after, "added", "answer", *_apart(after.given, after.mask))
    return Change(None, after, "added", "hand")


def _is_same(one: Mask | Track, other: Mask | Track) -> bool:
    return one.is_same(other) if isinstance(one, Track) and isinstance(other, Track) else one == other


def _apart(given: Mask | Track | None, final: Mask | Track) -> tuple[float | None, float | None]:
    """IoU and, of masks, the distance of the boundaries."""
    if isinstance(given, Track) and isinstance(final, Track):
        return given.iou(final), None
    if isinstance(given, Mask) and isinstance(final, Mask):
        return given.iou(final), boundary_distance(given, final)
    return None, None


def _is_no_mask(entry: Fields) -> bool:
    """Key points are prompts, unless a mask of ours is beside them."""
    kind, meta = str(entry.get("type")).lower(), entry.get("meta")
    return kind in NO_MASK or (kind.startswith("keypoint") and not (isinstance(meta, dict) and "coco_rle" in meta))


def _given(masks: Iterable[RegionMask]) -> Mapping[tuple[object, ...], Mask]:
    """What the model gave, by group: `meta` stays as it was when a region is edited."""
    found: dict[tuple[object, ...], Mask] = {}
    for one in masks:
        mask = _from_meta(one)
        if mask is not None:
            key = _group(one)
            found[key] = mask.union(found[key]) if key in found else mask
    return found


def _from_meta(one: RegionMask) -> Mask | None:
    if "coco_rle" not in one.meta:
        return None
    try:
        mask = Mask.from_coco(one.meta["coco_rle"])
    except BadMask:
        return None
    return mask if mask.size == one.mask.size and mask.area else None


def _group(one: RegionMask) -> tuple[object, ...]:
    return one.group, one.labels, one.to_name, one.item_index, one.mask.size


def _drawn(one: RegionMask, known: Mapping[tuple[object, ...], Mask]) -> Drawn:
    frame, given = (one.to_name, one.item_index, one.mask.size), known.get(_group(one))
    version = _text(one.meta.get("model_version"))
    return Drawn(one.id, one.group, one.labels, one.mask, given, given is not None, one.score, version, frame)


def _tracked(region: str, same: list[Fields]) -> Drawn:
    drawn = same[0]
    meta = drawn.get("meta")
    told = meta.get("masklet") if isinstance(meta, dict) else None
    version = _text(told.get("version")) if isinstance(told, dict) else ""
    score = drawn.get("score")
    sure = float(score) if isinstance(score, int | float) and abs(score) < _MAX_SCORE else None
    labels = tuple(dict.fromkeys(label for entry in same for label in _labels(entry)))
    frame = _text(drawn.get("to_name")), 0, (0, 0)
    return Drawn(region, region, labels, track_of(drawn), None, isinstance(told, dict), sure, version, frame)


def _labels(entry: Fields) -> list[str]:
    value, kind = entry.get("value"), str(entry.get("type", "")).lower()
    named = [value.get(name) for name in {kind, "labels"} if name.endswith("labels")] if isinstance(value, dict) else []
    return [label for labels in named if isinstance(labels, list) for label in labels if isinstance(label, str)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
