"""Finished shards to data sets, one picture in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locara_label.batch.folder import Folder, semantic_names, writing
from locara_label.batch.labels import Categories
from locara_label.batch.plan import Plan
from locara_label.batch.rows import Failed, Labelled, Row
from locara_label.datasets import semantic
from locara_label.datasets.coco import CocoWriter
from locara_label.datasets.panoptic import PanopticWriter
from locara_label.datasets.records import CocoImage
from locara_label.errors import BatchError
from locara_label.types import Instance

_EXAMPLES = 5

Add = Callable[[CocoImage, Sequence[Instance]], object]


@dataclass
class Counts:
    """What a data set holds.

    Attributes:
        pictures: labelled ones.
        failed: pictures without labels.
        instances: written ones.
        dropped: instances of labels that the label map leaves out.
        examples: the first failures.
    """

    pictures: int = 0
    failed: int = 0
    instances: int = 0
    dropped: int = 0
    examples: list[Failed] = field(default_factory=list)


@dataclass(frozen=True)
class Merge:
    """Where a data set comes from and what it says about itself; `info` must not change between two runs of one plan."""

    folder: Folder
    plan: Plan
    categories: Categories
    info: Mapping[str, Any]


def rows(folder: Folder, plan: Plan) -> Iterator[tuple[int, Row]]:
    """Every picture's place in the plan, from 0, and its row.

    Raises:
        BatchError: a shard is missing or damaged by now; code batch.shard.
    """
    for shard in plan.shards():
        found = folder.read_shard(shard)
        if found is None:
            raise BatchError(f"{folder.shard_name(shard)} is missing or damaged; the same command repairs it", code="batch.shard")
        yield from enumerate(found, shard.number * plan.shard_size)


def write(merge: Merge, formats: Sequence[str], check: Callable[[], None] = lambda: None) -> Counts:
    """Writes data sets in the formats of `FORMATS`, and the list of failures. A picture's id is its place in the plan, from 1.

    `check` is called before each picture; what it raises ends the writing, and leaves the JSON files of earlier data sets as
    they were.

    Raises:
        BatchError: the disk refuses, or a shard is damaged.
    """
    counts = Counts()
    with writing(merge.folder.root), ExitStack() as stack:
        sinks = [FORMATS[name](merge, stack) for name in dict.fromkeys(formats)]
        for place, row in rows(merge.folder, merge.plan):
            check()
            if isinstance(row, Failed):
                counts.failed += 1
                counts.examples += [row] if counts.failed <= _EXAMPLES else []
            else:
                _add(place, row, merge, sinks, counts)
    _write_failures(merge)
    return counts


def _add(place: int, row: Labelled, merge: Merge, sinks: Sequence[Add], counts: Counts) -> None:
    instances, dropped = merge.categories.applied(row.instances)
    height, width = row.size
    image = CocoImage(row.file_name, width, height, place + 1)
    for sink in sinks:
        sink(image, instances)
    counts.pictures += 1
    counts.instances += len(instances)
    counts.dropped += dropped


def _coco(merge: Merge, stack: ExitStack) -> Add:
    return stack.enter_context(CocoWriter(merge.folder.coco, merge.categories.listed, merge.info)).add


def _panoptic(merge: Merge, stack: ExitStack) -> Add:
    folder = merge.folder
    return stack.enter_context(PanopticWriter(folder.panoptic, folder.panoptic_pngs, merge.categories.listed, merge.info)).add


def _semantic(merge: Merge, stack: ExitStack) -> Add:
    del stack  # each label map is a file of its own
    names, labels = semantic_names(merge.plan), merge.categories.labels
    merge.folder.semantic.mkdir(exist_ok=True)
    semantic.write_labels(merge.folder.semantic_labels, labels)

    def add(image: CocoImage, instances: Sequence[Instance]) -> None:
        path = merge.folder.semantic / names[(image.id or 1) - 1]
        path.parent.mkdir(parents=True, exist_ok=True)
        semantic.write_semantic_png(path, semantic.paint(instances, image.size, len(labels)))

    return add


FORMATS: dict[str, Callable[[Merge, ExitStack], Add]] = {"coco": _coco, "panoptic": _panoptic, "semantic": _semantic}


def paths(folder: Folder, formats: Sequence[str]) -> list[Path]:
    """The files and folders that `write` makes for some formats."""
    made = {
        "coco": [folder.coco],
        "panoptic": [folder.panoptic, folder.panoptic_pngs],
        "semantic": [folder.semantic_labels, folder.semantic],
    }
    return [path for name in dict.fromkeys(formats) for path in made[name]]


def _write_failures(merge: Merge) -> None:
    """`failures.json`, where there is a failure; else none is left from an earlier run."""
    failed = (row for _, row in rows(merge.folder, merge.plan) if isinstance(row, Failed))
    first = next(failed, None)
    if first is None:
        with writing(merge.folder.failures):
            merge.folder.failures.unlink(missing_ok=True)
        return
    merge.folder.save(merge.folder.failures, _failure_lines(first, failed))


def _failure_lines(first: Failed, others: Iterator[Failed]) -> Iterator[bytes]:
    yield b'{"failures": [\n' + _failure_line(first)
    for failed in others:
        yield b",\n" + _failure_line(failed)
    yield b"\n]}\n"


def _failure_line(failed: Failed) -> bytes:
    return json.dumps({"file_name": failed.file_name, **failed.error.to_json()}).encode("ascii")
