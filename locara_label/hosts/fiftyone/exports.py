"""Labeled pictures of a view as data sets on disk, exact to the pixel, one sample in memory at a time.

FiftyOne's own COCO exporter fills holes, and refuses label maps and videos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.media as fomm
import numpy as np

from locara_label.datasets import semantic
from locara_label.datasets.coco import CocoWriter
from locara_label.datasets.panoptic import PanopticWriter
from locara_label.datasets.records import Category, CocoImage
from locara_label.errors import BadDataset, BadOption, Cancelled, InputError, LocaraError
from locara_label.hosts.fiftyone.extras import to_extras
from locara_label.hosts.fiftyone.labels import Region, Size, from_segmentation, label_map, target_value, to_region
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.samples import check_media, common_root, database, dataset_of, in_batches, size_of
from locara_label.runtime.session import Stop
from locara_label.types import Label

INFO = {"description": "exported from FiftyOne by locara-label"}


@dataclass(frozen=True, slots=True)
class Labeled:
    """The labels of one picture, and in words what of them has no mask."""

    size: Size
    regions: list[Region]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The field of a view that is exported.

    Attributes:
        view: its samples.
        field: with the labels; without "frames.".
        targets: names of the values of a label map.
        root: folder that file names are relative to.
    """

    view: foc.SampleCollection
    field: str
    targets: Mapping[Any, str]
    root: str

    @classmethod
    def of(cls, view: foc.SampleCollection, name: str, root: Path | str | None = None) -> Source:
        """Raises BadOption for samples that are no images, or without the field; RunError, see `samples.database`."""
        check_media(view, fomm.IMAGE)
        if not view.has_field(name):
            raise BadOption(f"the samples have no field {name!r:.120}", code="option.field")
        source = dataset_of(view)
        with database():
            targets = source.mask_targets.get(name) or source.default_mask_targets or {}
            folder = common_root(view.values("filepath")) if root is None else str(root)
        return cls(view, name, targets, folder)

    @property
    def is_map(self) -> bool:
        """A label map instead of single regions."""
        return getattr(self.view.get_field(self.field), "document_type", None) is fo.Segmentation

    def labeled(self, sample: Any) -> Labeled:
        """The labels of a sample.

        Raises:
            BadImage, BadMask: the file or a mask is none.
        """
        size, value = size_of(sample), sample[self.field]
        if isinstance(value, fo.Segmentation):
            return Labeled(size, from_segmentation(value, size, self.targets))
        found = [to_region(one, size) for one in (value.detections if value is not None else ())]
        regions = [region for region in found if region is not None]
        bare = len(found) - len(regions)
        return Labeled(size, regions, f"{bare} detections have no mask and are left out" if bare else "")

    def categories(self, stuff: Collection[str] | None = None) -> list[Category]:
        """Every label in alphabetical order, numbered from 1.

        Args:
            stuff: labels of amorphous regions; None takes those marked `is_stuff`, and all of a label map.
        """
        with database():
            if self.is_map:
                names = sorted({*self.targets.values(), *map(str, self._unnamed())})
                return [Category(number, name, is_thing=name not in (stuff or names)) for number, name in enumerate(names, 1)]
            path = f"{self.field}.detections"
            names = sorted(name for name in self.view.distinct(f"{path}.label") if name)
            marked = self._marked(path) if stuff is None else set(stuff)
        return [Category(number, name, is_thing=name not in marked) for number, name in enumerate(names, 1)]

    def _marked(self, path: str) -> set[str]:
        marked = self.view.filter_labels(self.field, fo.ViewField("is_stuff") == True)  # noqa: E712 - an expression
        return set(marked.distinct(f"{path}.label"))

    def _unnamed(self) -> set[int]:
        """Values of label maps without a name; looked for only where there are no names at all."""
        if self.targets:
            return set()
        samples = in_batches(self.view, (self.field,))
        maps = (label_map(one[self.field], size_of(one)) for one in samples if one[self.field] is not None)
        return {int(value) for found in maps for value in np.unique(found) if value}

    def name_of(self, sample: Any) -> str:
        """The sample's file, relative to the root.

        Raises:
            BadDataset: code `path.outside`.
        """
        path = PurePath(sample.filepath)
        if not path.is_relative_to(self.root):
            raise BadDataset(f"{sample.filepath!r:.200} is not below {self.root}", code="path.outside")
        return path.relative_to(self.root).as_posix()

    def image_of(self, sample: Any, size: Size) -> CocoImage:
        """The sample as a picture of a COCO file."""
        return CocoImage(self.name_of(sample), size[1], size[0])


