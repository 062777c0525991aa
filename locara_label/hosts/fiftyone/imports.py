"""Data sets on disk as labels of samples, exact to the pixel, one picture in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

import fiftyone as fo
import fiftyone.core.media as fomm
import numpy as np

from locara_label.datasets import coco, panoptic, semantic
from locara_label.datasets.coco import Annotation
from locara_label.datasets.header import rows
from locara_label.datasets.pictures import inside
from locara_label.datasets.records import Category, CocoImage
from locara_label.errors import BadDataset, BadOption, Cancelled, InputError, LocaraError
from locara_label.hosts.fiftyone import fields
from locara_label.hosts.fiftyone.extras import from_extras
from locara_label.hosts.fiftyone.labels import Region, Size, mask_targets, to_detection
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.samples import check_field, check_media, database, size_of
from locara_label.hosts.fiftyone.work import record
from locara_label.runtime.session import Stop


@dataclass(frozen=True, slots=True)
class Target:
    """Where labels go.

    Attributes:
        dataset: of images.
        field: of the labels, without "frames.".
        root: folder that file names are relative to.
        stop: cancels from another thread.
    """

    dataset: fo.Dataset
    field: str
    root: Path
    stop: Stop | None = None

    def sample(self, name: str) -> Any:
        """The sample of a file that a data set names; a new one where the file is there and has no sample yet.

        Raises:
            BadDataset: `path.outside` or `path.missing`.
            RunError: see `samples.database`.
        """
        path = (self.root / PurePath(name)).absolute()
        with database():
            try:
                if ".." not in PurePath(name).parts and not PurePath(name).is_absolute():
                    return self.dataset[str(path)]
            except KeyError:
                pass
            inside(self.root, name)
            sample = fo.Sample(filepath=str(path))
            self.dataset.add_sample(sample)
            return sample

    def check_stop(self, done: int, total: int) -> None:
        if self.stop is not None and self.stop.is_set:
            raise Cancelled(f"cancelled after {done} of {total} samples; these are saved")

    def sized(self, name: str, size: Size) -> Any:
        """As `sample`, for a picture of this size; else BadDataset with code `image.size`."""
        sample = self.sample(name)
        found = size_of(sample)
        if found != size:
            text = f"{name!r:.200} is {found[1]} x {found[0]} pixels, the data set says {size[1]} x {size[0]}"
            raise BadDataset(text, code="image.size")
        return sample


def import_coco(
    dataset: fo.Dataset, path: Path | str, label_field: str, *, root: Path | str, stop: Stop | None = None
) -> Iterator[Progress]:
    """Annotations of a COCO instance file as Detections: RLE or polygons become masks, bare boxes stay boxes.

    Args:
        dataset: of images; a file that has no sample yet gets one.
        path: of the JSON file.
        label_field: is replaced on the samples that the file has annotations for.
        root: folder that file names are relative to.
        stop: cancels from another thread.

    Raises:
        BadOption, BadDataset: at once.
        Cancelled, RunError, BadDataset: on the way; what was read by then is saved.
    """
    target = _target(dataset, label_field, root, stop)
    found = coco.read(path)
    return _prepared(target, fo.Detections, _names(found.categories), _coco(target, found))


def _coco(target: Target, found: coco.Dataset) -> Iterator[Progress]:
    """Pictures come as often as their annotations are apart in the file; the first time replaces what was there."""
    seen: set[int] = set()
    pairs = zip(rows(found.path), found.annotations(), strict=True)
    for image_id, group in groupby(pairs, lambda pair: pair[1].image_id):
        target.check_stop(len(seen), len(found.images))
        image = found.images[image_id]
        listed = [(row, annotation) for (_, row), annotation in group]
        is_new = image_id not in seen
        seen.add(image_id)
        yield _annotated(target, found, image, listed, (len(seen), len(found.images)), is_new=is_new)
    for image_id, image in found.images.items():
        if image_id not in seen:
            seen.add(image_id)
            yield _annotated(target, found, image, [], (len(seen), len(found.images)), is_new=True)


def _annotated(
    target: Target,
    found: coco.Dataset,
    image: CocoImage,
    listed: Sequence[tuple[Any, Annotation]],
    place: tuple[int, int],
    *,
    is_new: bool,
) -> Progress:
    def label(sample: Any) -> tuple[fo.Label, int]:
        detections = [_detection(found, row, annotation) for row, annotation in listed]
        before = None if is_new or not sample.has_field(target.field) else sample[target.field]
        earlier = [] if before is None else list(before.detections)
        return fo.Detections(detections=[*earlier, *detections]), len(detections)

    return _saved(target, image.file_name, image.size, label, place)


def _detection(found: coco.Dataset, row: Any, annotation: Annotation) -> fo.Detection:
    name, mask = found.categories[annotation.category_id].name, annotation.mask
    if mask is not None:
        return to_detection(from_extras(name, mask, annotation.score, row))
    height, width = annotation.size
    x, y, across, down = annotation.box.xywh
    box = [x / width, y / height, across / width, down / height]
    return fo.Detection(label=name, bounding_box=box, confidence=annotation.score)


def import_panoptic(
    dataset: fo.Dataset,
    path: Path | str,
    label_field: str,
    *,
    root: Path | str,
    pngs: Path | str | None = None,
    stop: Stop | None = None,
) -> Iterator[Progress]:
    """Segments of a panoptic COCO file as Detections; those of amorphous regions are marked `is_stuff`.

    Args:
        dataset: as in `import_coco`.
        path: of the JSON file.
        label_field: is replaced on the samples that the file has annotations for.
        root: folder that the pictures' file names are relative to.
        pngs: folder of the PNGs; None takes the JSON file's name without ".json".
        stop: cancels from another thread.

    Raises:
        BadOption, BadDataset: at once.
        Cancelled, RunError, BadDataset, BadImage: on the way; what was read by then is saved.
    """
    target = _target(dataset, label_field, root, stop)
    found = panoptic.read(path, pngs)
    return _prepared(target, fo.Detections, _names(found.categories), _panoptic(target, found))


def _panoptic(target: Target, found: panoptic.PanopticDataset) -> Iterator[Progress]:
    total = len(found.images)
    for number, (image, instances) in enumerate(found.pictures(), 1):
        target.check_stop(number - 1, total)
        regions = [Region.of_instance(instance) for instance in instances]

        def label(_: Any, regions: Sequence[Region] = regions) -> tuple[fo.Label, int]:
            return fo.Detections(detections=[to_detection(region) for region in regions]), len(regions)

        yield _saved(target, image.file_name, image.size, label, (number, total))


def import_semantic(
    dataset: fo.Dataset, folder: Path | str, label_field: str, *, root: Path | str, stop: Stop | None = None
) -> Iterator[Progress]:
    """PNGs of class indices, laid out as the pictures are, as Segmentations of the samples below a folder.

    Values are indices plus one, for FiftyOne draws nothing where the value is 0; the mask targets say so.

    Args:
        dataset: of images that have samples already.
        folder: with the PNGs and `labels.json`.
        label_field: is replaced on samples with a PNG; the others stay as they are.
        root: folder that the pictures are in, as the PNGs are in theirs.
        stop: cancels from another thread.

    Raises:
        BadOption, BadDataset: at once.
        Cancelled, RunError: on the way; what was read by then is saved.
    """
    target = _target(dataset, label_field, root, stop)
    labels = semantic.read_labels(Path(folder) / "labels.json")
    fields.prepare(dataset, target.field, fo.Segmentation)
    with database():
        dataset.mask_targets[target.field] = mask_targets(labels)
        dataset.save()
    return _semantic(target, Path(folder), 1 + max((label.index for label in labels), default=0))


def _semantic(target: Target, folder: Path, count: int) -> Iterator[Progress]:
    with database():
        below = [PurePath(path) for path in target.dataset.values("filepath") if PurePath(path).is_relative_to(target.root)]
    names = [path.relative_to(target.root).as_posix() for path in below]
    listed = [name for name in names if (folder / PurePath(name).with_suffix(".png")).is_file()]
    for number, name in enumerate(listed, 1):
        target.check_stop(number - 1, len(listed))

        def label(sample: Any, name: str = name) -> tuple[fo.Label, int]:
            png = folder / PurePath(name).with_suffix(".png")
            indices = semantic.read_semantic_png(png, size_of(sample)).astype(np.int32)
            values = np.where(indices == semantic.unlabeled(count), 0, indices + 1)
            kept = values.astype(np.uint8 if count < 256 else np.uint16)
            return fo.Segmentation(mask=kept), len(np.unique(values[values > 0]))

        yield _saved(target, name, None, label, (number, len(listed)))


def _target(dataset: fo.Dataset, field: str, root: Path | str, stop: Stop | None) -> Target:
    check_media(dataset, fomm.IMAGE)
    folder = Path(root)
    if not folder.is_dir():
        raise BadOption(f"{folder} is not a folder", code="option.root")
    return Target(dataset, check_field(field), folder.absolute(), stop)


def _names(categories: Mapping[int, Category]) -> list[str]:
    return [category.name for category in categories.values()]


def _prepared(target: Target, kind: type[fo.Label], classes: Sequence[str], steps: Iterator[Progress]) -> Iterator[Progress]:
    """The steps, with the field made before the first and, where there were no samples before, described after it."""
    was_empty = target.dataset.media_type is None
    fields.prepare(target.dataset, target.field, kind, classes)
    return _described(target, kind, classes, steps) if was_empty else steps


def _described(target: Target, kind: type[fo.Label], classes: Sequence[str], steps: Iterator[Progress]) -> Iterator[Progress]:
    for number, step in enumerate(steps):
        if number == 0:
            fields.prepare(target.dataset, target.field, kind, classes)
        yield step


def _saved(target: Target, name: str, size: Size | None, label: Any, place: tuple[int, int]) -> Progress:
    """Gives the sample of a file its label; one that cannot have it is told and passed over."""
    error: LocaraError | None = None
    sample, count = None, 0
    try:
        sample = target.sample(name) if size is None else target.sized(name, size)
        value, count = label(sample)
        with database():
            sample[target.field] = value
            record(sample, target.field, "")
    except InputError as raised:
        error, count = raised, 0
    return Progress(*place, "" if sample is None else str(sample.id), str(target.root / name), count, error)
