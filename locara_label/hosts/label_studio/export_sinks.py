"""Data sets that an export writes: beside their place first, read again in full, and put there only when nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from locara_label.atomic import part_path, sync_folder
from locara_label.datasets import check, coco, semantic
from locara_label.datasets.coco import CocoWriter
from locara_label.datasets.convert import FORMATS as MASKLET_FORMATS
from locara_label.datasets.convert import verify
from locara_label.datasets.masklets import MaskletVideo
from locara_label.datasets.panoptic import PanopticWriter
from locara_label.datasets.records import Category, CocoImage, Problem
from locara_label.datasets.video_files import refuse_filled, remove_folder
from locara_label.errors import BadDataset, BadOption, LocaraError
from locara_label.hosts.label_studio.export_pictures import Shot
from locara_label.hosts.label_studio.export_report import Report
from locara_label.types import Label

PICTURE_FORMATS = ("coco", "panoptic", "semantic")
VIDEO_FORMATS = tuple(MASKLET_FORMATS)
FORMATS = (*PICTURE_FORMATS, *VIDEO_FORMATS)

_MAX_PART = 200
_NAMED = 5


@dataclass(frozen=True)
class Stage:
    """Where a data set is written: `path` is beside its place `out`, with the same name."""

    path: Path
    out: Path
    categories: Sequence[Category]
    info: Mapping[str, Any]
    report: Report


AddShot = Callable[[CocoImage, Shot], None]
AddVideo = Callable[[MaskletVideo], None]


@contextmanager
def staged(out: Path, categories: Sequence[Category], info: Mapping[str, Any], report: Report) -> Iterator[Stage]:
    """What is written within the block appears at `out` when it ends, and nothing of it when it raises.

    Raises:
        BadOption: code `option.out`; there is no way to write there.
        BadDataset: code `dataset.exists`; a folder that would be replaced has something in it.
    """
    folder = part_path(out)
    try:
        folder.mkdir()
        try:
            yield Stage(folder / out.name, out, categories, info, report)
            _publish(folder, out.parent)
        finally:
            remove_folder(folder)
    except LocaraError:  # some of them are OSErrors too
        raise
    except OSError as error:
        raise BadOption(f"{out} cannot be written: {error.strerror or error}", code="option.out") from error


def _publish(folder: Path, to: Path) -> None:
    """Folders before the files that name what is in them."""
    parts = sorted(folder.iterdir(), key=lambda path: (not path.is_dir(), path.name))
    for part in parts:
        if part.is_dir():
            refuse_filled(to / part.name)
    for part in parts:
        part.replace(to / part.name)
    sync_folder(to.absolute())


def pictures(format_name: str, stage: Stage) -> AbstractContextManager[AddShot]:
    """Adds pictures to a data set of one of `PICTURE_FORMATS`; it is verified when the block ends.

    Raises:
        BadDataset: code `export.unsound`; what was written is not what it should be.
    """
    return {"coco": _coco, "panoptic": _panoptic, "semantic": _semantic}[format_name](stage)


@contextmanager
def videos(format_name: str, stage: Stage) -> Iterator[AddVideo]:
    """As `pictures`, for one of `VIDEO_FORMATS`."""
    written = 0

    def add(video: MaskletVideo) -> None:
        nonlocal written
        writer.add(video)
        written += 1

    with MASKLET_FORMATS[format_name].writer(stage.path, stage.categories, stage.info) as writer:
        yield add
    stage.report.notes.update(writer.notes)
    if not written:
        return
    found = verify(stage.path, format_name)
    _refuse(found.problems, stage)
    if found.counts.masks != stage.report.masks:
        raise _unsound(stage, f"{found.counts.masks} masks were read where {stage.report.masks} were written")


@contextmanager
def _coco(stage: Stage) -> Iterator[AddShot]:
    with CocoWriter(stage.path, stage.categories, stage.info) as writer:
        yield lambda image, shot: _ignore(writer.add(image, shot.instances, shot.extras))
    _refuse(check.problems(stage.path), stage)
    found = sum(1 for _ in coco.read(stage.path).annotations())
    if found != stage.report.masks:
        raise _unsound(stage, f"{found} masks were read where {stage.report.masks} were written")


@contextmanager
def _panoptic(stage: Stage) -> Iterator[AddShot]:
    """Masks that were drawn later lie on top."""
    pngs = stage.path.with_suffix("")

    def add(image: CocoImage, shot: Shot) -> None:
        painted = writer.add(image, shot.instances[::-1])
        stage.report.changed["picture.hidden"] += painted.skipped
        stage.report.changed["picture.overlap_px"] += painted.overlap_px

    with PanopticWriter(stage.path, pngs, stage.categories, stage.info) as writer:
        yield add
    _refuse(check.problems(stage.path, png_folder=pngs), stage)


@contextmanager
def _semantic(stage: Stage) -> Iterator[AddShot]:
    """A folder of label maps, called like their pictures, with `labels.json`. Masks that were drawn later lie on top."""
    names: set[str] = set()
    count = max(category.id for category in stage.categories)
    stage.path.mkdir()
    semantic.write_labels(stage.path / "labels.json", [Label(one.id - 1, one.name) for one in stage.categories])

    def add(image: CocoImage, shot: Shot) -> None:
        painted = semantic.paint(shot.instances[::-1], image.size, count)
        claimed = sum(instance.mask.area for instance in shot.instances)
        stage.report.changed["picture.overlap_px"] += claimed - int((painted != semantic.unlabeled(count)).sum())
        path = stage.path / _png_name(image.file_name, shot.task, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        semantic.write_semantic_png(path, painted)
        if not np.array_equal(semantic.read_semantic_png(path), painted):
            raise _unsound(stage, f"{path.name} does not hold the pixels that were written")

    yield add


def _png_name(name: str, task: int, taken: set[str]) -> str:
    """The picture's name with .png; one that is taken, or too long for a disk, gets the number of its task."""
    stem = name.rpartition(".")[0] if "." in name.rpartition("/")[2][1:] else name
    if any(len(part.encode()) > _MAX_PART for part in stem.split("/")) or stem in ("labels", ""):
        stem = f"task-{task}"
    number = 0
    while (found := stem if not number else f"{stem}-{task}" + (f"-{number}" if number > 1 else "")) in taken:
        number += 1
    taken.add(found)
    return f"{found}.png"


def _ignore(_: object) -> None:
    """A writer's count is the report's own."""


def _refuse(problems: Iterable[Problem], stage: Stage) -> None:
    found = list(islice(problems, _NAMED))
    if found:
        raise _unsound(stage, "; ".join(map(str, found)))


def _unsound(stage: Stage, what: str) -> BadDataset:
    return BadDataset(f"{stage.out} was not written, as its check failed: {what}", code="export.unsound")
