"""YouTube-VIS files: `videos`, and one annotation per object with a mask, or null, per frame.

Source of the format: the challenge pages of YouTube-VIS. A video's `file_names` are its annotated frames only. Fields beside the
published ones keep the rest: `name`, `frame_count` and `frame_indices` (where not every frame is annotated), `times_s`,
`track_id`, `score`, `scores`, `meta`. Other readers leave them alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from locara_label.datasets import segmentation
from locara_label.datasets.coco import box_xywh
from locara_label.datasets.fields import MAX_WHOLE, Fields, flag, is_number, text, whole
from locara_label.datasets.json_stream import MAX_ITEM_CHARS
from locara_label.datasets.masklet_files import MaskletWriter, listed, plain, score_in, score_list
from locara_label.datasets.masklets import (
    Masklet,
    MaskletVideo,
    Masks,
    check_cells,
    check_extent,
    own_names,
    visible,
)
from locara_label.datasets.records import Category, by_name, located
from locara_label.datasets.shelf import MAX_VIDEO_CHARS, Row, ShelfSource, Table
from locara_label.datasets.spooled import SpooledSections
from locara_label.errors import BadDataset, BadMask, InputError
from locara_label.rle import Size
from locara_label.types import Mask

__all__ = ["YoutubeVisSource", "YoutubeVisWriter"]

CODE = "annotation.field"
_TABLES = (Table("videos", "video"), Table("annotations", "annotation", "video_id", "video"))


class YoutubeVisSource(ShelfSource):
    """Reads RLE as strings or lists, and polygons. Areas and boxes are computed anew; one that differs is noted."""

    tables = _TABLES

    def _video(self, row: Row) -> MaskletVideo:
        if self._shelf.chars("annotation", row.id) > MAX_VIDEO_CHARS:
            raise BadDataset(f"the annotations are longer than {MAX_VIDEO_CHARS} characters", code="dataset.item_size")
        frame = _Extent(row)
        masklets = [self._masklet(found, frame) for found in self._rows(row.id, len(frame.frames))]
        return MaskletVideo(
            frame.name,
            frame.size[1],
            frame.size[0],
            frame.frame_count,
            frame.frames,
            tuple(masklets),
            row.id,
            frame.file_names,
            frame.times_s,
            plain(row.value),
        )

    def _rows(self, video_id: int, frames: int) -> Iterator[Row]:
        for number, row in enumerate(self._shelf.of("annotation", video_id), 1):
            check_cells(str(video_id), frames, number)
            yield row

    def _masklet(self, row: Row, frame: _Extent) -> Masklet:
        try:
            return self._read(row, frame)
        except InputError as error:
            raise located(error, f"annotation {row.id}") from error

    def _read(self, row: Row, frame: _Extent) -> Masklet:
        value, length = row.value, len(frame.frames)
        masks = _masks(listed(value.get("segmentations"), "segmentations", length), frame)
        self._compare(value, masks)
        category = self.categories.get(whole(value, "category_id", CODE))
        if category is None:
            raise BadDataset(f"category {value['category_id']} is not in the file", code="annotation.category_unknown")
        return Masklet(
            whole(value, "track_id", CODE) if "track_id" in value else row.id,
            category,
            masks,
            score_in(value.get("score")),
            score_list(value.get("scores"), length),
            flag(value, "iscrowd", "annotation.iscrowd", default=False),
            plain(value),
        )

    def _compare(self, row: Fields, masks: Masks) -> None:
        for name, code, read, measure in (
            ("areas", "masklet.area", _area, lambda mask: mask.area),
            ("bboxes", "masklet.bbox", _box, box_xywh),
        ):
            if row.get(name) is not None:
                pairs = zip(map(read, listed(row[name], name, len(masks))), masks, strict=True)
                self.notes.add(code, sum(found != (mask and measure(mask)) for found, mask in pairs))


class _Extent:
    """What an entry of `videos` says about the video's frames."""

    def __init__(self, row: Row) -> None:
        value, code = row.value, "video.field"
        self.size: Size = whole(value, "height", code), whole(value, "width", code)
        names = value.get("file_names")
        length = whole(value, "length", code) if "length" in value or names is None else len(names)
        names = None if names is None else [_file_name(name) for name in listed(names, "file_names", length, "video.frames")]
        self.name = text(value, "name", code) if "name" in value else _folder(names) or str(row.id)
        self.frame_count = whole(value, "frame_count", code) if "frame_count" in value else length
        check_extent(self.name, self.size, self.frame_count)
        check_extent(self.name, self.size, length)
        self.frames = _frames(value, length)
        self.file_names = None if names is None else own_names(self.name, self.frames, names)
        self.times_s = _times(value, length)


def _frames(row: Fields, length: int) -> tuple[int, ...]:
    if "frame_indices" not in row:
        return tuple(range(length))
    return tuple(map(_index, listed(row["frame_indices"], "frame_indices", length, "video.frames")))


def _index(value: Any) -> int:
    return whole({"a frame index": value}, "a frame index", "video.frames")


def _times(row: Fields, length: int) -> tuple[float, ...] | None:
    times = row.get("times_s")
    if times is None:
        return None
    if not all(map(is_number, listed(times, "times_s", length, "video.times"))):
        raise BadDataset("a time is not a finite number of seconds", code="video.times")
    return tuple(map(float, times))


