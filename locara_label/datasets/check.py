"""Says what is wrong with a COCO file, by id, without holding more than its pictures' names and one annotation in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from locara_label import images
from locara_label.datasets import panoptic_check, segmentation
from locara_label.datasets.coco import CODE, box_of, image_of, known_category, score_of
from locara_label.datasets.fields import Fields, fields, flag, number, whole
from locara_label.datasets.header import Header, rows
from locara_label.datasets.ids import Seen
from locara_label.datasets.pictures import inside
from locara_label.datasets.records import MAX_PIXELS, CocoImage, Problem, where
from locara_label.errors import BadDataset, BadMask, InputError
from locara_label.types import Box, Mask

__all__ = ["Problem", "check", "problems"]

_ANY_PICTURE = images.Limits(max_bytes=1 << 40, max_pixels=MAX_PIXELS)

TOLERANCE_PX = 1.0
"""How far the box of polygons may be off on each side, and a bare box outside its picture."""


def check(
    path: Path | str, images_root: Path | str | None = None, *, png_folder: Path | str | None = None, limit: int | None = 1000
) -> list[Problem]:
    """What is wrong with a COCO instance or panoptic file; empty when nothing is. Never raises for what a file holds.

    Args:
        path: the JSON file.
        images_root: when given, pictures must be below it, of the size that the file says.
        png_folder: of panoptic PNGs; by default the JSON file's name without `.json`.
        limit: stop after this many problems; None finds all.
    """
    return list(islice(problems(path, images_root, png_folder=png_folder), limit))


def problems(
    path: Path | str, images_root: Path | str | None = None, *, png_folder: Path | str | None = None
) -> Iterator[Problem]:
    """As `check`, one at a time."""
    path, header = Path(path), Header()
    broken = False
    for problem in header.problems(path):
        broken = broken or problem.code.startswith("dataset.")
        yield problem
    if images_root is not None:
        yield from _pictures(header, Path(images_root))
    if not broken:
        yield from _annotations(path, header, path.with_suffix("") if png_folder is None else Path(png_folder))


def _pictures(header: Header, root: Path) -> Iterator[Problem]:
    for image in header.images.values():
        try:
            _compare_picture(image, inside(root, image.file_name))
        except InputError as error:
            yield Problem.of(error, f"image {image.id}")


def _compare_picture(image: CocoImage, path: Path) -> None:
    found = images.probe(path, _ANY_PICTURE)
    if (found.width, found.height) != (image.width, image.height):
        message = f"the file is {found.width} x {found.height}, the data set says {image.width} x {image.height}"
        raise BadDataset(message, code="image.file_size")


def _annotations(path: Path, header: Header, png_folder: Path) -> Iterator[Problem]:
    seen, pictures = Seen(), panoptic_check.Pictures(header, png_folder)
    try:
        for index, value in rows(path):
            if isinstance(value, dict) and "segments_info" in value:
                yield from pictures.problems(value, index)
            else:
                yield from _annotation(value, index, header, seen)
    except BadDataset as error:
        yield Problem.of(error, "file")


def _annotation(value: Any, index: int, header: Header, seen: Seen) -> Iterator[Problem]:
    place = where("annotation", value, index)
    try:
        subject = _Subject(fields(value, CODE), header, seen)
    except BadDataset as error:
        yield Problem.of(error, place)
        return
    for rule in _RULES:
        try:
            rule(subject)
        except InputError as error:
            yield Problem.of(error, place)


class _Subject:
    """An annotation under examination; a rule that finds the picture or mask leaves it for those behind it."""

    def __init__(self, row: Fields, header: Header, seen: Seen) -> None:
        self.row, self.header, self.seen = row, header, seen
        self.image: CocoImage | None = None
        self.mask: Mask | None = None

    @property
    def shape(self) -> Any:
        return self.row.get("segmentation")


def _id(subject: _Subject) -> None:
    number_ = whole(subject.row, "id", CODE)
    if not subject.seen.add(number_):
        raise BadDataset("another annotation has the same id", code="annotation.id_twice")
    if not number_:
        raise BadDataset("ids start at 1: COCO's evaluation takes 0 for 'nothing matched'", code="annotation.id_zero")


def _image(subject: _Subject) -> None:
    subject.image = image_of(subject.row, subject.header.images)


def _category(subject: _Subject) -> None:
    known_category(subject.row, subject.header.categories)


def _crowd(subject: _Subject) -> None:
    if flag(subject.row, "iscrowd", "annotation.iscrowd") and isinstance(subject.shape, list):
        raise BadDataset("iscrowd is 1 and the segmentation polygons; a crowd is an RLE", code="annotation.iscrowd")


def _score(subject: _Subject) -> None:
    score_of(subject.row)


def _mask(subject: _Subject) -> None:
    if subject.image is None or subject.shape is None:
        return
    if subject.shape == []:
        raise BadMask("the segmentation is an empty list; an object with only a box has none", code="mask.missing")
    mask = segmentation.decode(subject.shape, subject.image.size)
    if not mask.area:
        raise BadMask("the mask is empty", code="mask.empty")
    subject.mask = mask


def _area(subject: _Subject) -> None:
    area = number(subject.row.get("area"), "area", "annotation.area")
    if area < 0:
        raise BadDataset(f"area is negative: {area:g}", code="annotation.area")
    if subject.mask is not None and abs(area - subject.mask.area) > _area_tolerance(subject.shape):
        raise BadDataset(f"area is {area:.10g}, the mask has {subject.mask.area} pixels", code="annotation.area")


def _area_tolerance(shape: Any) -> float:
    """Polygons may give their own area: pixels that the boundary crosses count whole or not at all."""
    if isinstance(shape, dict):
        return 0.0
    return 2.0 + 0.5 * sum(segmentation.boundary_px(segmentation.corners(polygon)) for polygon in shape)


def _box(subject: _Subject) -> None:
    box = box_of(subject.row)
    if box is None:
        raise BadDataset("bbox is missing", code="annotation.bbox")
    if subject.mask is not None:
        _compare(box, subject.mask, subject.shape)
    elif subject.image is not None and subject.shape is None:
        _check_bare(box, subject.image)


def _compare(box: Box, mask: Mask, shape: Any) -> None:
    if isinstance(shape, dict):
        fits = box == mask.box
    else:
        fits = _distance(box, mask.box) <= TOLERANCE_PX or _distance(box, _extent(shape)) <= TOLERANCE_PX
    if not fits:
        found, true = ([f"{side:.10g}" for side in each.xywh] for each in (box, mask.box))
        raise BadDataset(f"bbox is [{', '.join(found)}], the mask's box [{', '.join(true)}]", code="annotation.bbox")


def _extent(polygons: Any) -> Box:
    points = np.concatenate([segmentation.corners(polygon) for polygon in polygons])
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return Box(float(x0), float(y0), float(x1), float(y1))


def _distance(one: Box, other: Box) -> float:
    return max(abs(one.x0 - other.x0), abs(one.y0 - other.y0), abs(one.x1 - other.x1), abs(one.y1 - other.y1))


def _check_bare(box: Box, image: CocoImage) -> None:
    if box.x1 <= box.x0 or box.y1 <= box.y0:
        raise BadDataset("bbox is empty", code="annotation.bbox")
    outside = max(-box.x0, -box.y0, box.x1 - image.width, box.y1 - image.height)
    if outside > TOLERANCE_PX:
        raise BadDataset(f"bbox reaches {outside:g} px out of the picture", code="annotation.bbox")


_RULES: tuple[Callable[[_Subject], None], ...] = (_id, _image, _category, _crowd, _score, _mask, _area, _box)
