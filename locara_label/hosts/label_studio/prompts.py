"""The context of an interactive request: what the annotator clicked, drew or wrote, as prompts in pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from locara_label.errors import BadPrompt, BadRequest
from locara_label.hosts.label_studio import bitmask, brush_rle, shapes
from locara_label.hosts.label_studio.fields import Fields, fields, items, number, optional_text, text, whole
from locara_label.hosts.label_studio.results import OWN_WORDS
from locara_label.hosts.label_studio.video_objects import VideoObject, video_object
from locara_label.types import MAX_POINTS, Box, Mask, Point, Prompt

MAX_REGIONS = MAX_POINTS
_MAX_SIDE = 1_000_000
_MAX_TEXT = 1 << 20
"""Far more than a `TextPrompt` takes, so that the annotator is told, and no request is refused for an old text."""
_PIXEL_KINDS = ("brush", "bitmask", "polygon")
_MAX_MASK_PIXELS = 1 << 29


@dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """One object that the annotator shows.

    Attributes:
        prompt: in pixels of the picture.
        label: the label chosen for it; None if none was.
        region_ids: the regions that show it, in the order drawn.
        refines: id of the mask that is to be improved, which the answer keeps; None for a new object.
    """

    prompt: Prompt
    label: str | None
    region_ids: tuple[str, ...]
    refines: str | None = None


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """Everything of one context. Nothing is asked if it `is_empty`; Label Studio sends that when a task is left.

    Attributes:
        to_name: the object tag that the prompts belong to; None if there are none.
        item_index: page of a `valueList`, from 0; None where no region tells.
        size: height and width of the picture in pixels as the editor shows it, upright; None where no region tells.
        image_rotation: degrees by which the editor's view is turned; to be repeated in answers, never to be applied.
        objects: what is shown by points, boxes and masks.
        videos: boxes of a video.
        text: the newest text; None if there is none. Messages of ours are no texts.
        texts: all texts, the newest last.
        text_id: the region of the newest text; all texts of one TextArea may share it.
        text_label: the label that came with it. Label Studio's editor sends none.
        from_names: the control tags used.
        frame, time_s, event, candidates: keys of clients of our own; Label Studio's editor sends none of them.
    """

    to_name: str | None = None
    item_index: int | None = None
    size: tuple[int, int] | None = None
    image_rotation: int = 0
    objects: tuple[ObjectPrompt, ...] = ()
    videos: tuple[VideoObject, ...] = ()
    text: str | None = None
    texts: tuple[str, ...] = ()
    text_id: str | None = None
    text_label: str | None = None
    from_names: tuple[str, ...] = ()
    frame: int | None = None
    time_s: float | None = None
    event: str | None = None
    candidates: int = 1

    @property
    def is_empty(self) -> bool:
        return not self.objects and not self.videos and self.text is None


@dataclass(frozen=True, slots=True)
class _Region:
    """The fields that every region has; `label` is its first."""

    id: str
    kind: str
    label: str | None
    value: Fields
    size: tuple[int, int] | None
    raw: Fields


def parse_context(context: Any) -> PromptRequest:
    """`params.context` of a request, not None.

    Raises:
        BadRequest: code `request.context`, `request.region`, `request.percent`, `request.polygon`, `request.size`,
            `request.mixed` (more than one picture), `request.too_many` or `request.kind`.
        BadPrompt: code `prompt.box` (no area inside the picture), `prompt.points` or `prompt.negative`.
        BadMask: a brush stroke or bitmask is damaged or not of the picture's size.
    """
    given = fields(context, "context", "request.context")
    raw = [fields(region, "a region", "request.region") for region in _regions_of(given)]
    regions = _merged(_region(entry) for entry in raw)
    candidates = whole(given.get("candidates", 1), "candidates", "request.context", 3)
    written = _texts(regions)
    newest, text_region = written[-1] if written else ("", None)
    page = _same(raw, "item_index")
    return PromptRequest(
        _same(raw, "to_name"),
        None if page is None else whole(page, "item_index", "request.region"),
        _size(regions),
        _rotation(raw),
        _objects([region for region in regions if region.kind in _READERS], candidates),
        tuple(video_object(region.id, region.label, region.raw) for region in regions if region.kind == "videorectangle"),
        newest or None,
        tuple(one for one, _ in written),
        text_region.id if text_region else None,
        text_region.label if text_region else None,
        tuple(dict.fromkeys(str(entry["from_name"]) for entry in raw if "from_name" in entry)),
        None if given.get("frame") is None else whole(given["frame"], "frame", "request.context"),
        None if given.get("time") is None else number(given["time"], "time", "request.context", 0, 1e9),
        optional_text(given.get("event"), "event", "request.context"),
        candidates,
    )


def _regions_of(context: Fields) -> list[Any]:
    regions = context.get("result")
    return [] if regions is None else items(regions, "context.result", "request.context", MAX_REGIONS)


def _region(raw: Fields) -> _Region:
    value = fields(raw.get("value"), "value", "request.region")
    kind = text(raw.get("type"), "type", "request.region").lower()
    return _Region(
        text(raw.get("id"), "id", "request.region"),
        kind if kind == "labels" else kind.removesuffix("labels"),
        _label(value, kind),
        value,
        picture_size(raw),
        raw,
    )


def picture_size(region: Fields) -> tuple[int, int] | None:
    """Height and width in pixels that a region tells; None if it tells neither.

    Raises:
        BadRequest: code `request.size`; one of them is missing or not a whole number from 1, or they have too many pixels.
    """
    given = region.get("original_height"), region.get("original_width")
    if given == (None, None):
        return None
    height, width = (whole(side, "original_width and original_height", "request.size", _MAX_SIDE) for side in given)
    if not 0 < height * width <= brush_rle.MAX_PIXELS:
        raise BadRequest(f"a picture of {width} x {height} pixels is not possible here", code="request.size")
    return height, width


def _label(value: Fields, kind: str) -> str | None:
    names = value.get(kind) if kind.endswith("labels") else None
    names = names or value.get("labels") or []
    first = items(names, "labels", "request.region", MAX_REGIONS)[:1]
    return text(first[0], "a label", "request.region") if first else None


def _merged(regions: Iterable[_Region]) -> list[_Region]:
    """`<Brush>` with `<Labels>` comes as two results of one id, of which one may only name the label."""
    known: dict[str, _Region] = {}
    for region in regions:
        before = known.get(region.id)
        if before is None:
            known[region.id] = region
            continue
        drawn = before if region.kind == "labels" else region
        known[region.id] = _Region(
            region.id, drawn.kind, before.label or region.label, drawn.value, before.size or region.size, drawn.raw
        )
    return [_shaped(region) for region in known.values()]


def _shaped(region: _Region) -> _Region:
    """What a lone `labels` result draws is told by its value."""
    if region.kind != "labels":
        return region
    marks = {"rle": "brush", "imageDataURL": "bitmask", "points": "polygon", "radiusX": "ellipse", "height": "rectangle"}
    kind = next((kind for mark, kind in marks.items() if mark in region.value), "keypoint")
    return _Region(region.id, kind, region.label, region.value, region.size, region.raw)


def _same(regions: list[Fields], name: str) -> Any:
    """The one value that all regions have for a key."""
    values = [region.get(name) for region in regions]
    if any(value != values[0] for value in values):
        raise BadRequest(f"the prompts of one request have one {name}, got {values[:5]!r}", code="request.mixed")
    value = values[0] if values else None
    return optional_text(value, name, "request.region") if name == "to_name" else value


def _size(regions: list[_Region]) -> tuple[int, int] | None:
    sizes = {region.size for region in regions if region.size is not None}
    if len(sizes) > 1:
        raise BadRequest(f"the prompts of one request have one picture, got sizes {sorted(sizes)[:5]}", code="request.mixed")
    return next(iter(sizes), None)


def _rotation(regions: list[Fields]) -> int:
    rotation = {whole(region.get("image_rotation") or 0, "image_rotation", "request.region", 270) for region in regions}
    if len(rotation) > 1 or not rotation <= {0, 90, 180, 270}:
        raise BadRequest(f"image_rotation is one of 0, 90, 180 and 270, got {sorted(rotation)}", code="request.region")
    return next(iter(rotation), 0)


def _texts(regions: list[_Region]) -> list[tuple[str, _Region]]:
    """Every text that somebody typed, and the region that it stands in, in the order written."""
    texts = []
    for region in regions:
        if region.kind == "textarea":
            written = region.value.get("text")
            entries = [written] if isinstance(written, str) else items(written, "text", "request.region", MAX_REGIONS)
            typed = [text(entry, "a text", "request.region", _MAX_TEXT) for entry in entries if entry != ""]
            texts += [(entry, region) for entry in typed if not entry.startswith(OWN_WORDS)]
        elif region.kind not in _READERS and region.kind != "videorectangle":
            raise BadRequest(f"a region of type {region.kind!r} cannot show an object", code="request.kind")
    return texts


@dataclass(frozen=True, slots=True)
class _Mark:
    """What one region adds to a prompt."""

    region_id: str
    point: Point | None = None
    box: Box | None = None
    mask: Mask | None = None


def _objects(regions: list[_Region], candidates: int) -> tuple[ObjectPrompt, ...]:
    """Points of one label show one object, together with the box or mask that they lie in; each box and mask shows one."""
    _check_cost(regions)
    objects: list[ObjectPrompt] = []
    for label in dict.fromkeys(region.label for region in regions):
        marks = [_mark(region) for region in regions if region.label == label]
        objects += [_object(group, label, candidates) for group in _grouped(marks)]
    return tuple(objects)


def _check_cost(regions: list[_Region]) -> None:
    """A few bytes of run lengths can stand for a whole picture, and a body holds thousands of them."""
    pixels = sum(region.size[0] * region.size[1] for region in regions if region.size and region.kind in _PIXEL_KINDS)
    if pixels > _MAX_MASK_PIXELS:
        told = f"the masks of one request have {pixels} pixels, the limit is {_MAX_MASK_PIXELS}"
        raise BadRequest(told, code="request.too_many")


def _mark(region: _Region) -> _Mark:
    if region.size is None:
        raise BadRequest(f"region {region.id!r} does not tell original_width and original_height", code="request.size")
    return _READERS[region.kind](region, region.size)


def _keypoint(region: _Region, size: tuple[int, int]) -> _Mark:
    positive = region.raw.get("is_positive", True)
    if type(positive) is not bool:
        raise BadRequest(f"is_positive is true or false, got {positive!r}", code="request.region")
    return _Mark(region.id, point=Point(*shapes.point(region.value, size), positive))


def _boxed(region: _Region, box: Box | None, mask: Mask | None = None) -> _Mark:
    if box is None:
        raise BadPrompt(f"the {region.kind} {region.id!r} has no area inside the picture", code="prompt.box")
    return _Mark(region.id, box=box, mask=mask)


def _rectangle(region: _Region, size: tuple[int, int]) -> _Mark:
    return _boxed(region, shapes.box_around(shapes.rectangle(region.value, size), size))


def _ellipse(region: _Region, size: tuple[int, int]) -> _Mark:
    return _boxed(region, shapes.box_of_ellipse(*shapes.ellipse(region.value, size), size))


def _polygon(region: _Region, size: tuple[int, int]) -> _Mark:
    corners = shapes.polygon(region.value, size)
    return _boxed(region, shapes.box_around(corners, size), shapes.fill_polygon(corners, size))


def _brush(region: _Region, size: tuple[int, int]) -> _Mark:
    return _masked(region, brush_rle.decode(region.value.get("rle") or [], size))


def _bitmask(region: _Region, size: tuple[int, int]) -> _Mark:
    return _masked(region, bitmask.decode(region.value.get("imageDataURL") or "", size))


def _masked(region: _Region, mask: Mask) -> _Mark:
    if not mask.area:
        raise BadPrompt(f"the {region.kind} {region.id!r} marks no pixel", code="prompt.empty")
    return _Mark(region.id, mask=mask)


_READERS = {
    "keypoint": _keypoint,
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "polygon": _polygon,
    "brush": _brush,
    "bitmask": _bitmask,
}


def _grouped(marks: list[_Mark]) -> list[list[_Mark]]:
    """Each area with the points that belong to it. A lone area takes all points; of several, each takes those inside it."""
    areas = [mark for mark in marks if mark.point is None]
    points = [mark for mark in marks if mark.point is not None]
    if len(areas) <= 1:
        return [areas + points] if marks else []
    groups = [[area, *(mark for mark in points if _lies_in(mark, area))] for area in areas]
    taken = {mark.region_id for group in groups for mark in group}
    rest = [mark for mark in points if mark.region_id not in taken]
    return [*groups, rest] if rest else groups


def _lies_in(mark: _Mark, area: _Mark) -> bool:
    box = area.box or (area.mask.box if area.mask is not None else None)
    point = mark.point
    return box is not None and point is not None and box.x0 <= point.x <= box.x1 and box.y0 <= point.y <= box.y1


def _object(marks: list[_Mark], label: str | None, candidates: int) -> ObjectPrompt:
    points = tuple(mark.point for mark in marks if mark.point is not None)
    area = next((mark for mark in marks if mark.point is None), None)
    if area is None and not any(point.positive for point in points):
        raise BadPrompt("negative points alone do not show an object; click on it first", code="prompt.negative")
    return ObjectPrompt(
        Prompt(points, area.box if area else None, area.mask if area else None, candidates=3 if candidates > 1 else 1),
        label,
        tuple(mark.region_id for mark in marks),
        area.region_id if area is not None and area.mask is not None else None,
    )
