"""Says what is wrong with the annotations of a panoptic COCO file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from locara_label.datasets.coco import CODE, box_xywh, image_of, known_category, score_of
from locara_label.datasets.fields import Fields, fields, flag, text
from locara_label.datasets.header import Header
from locara_label.datasets.ids import Seen
from locara_label.datasets.panoptic import SEGMENT, Regions, place, segment_masks, segments_of, take_mask, unlisted
from locara_label.datasets.pictures import inside
from locara_label.datasets.records import CocoImage, Problem
from locara_label.errors import BadDataset, InputError
from locara_label.types import Mask


class Pictures:
    """Checks the annotations of one file, picture by picture."""

    def __init__(self, header: Header, png_folder: Path) -> None:
        self._header, self._folder, self._seen = header, png_folder, Seen()

    def problems(self, row: Fields, index: int) -> Iterator[Problem]:
        """What is wrong with one annotation; the segments are looked at when its picture and PNG are in order."""
        at = place(row, index)
        try:
            image, segments = self._picture(row), segments_of(row)
            masks = segment_masks(inside(self._folder, text(row, "file_name", CODE)), image.size)
        except InputError as error:
            yield Problem.of(error, at)
            return
        yield from _Segments(self._header, masks).problems(segments, at)
        if masks:
            yield Problem.of(unlisted(masks), at)

    def _picture(self, row: Fields) -> CocoImage:
        image = image_of(row, self._header.images)
        if not self._seen.add(row["image_id"]):
            raise BadDataset("another annotation has the same image", code="annotation.image_twice")
        return image


class _Segments:
    """Checks the segments of one picture; `masks` loses those that are listed."""

    def __init__(self, header: Header, masks: dict[int, Mask]) -> None:
        self._header, self._masks, self._seen, self._regions = header, masks, Seen(), Regions()

    def problems(self, segments: list[Any], at: str) -> Iterator[Problem]:
        rules: tuple[Callable[[Fields], object], ...] = (self._mask, self._category, _crowd, score_of)
        for index, value in enumerate(segments):
            spot = _spot(value, index, at)
            try:
                row = fields(value, SEGMENT)
            except BadDataset as error:
                yield Problem.of(error, spot)
                continue
            for rule in rules:
                try:
                    rule(row)
                except InputError as error:
                    yield Problem.of(error, spot)

    def _mask(self, row: Fields) -> None:
        mask = take_mask(row, self._masks, self._seen)
        if row.get("area") != mask.area:
            raise BadDataset(f"area is {row.get('area')!r:.80}, the segment has {mask.area} pixels", code="segment.area")
        if row.get("bbox") != box_xywh(mask):
            raise BadDataset(f"bbox is {row.get('bbox')!r:.80}, the segment's box {box_xywh(mask)}", code="segment.bbox")

    def _category(self, row: Fields) -> None:
        category = known_category(row, self._header.categories)
        if not flag(row, "iscrowd", SEGMENT, default=False):
            self._regions.add(category)


def _spot(value: Any, index: int, at: str) -> str:
    number = value.get("id") if isinstance(value, dict) else None
    return f"{at} segment {number}" if type(number) is int else f"{at} segments_info[{index}]"


def _crowd(row: Fields) -> None:
    flag(row, "iscrowd", "segment.iscrowd")
