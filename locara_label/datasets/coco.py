"""COCO instance files: a writer and a reader that hold one picture or one annotation in memory, however long the file is.

Source of the format: the data format page of cocodataset.org and the COCO API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from locara_label import rle
from locara_label.datasets import segmentation
from locara_label.datasets.fields import Fields, fields, flag, is_number, number, whole
from locara_label.datasets.header import read_header, rows
from locara_label.datasets.ids import Numbering, Seen
from locara_label.datasets.records import Category, CocoImage, by_name, located, where
from locara_label.datasets.spooled import SpooledFile
from locara_label.errors import BadDataset, BadMask, InputError
from locara_label.types import Box, Instance, Mask

__all__ = ["Annotation", "Category", "CocoImage", "CocoWriter", "Dataset", "read"]

CODE = "annotation.field"


class CocoWriter:
    """Writes a COCO instance file: compressed RLE, `iscrowd: 0`, true area, integer box, score with six digits.

    Use it in a `with` block. The file appears, whole, when the block ends; when it raises, nothing is left. Annotations are
    numbered 1, 2, 3 ... in the order in which they are added. The same calls give the same bytes.

    Attributes:
        images: pictures written so far.
        annotations: annotations written so far.
        skipped: instances with an empty mask so far, which are counted and not written.
    """

    def __init__(
        self,
        path: Path | str,
        categories: Sequence[Category],
        info: Mapping[str, Any] | None = None,
        sections: Sequence[str] = (),
    ) -> None:
        """Takes the categories that labels are looked up in by name, an `info` section of plain JSON, and lists beside COCO's.

        Raises:
            BadDataset: two categories share an id or name, or `info` is not JSON.
        """
        self._categories = by_name(categories)
        listed = [category.to_coco() for category in self._categories.values()]
        self._file = SpooledFile(Path(path), {"info": dict(info or {}), "licenses": [], "categories": listed}, sections)
        self._ids = Numbering()
        self.images = self.annotations = self.skipped = 0

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.__exit__(kind, error, trace)

    def add(
        self, image: CocoImage, instances: Sequence[Instance], extras: Sequence[Mapping[str, str | float]] | None = None
    ) -> int:
        """Appends a picture and its instances, all or (when it raises) none of them.

        Args:
            image: with an id above those of earlier pictures, or None for the next number.
            instances: with masks of the picture's own size and labels that are names of categories.
            extras: fields beside those of COCO, finite numbers, one mapping for each instance; none replaces a field of COCO.

        Returns:
            How many instances had an empty mask and were skipped.

        Raises:
            BadDataset: `label.unknown`, `score.range`, `image.id_order`, `image.size` or `image.field`.
            BadMask: a mask of another size than the picture, or whose runs do not fill it.
        """
        image.check()
        more = extras if extras is not None else [{}] * len(instances)
        pairs = zip(instances, more, strict=True)
        found = [{**row, **extra, **row} for instance, extra in pairs if (row := self._row(image, instance))]
        number_ = self._ids.take(image.id)
        self._file.add({**image.to_coco(), "id": number_}, self._numbered(found, number_))
        skipped = len(instances) - len(found)
        self.images, self.annotations, self.skipped = self.images + 1, self.annotations + len(found), self.skipped + skipped
        return skipped

    def add_row(self, section: str, row: Mapping[str, Any]) -> None:
        """Appends plain, finite JSON to one of the lists that were named beside COCO's own."""
        self._file.add_rows([(section, row)])

    def _numbered(self, found: list[dict[str, Any]], image_id: int) -> Iterator[dict[str, Any]]:
        for place, row in enumerate(found, self.annotations + 1):
            ids = {"id": place, "image_id": image_id}
            yield {**ids, **row, **ids}

    def _row(self, image: CocoImage, instance: Instance) -> dict[str, Any] | None:
        check_instance(image, instance)
        category = category_of(instance, self._categories)
        area = instance.mask.area
        if not area:
            return None
        return {
            "category_id": category.id,
            "iscrowd": 0,
            "area": area,
            "bbox": box_xywh(instance.mask),
            "segmentation": instance.mask.to_coco(),
            "score": round(float(instance.score), 6),
        }


def check_instance(image: CocoImage, instance: Instance) -> None:
    """Refuses what no file may hold.

    Raises:
        BadDataset: `score.range`.
        BadMask: `mask.size` or `mask.counts`.
    """
    if not 0 <= instance.score <= 1:
        raise BadDataset(f"{image.file_name!r}: score {instance.score} of {instance.label!r} is not in 0..1", code="score.range")
    if instance.mask.size != image.size:
        raise BadMask(f"{image.file_name!r}: a mask of {instance.mask.size} on a picture of {image.size}", code="mask.size")
    rle.check(instance.mask.counts, instance.mask.size)


def category_of(instance: Instance, categories: Mapping[str, Category]) -> Category:
    """The category of an instance's label; `BadDataset` with code `label.unknown` when there is none."""
    if instance.label not in categories:
        raise BadDataset(f"no category is called {instance.label!r}", code="label.unknown")
    return categories[instance.label]