Write = Callable[[Any, Labeled], str]
"""Writes a sample and its labels, and says in words what could not be kept."""


def export_coco(
    view: foc.SampleCollection,
    label_field: str,
    path: Path | str,
    *,
    root: Path | str | None = None,
    stop: Stop | None = None,
) -> Iterator[Progress]:
    """A COCO instance file: compressed RLE, `iscrowd: 0`, true areas and boxes.

    What COCO has no place for is in fields beside it, so that `imports.import_coco` gives the same labels again: `track_id`
    (`index`), `instance_id`, `predicted_iou`, and the attributes of a detection that are texts or numbers.

    Args:
        view: images.
        label_field: Detections with masks, or a Segmentation, one annotation for each class of a picture.
        path: of the file, which appears whole when the last sample was written, or not at all.
        root: folder that file names are relative to; None takes the one that all files are in.
        stop: cancels from another thread.

    Raises:
        BadOption: at once.
        Cancelled, RunError, OSError: on the way; there is no file then.
    """
    source = Source.of(view, label_field, root)
    return _coco(source, Path(path), stop)


def _coco(source: Source, path: Path, stop: Stop | None) -> Iterator[Progress]:
    with CocoWriter(path, source.categories(), INFO) as writer:

        def write(sample: Any, labeled: Labeled) -> str:
            rows = [to_extras(region) for region in labeled.regions]
            instances = [region.to_instance() for region in labeled.regions]
            writer.add(source.image_of(sample, labeled.size), instances, [row for row, _ in rows])
            lost = Counter(name for _, names in rows for name in names)
            return f"attributes that COCO has no place for: {dict(lost)}" if lost else ""

        yield from _each(source, write, stop)


def export_panoptic(
    view: foc.SampleCollection,
    label_field: str,
    path: Path | str,
    *,
    pngs: Path | str | None = None,
    stuff: Collection[str] | None = None,
    root: Path | str | None = None,
    stop: Stop | None = None,
) -> Iterator[Progress]:
    """A panoptic COCO file with its PNGs. Where regions overlap, the first keeps the pixels, and the rest is told.

    Args:
        view: images.
        label_field: Detections with masks, or a Segmentation.
        path: of the JSON file.
        pngs: their folder; None takes the JSON file's name without ".json".
        stuff: see `Source.categories`; the regions of each such class are united.
        root: as in `export_coco`.
        stop: as there.

    Raises:
        BadOption: at once.
        Cancelled, RunError, OSError: on the way; there is no JSON file then.
    """
    source = Source.of(view, label_field, root)
    target = Path(path)
    folder = target.with_suffix("") if pngs is None else Path(pngs)
    return _panoptic(source, (target, folder), stuff, stop)


def _panoptic(source: Source, paths: tuple[Path, Path], stuff: Collection[str] | None, stop: Stop | None) -> Iterator[Progress]:
    categories = source.categories(stuff)
    things = {category.name: category.is_thing for category in categories}
    with PanopticWriter(*paths, categories, INFO) as writer:

        def write(sample: Any, labeled: Labeled) -> str:
            regions = _united(labeled.regions, things)
            painted = writer.add(source.image_of(sample, labeled.size), [region.to_instance() for region in regions])
            if not painted.overlap_px:
                return ""
            return f"{painted.overlap_px} pixels belong to several regions, {painted.skipped} regions are wholly covered"

        yield from _each(source, write, stop)