def _file_name(value: Any) -> str:
    return text({"a file name": value}, "a file name", "video.field")


def _folder(names: Sequence[str] | None) -> str:
    """The folder that all pictures are in, which YouTube-VIS names after the video; empty when there is none."""
    folders = {name.rpartition("/")[0] for name in names or ()}
    return folders.pop() if len(folders) == 1 else ""


def _masks(values: list[Any], frame: _Extent) -> Masks:
    masks: list[Mask | None] = []
    for index, value in zip(frame.frames, values, strict=True):
        try:
            masks.append(None if value is None or value == [] else visible(segmentation.decode(value, frame.size)))
        except BadMask as error:
            raise located(error, f"frame {index}") from error
    return tuple(masks)


def _area(value: Any) -> float | None:
    if value is not None and not is_number(value):
        raise BadDataset(f"an area is neither null nor a finite number: {value!r:.80}", code="annotation.area")
    return value or None


def _box(value: Any) -> list[float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
        raise BadDataset(f"a bbox is not [x, y, width, height] in finite pixels: {value!r:.80}", code="annotation.bbox")
    return value if value[2] or value[3] else None


class YoutubeVisWriter(MaskletWriter):
    """Writes compressed RLE as strings, true areas and boxes. Annotations are numbered 1, 2, 3 ... through the file."""

    CANNOT = ("category.look",)

    def __init__(self, path: Path, categories: Sequence[Category], info: Mapping[str, Any] | None = None) -> None:
        """Raises BadDataset when two categories share an id or name, or `info` is not JSON."""
        super().__init__(path, categories, info)
        self._categories = by_name(categories)
        rows = [category.to_coco() for category in self._categories.values()]
        head = {"info": dict(info or {}), "licenses": [], "categories": rows}
        self._file = SpooledSections(path, head, ("videos", "annotations"))
        self._videos = VideoNumbers()
        self._annotations = 0

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.__exit__(kind, error, trace)

    def _write(self, video: MaskletVideo) -> None:
        for masklet in video.masklets:
            check_category(masklet, self._categories)
            _check_length(masklet)
        number = self._videos.take(video.id)
        self.notes.add("video.id", video.id not in (None, number))
        rows = (
            ("annotations", {"id": place, "video_id": number, **annotation_row(masklet)})
            for place, masklet in enumerate(video.masklets, self._annotations + 1)
        )
        self._file.add_rows(chain([("videos", {"id": number, **video_row(video)})], rows))
        self._annotations += len(video.masklets)


class VideoNumbers:
    """Ids that rise: the given one where it does, else the next."""

    def __init__(self) -> None:
        self._last = 0

    def take(self, given: int | None) -> int:
        self._last = given if given is not None and self._last < given <= MAX_WHOLE // 2 else self._last + 1
        return self._last


def check_category(masklet: Masklet, categories: Mapping[str, Category]) -> None:
    """`BadDataset` with code `label.unknown` when a masklet's category is not the file's of that name."""
    found = categories.get(masklet.category.name)
    if found is None or found.id != masklet.category.id:
        raise BadDataset(f"no category is {masklet.category.id} {masklet.category.name!r:.120}", code="label.unknown")


def video_row(video: MaskletVideo) -> dict[str, Any]:
    """An entry of `videos` without its id."""
    row: dict[str, Any] = {
        "name": video.name,
        "width": video.width,
        "height": video.height,
        "length": len(video.frames),
        "file_names": list(video.frame_names),
    }
    if video.frames != tuple(range(video.frame_count)):
        row |= {"frame_count": video.frame_count, "frame_indices": list(video.frames)}
    if video.times_s is not None:
        row["times_s"] = list(video.times_s)
    return row | ({"meta": dict(video.meta)} if video.meta else {})


def annotation_row(masklet: Masklet) -> dict[str, Any]:
    """An entry of `annotations` without the ids of itself and its video."""
    row: dict[str, Any] = {
        "track_id": masklet.track_id,
        "category_id": masklet.category.id,
        "iscrowd": int(masklet.iscrowd),
        "areas": [mask and mask.area for mask in masklet.masks],
        "bboxes": [mask and box_xywh(mask) for mask in masklet.masks],
        "segmentations": [mask and mask.to_coco() for mask in masklet.masks],
    }
    return row | score_fields(masklet) | ({"meta": dict(masklet.meta)} if masklet.meta else {})


def score_fields(masklet: Masklet) -> dict[str, Any]:
    """The scores that a masklet has."""
    scores = None if masklet.scores is None else list(masklet.scores)
    return {name: value for name, value in (("score", masklet.score), ("scores", scores)) if value is not None}


def _check_length(masklet: Masklet) -> None:
    """Refuses what would be longer than any reader of ours takes; 160 is for size, box, area and score of a frame."""
    chars = sum(160 + len(mask.counts) * 2 if mask is not None else 20 for mask in masklet.masks)
    if chars > MAX_ITEM_CHARS:
        raise BadDataset(f"track {masklet.track_id} is longer than {MAX_ITEM_CHARS} characters", code="dataset.item_size")