def box_xywh(mask: Mask) -> list[int]:
    """Smallest box around the foreground as [x, y, width, height] in whole pixels."""
    return [int(value) for value in mask.box.xywh]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object of a data set.

    Attributes:
        box: as the file gives it, else that of the mask; in pixels.
        area: as the file gives it, else that of the mask or box; in pixels.
        score: in 0..1; None when the file has none (ground truth).
        iscrowd: a group of objects, which COCO tools leave out of training.
        segmentation: as the file gives it; None for an object that has only a box.
        size: height and width of the picture.
    """

    id: int
    image_id: int
    category_id: int
    box: Box
    area: float
    score: float | None
    iscrowd: bool
    segmentation: Any = field(repr=False)
    size: rle.Size

    @property
    def mask(self) -> Mask | None:
        """Decoded at each access; None for an object that has only a box.

        Raises:
            BadMask: with the annotation's id in the message.
        """
        try:
            return None if self.segmentation is None else segmentation.decode(self.segmentation, self.size)
        except BadMask as error:
            raise located(error, f"annotation {self.id}") from error


@dataclass(frozen=True, slots=True)
class Dataset:
    """A COCO instance file. Pictures and categories are in memory, annotations are read from the file each time.

    Attributes:
        images: by id.
        categories: by id.
    """

    path: Path
    info: Mapping[str, Any]
    images: Mapping[int, CocoImage]
    categories: Mapping[int, Category]

    def annotations(self) -> Iterator[Annotation]:
        """All annotations in file order, one at a time; their masks are decoded only when asked for.

        Raises:
            BadDataset: an annotation that is not one, with its id; ids that occur twice or refer to nothing.
            BadMask: an annotation without a box whose mask is broken.
        """
        seen = Seen()
        for index, value in rows(self.path):
            try:
                annotation = _annotation(fields(value, CODE), self)
                if not seen.add(annotation.id):
                    raise BadDataset("another annotation has the same id", code="annotation.id_twice")
            except InputError as error:
                raise located(error, where("annotation", value, index)) from error
            yield annotation

    def instance(self, annotation: Annotation) -> Instance:
        """An annotation as the rest of the package knows it; without a score it counts as certain (1.0).

        Raises:
            BadMask: the annotation has no mask or a broken one.
        """
        mask, category = annotation.mask, self.categories[annotation.category_id]
        if mask is None:
            raise BadMask(f"annotation {annotation.id} has a box and no mask", code="mask.missing")
        score = 1.0 if annotation.score is None else annotation.score
        return Instance(category.name, category.id, score, mask, is_stuff=not category.is_thing)


def read(path: Path | str) -> Dataset:
    """Opens a COCO instance file with polygons, list RLE, string RLE or bare boxes.

    The file is read item by item: one item may be 64 Mi characters long, the file as long as the disk allows.

    Raises:
        BadDataset: the file cannot be read, is not JSON, or its pictures or categories are not what they should be.
    """
    header = read_header(Path(path))
    return Dataset(Path(path), header.info, header.images, header.categories)


def _annotation(row: Fields, dataset: Dataset) -> Annotation:
    image, category = image_of(row, dataset.images), known_category(row, dataset.categories)
    shape = row.get("segmentation") or None
    box, area = _box(row, shape, image.size), row.get("area")
    return Annotation(
        id=whole(row, "id", CODE),
        image_id=row["image_id"],
        category_id=category.id,
        box=box,
        area=_area(shape, image.size, box) if area is None else number(area, "area", CODE),
        score=score_of(row),
        iscrowd=flag(row, "iscrowd", "annotation.iscrowd", default=False),
        segmentation=shape,
        size=image.size,
    )


def image_of(row: Fields, images: Mapping[int, CocoImage]) -> CocoImage:
    """The picture that an annotation names, else `BadDataset` with code `annotation.image_unknown`."""
    image = images.get(whole(row, "image_id", CODE))
    if image is None:
        raise BadDataset(f"image {row['image_id']} is not in the file", code="annotation.image_unknown")
    return image


def known_category(row: Fields, categories: Mapping[int, Category]) -> Category:
    """The category that an annotation or segment names, else `BadDataset` with code `annotation.category_unknown`."""
    category = categories.get(whole(row, "category_id", CODE))
    if category is None:
        raise BadDataset(f"category {row['category_id']} is not in the file", code="annotation.category_unknown")
    return category


def score_of(row: Fields) -> float | None:
    """The score, None when there is none, else `BadDataset` with code `score.range`."""
    score = row.get("score")
    if score is None:
        return None
    if not is_number(score) or not 0 <= score <= 1:
        raise BadDataset(f"score is not in 0..1: {score!r:.80}", code="score.range")
    return float(score)


def box_of(row: Fields) -> Box | None:
    """The box in pixels, None when there is none, else `BadDataset` with code `annotation.bbox`."""
    bbox = row.get("bbox")
    if bbox is None:
        return None
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)) or min(bbox[2:]) < 0:
        raise BadDataset(f"bbox is not [x, y, width, height] in finite pixels: {bbox!r:.80}", code="annotation.bbox")
    x, y, width, height = bbox
    return Box(x, y, x + width, y + height)


def _box(row: Fields, shape: Any, size: rle.Size) -> Box:
    box = box_of(row)
    if box is not None:
        return box
    if shape is None:
        raise BadDataset("there is neither a segmentation nor a bbox", code="annotation.bbox")
    return segmentation.decode(shape, size).box


def _area(shape: Any, size: rle.Size, box: Box) -> float:
    return (box.x1 - box.x0) * (box.y1 - box.y0) if shape is None else segmentation.decode(shape, size).area