def _united(regions: Sequence[Region], things: Mapping[str, bool]) -> list[Region]:
    """One region for each class that is no thing, at the place of its first; its score is the best one."""
    found: list[Region] = []
    places: dict[str, int] = {}
    for region in regions:
        place = None if things.get(region.label, True) else places.get(region.label)
        if place is None:
            places[region.label] = len(found)
            found.append(region)
        else:
            first = found[place]
            best = max((one.score for one in (first, region) if one.score is not None), default=None)
            found[place] = replace(first, mask=first.mask.union(region.mask), score=best)
    return found


def export_semantic(
    view: foc.SampleCollection,
    label_field: str,
    folder: Path | str,
    *,
    root: Path | str | None = None,
    stop: Stop | None = None,
) -> Iterator[Progress]:
    """A PNG for each picture whose pixels are class indices, 255 (or 65535 in 16 bit) for none, and `labels.json`.

    Args:
        view: images.
        label_field: a Segmentation, whose values less one are the indices; or Detections, whose classes are numbered in
            alphabetical order and whose first keeps the pixels where they overlap.
        folder: of the PNGs, laid out and named as the pictures.
        root: as in `export_coco`.
        stop: as there.

    Raises:
        BadOption, BadDataset: at once.
        Cancelled, RunError, OSError: on the way; what was written stays.
    """
    source = Source.of(view, label_field, root)
    return _semantic(source, Path(folder), stop)


def _semantic(source: Source, folder: Path, stop: Stop | None) -> Iterator[Progress]:
    labels = _semantic_labels(source)
    indices, count = {label.name: label.index for label in labels}, 1 + max((label.index for label in labels), default=0)
    folder.mkdir(parents=True, exist_ok=True)
    semantic.write_labels(folder / "labels.json", labels)
    written: set[str] = set()

    def write(sample: Any, labeled: Labeled) -> str:
        name = PurePath(source.name_of(sample)).with_suffix(".png").as_posix()
        if name in written:
            raise BadDataset(f"two pictures would be written to {name!r:.200}", code="path.twice")
        instances = [region.to_instance(indices[region.label]) for region in labeled.regions]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        semantic.write_semantic_png(path, semantic.paint(instances, labeled.size, count))
        written.add(name)
        return ""

    yield from _each(source, write, stop)


def _semantic_labels(source: Source) -> list[Label]:
    categories = source.categories()
    if not source.is_map:
        return [Label(category.id - 1, category.name, is_stuff=not category.is_thing) for category in categories]
    values = {target_value(key): name for key, name in source.targets.items()}
    named = values or {int(category.name): category.name for category in categories}
    return [Label(value - 1, name, is_stuff=True) for value, name in sorted(named.items()) if value]


def _each(source: Source, write: Write, stop: Stop | None) -> Iterator[Progress]:
    """Writes all samples; one that cannot be written is told and passed over."""
    with database():
        total = source.view.count()
    for number, sample in enumerate(in_batches(source.view, (source.field,)), 1):
        if stop is not None and stop.is_set:
            raise Cancelled(f"cancelled after {number - 1} of {total} samples; nothing is left of the export")
        yield _one(source, sample, write, (number, total))


def _one(source: Source, sample: Any, write: Write, place: tuple[int, int]) -> Progress:
    error: LocaraError | None = None
    labeled, note = Labeled((1, 1), []), ""
    try:
        labeled = source.labeled(sample)
        note = write(sample, labeled)
    except InputError as raised:
        error = raised
    notes = "; ".join(text for text in (labeled.note, note) if text)
    return Progress(*place, str(sample.id), sample.filepath, 0 if error else len(labeled.regions), error, notes)
