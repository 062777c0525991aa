"""COCO panoptic data: one PNG per picture whose pixels are segment ids (R + 256 G + 65536 B, 0 for none), and one JSON file.

Source of the format: the data format page of cocodataset.org and panopticapi's description of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locara_label import images, rle
from locara_label.datasets.coco import CODE, box_xywh, category_of, check_instance, image_of, known_category, score_of
from locara_label.datasets.fields import Fields, fields, text, whole
from locara_label.datasets.header import read_header, rows
from locara_label.datasets.ids import Numbering, Seen
from locara_label.datasets.pictures import inside, read_png
from locara_label.datasets.records import Category, CocoImage, by_name, located
from locara_label.datasets.spooled import SpooledFile
from locara_label.errors import BadDataset, BadImage, InputError
from locara_label.types import Instance, Mask

__all__ = ["Category", "CocoImage", "Painted", "PanopticDataset", "PanopticWriter", "read"]


@dataclass(frozen=True, slots=True)
class Painted:
    """What became of the segments of one picture.

    Attributes:
        segments: how many were written.
        skipped: how many were not, as none of their pixels was free (empty masks among them).
        overlap_px: pixels that a segment claimed and an earlier one had.
    """

    segments: int
    skipped: int
    overlap_px: int


class PanopticWriter:
    """Writes panoptic COCO: `<png_folder>/<image id, 12 digits>.png` and the JSON file.

    Use it in a `with` block. Each PNG appears whole; the JSON file appears when the block ends and not when it raises (the
    PNGs written by then stay). The same calls give the same bytes.

    Attributes:
        skipped: segments left out so far.
        overlap_px: pixels claimed twice so far.
    """

    def __init__(
        self, json_path: Path | str, png_folder: Path | str, categories: Sequence[Category], info: Mapping[str, Any] | None = None
    ) -> None:
        """The PNG folder is made when it is not there; by custom it is the JSON file's name without `.json`.

        Raises:
            BadDataset: two categories share an id or name, or `info` is not JSON.
        """
        self._categories = by_name(categories)
        self._folder = Path(png_folder)
        listed = [category.to_panoptic() for category in self._categories.values()]
        self._file = SpooledFile(Path(json_path), {"info": dict(info or {}), "licenses": [], "categories": listed})
        self._ids = Numbering()
        self.skipped = self.overlap_px = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.__exit__(kind, error, trace)

    def add(self, image: CocoImage, segments: Sequence[Instance]) -> Painted:
        """Appends a picture. Where segments overlap, the first in the sequence keeps the pixels.

        Args:
            image: with an id above those of earlier pictures, or None for the next number.
            segments: with masks of the picture's own size and labels that are names of categories.

        Raises:
            BadDataset: `label.unknown`, `score.range`, `image.id_order`, `image.size`, `image.field`, or `segment.stuff_twice`:
                a category that is no thing has one segment per picture, so unite its masks first.
            BadMask: a mask of another size than the picture, or whose runs do not fill it.
        """
        image.check()
        self._check(image, segments)
        canvas, left, overlap_px = _paint(image, segments)
        number = self._ids.take(image.id)
        name = f"{number:012d}.png"
        images.write_png(self._folder / name, _to_rgb(canvas))
        listed = {"image_id": number, "file_name": name, "segments_info": self._rows(left)}
        self._file.add({**image.to_coco(), "id": number}, [listed])
        painted = Painted(len(left), len(segments) - len(left), overlap_px)
        self.skipped, self.overlap_px = self.skipped + painted.skipped, self.overlap_px + overlap_px
        return painted

    def _rows(self, segments: Sequence[Instance]) -> list[dict[str, Any]]:
        return [
            {
                "id": number,
                "category_id": self._categories[segment.label].id,
                "area": segment.mask.area,
                "bbox": box_xywh(segment.mask),
                "iscrowd": 0,
                "score": round(float(segment.score), 6),
            }
            for number, segment in enumerate(segments, 1)
        ]

    def _check(self, image: CocoImage, segments: Sequence[Instance]) -> None:
        regions = Regions()
        for segment in segments:
            check_instance(image, segment)
            regions.add(category_of(segment, self._categories))


class Regions:
    """The categories of one picture that may occur once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def add(self, category: Category) -> None:
        """Raises BadDataset with code `segment.stuff_twice`."""
        if category.is_thing:
            return
        if category.id in self._seen:
            raise BadDataset(f"{category.name!r} is no thing and has more than one segment", code="segment.stuff_twice")
        self._seen.add(category.id)


Canvas = NDArray[np.uint32]


def _paint(image: CocoImage, segments: Sequence[Instance]) -> tuple[Canvas, list[Instance], int]:
    """Ids 1, 2, 3 ... of the segments that keep pixels, those segments as they are left, and the pixels claimed twice."""
    canvas, left, overlap_px = np.zeros(image.size, np.uint32), list[Instance](), 0
    for segment in segments:
        mask = Mask.from_array(segment.mask.to_array() & (canvas == 0))
        overlap_px += segment.mask.area - mask.area
        if mask.area:
            left.append(replace(segment, mask=mask))
            canvas[mask.to_array()] = len(left)
    return canvas, left, overlap_px


def _to_rgb(canvas: Canvas) -> NDArray[np.uint8]:
    return np.stack([canvas & 255, canvas >> 8 & 255, canvas >> 16], axis=-1).astype(np.uint8)


def segment_masks(path: Path, size: rle.Size) -> dict[int, Mask]:
    """The masks of a panoptic PNG of this height and width, by segment id; id 0 is left out.

    Raises:
        BadImage: no PNG, of another size, or not 8 bit RGB.
    """
    pixels = read_png(path, size)
    if pixels.ndim != 3:
        raise BadImage(f"{path.name} is grey; a panoptic PNG is RGB", code="image.kind")
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    found = rle.encode_labels(red + (green << 8) + (blue << 16))
    return {number: Mask(size, counts) for number, counts in found.items() if number}


@dataclass(frozen=True, slots=True)
class PanopticDataset:
    """A panoptic COCO file. Pictures and categories are in memory, segments are read picture by picture.

    Attributes:
        png_folder: where the PNGs are.
        images: by id.
        categories: by id.
    """

    path: Path
    png_folder: Path
    info: Mapping[str, Any]
    images: Mapping[int, CocoImage]
    categories: Mapping[int, Category]

    def pictures(self) -> Iterator[tuple[CocoImage, list[Instance]]]:
        """Each annotated picture with its segments, in file order; a segment without a score counts as certain (1.0).

        Raises:
            BadDataset: an annotation that is not one, or a segment that only the JSON file or only the PNG has.
            BadImage: a PNG that is missing its kind or size.
        """
        for index, value in rows(self.path):
            try:
                picture = self._picture(fields(value, CODE))
            except InputError as error:
                raise located(error, place(value, index)) from error
            yield picture

    def _picture(self, row: Fields) -> tuple[CocoImage, list[Instance]]:
        image = image_of(row, self.images)
        masks = segment_masks(inside(self.png_folder, text(row, "file_name", CODE)), image.size)
        seen = Seen()
        found = [self._instance(fields(value, SEGMENT), masks, seen) for value in segments_of(row)]
        if masks:
            raise unlisted(masks)
        return image, found

    def _instance(self, row: Fields, masks: dict[int, Mask], seen: Seen) -> Instance:
        mask = take_mask(row, masks, seen)
        category, score = known_category(row, self.categories), score_of(row)
        return Instance(category.name, category.id, 1.0 if score is None else score, mask, is_stuff=not category.is_thing)


SEGMENT = "segment.field"


def segments_of(row: Fields) -> list[Any]:
    """The list of segments of a panoptic annotation, else `BadDataset`."""
    segments = row.get("segments_info")
    if not isinstance(segments, list):
        raise BadDataset("segments_info is not a list", code=CODE)
    return segments


def take_mask(row: Fields, masks: dict[int, Mask], seen: Seen) -> Mask:
    """Takes the mask of a segment out of those of its picture.

    Raises:
        BadDataset: `segment.field`, `segment.id_twice`, or `segment.missing` when no pixel has its id.
    """
    number = whole(row, "id", SEGMENT)
    if not seen.add(number):
        raise BadDataset(f"segment {number} occurs twice", code="segment.id_twice")
    if number not in masks:
        raise BadDataset(f"no pixel belongs to segment {number}", code="segment.missing")
    return masks.pop(number)


def unlisted(masks: Mapping[int, Mask]) -> BadDataset:
    """The error for ids that only the PNG has."""
    some = ", ".join(map(str, sorted(masks)[:5]))
    return BadDataset(f"{len(masks)} segments of the PNG are not in segments_info: {some}", code="segment.unlisted")


def place(value: Any, index: int) -> str:
    """`image 3`, or `annotations[7]` for a panoptic annotation without a usable picture id."""
    number = value.get("image_id") if isinstance(value, dict) else None
    return f"image {number}" if type(number) is int else f"annotations[{index}]"


def read(json_path: Path | str, png_folder: Path | str | None = None) -> PanopticDataset:
    """Opens a panoptic COCO file; without a folder the PNGs are looked for in the file's name without `.json`.

    Raises:
        BadDataset: the file cannot be read, is not JSON, or its pictures or categories are not what they should be.
    """
    path = Path(json_path)
    header = read_header(path)
    folder = path.with_suffix("") if png_folder is None else Path(png_folder)
    return PanopticDataset(path, folder, header.info, header.images, header.categories)
