"""Regions of pictures as instances of a data set, exact to the pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from locara_label.errors import BadRequest, LocaraError
from locara_label.hosts.label_studio.export_labels import OBJECT, Layout, file_name, reference
from locara_label.hosts.label_studio.export_report import Report
from locara_label.hosts.label_studio.export_tasks import AnnotatedTask, annotation_id
from locara_label.hosts.label_studio.fields import Fields, fields, items
from locara_label.hosts.label_studio.regions import MAX_REGIONS, RegionMask, merge_groups, read_regions
from locara_label.hosts.label_studio.requests import Task
from locara_label.rle import Size
from locara_label.types import Instance

Measure = Callable[[str, AnnotatedTask], Size]
"""Height and width, upright, of the picture that a reference of a task leads to; raises what the read raises."""

Extra = Mapping[str, str | float]

NO_MASK = frozenset(
    {
        "choices", "textarea", "number", "rating", "taxonomy", "pairwise", "datetime", "ranker", "relation", "timelinelabels",
        "timeserieslabels", "paragraphlabels", "hypertextlabels",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture with what is drawn on it, the last one on top.

    Attributes:
        task: its id, and `place` for messages.
        extras: for each instance, the ids of its task, annotation and region.
    """

    task: int
    place: str
    file_name: str
    size: Size
    instances: tuple[Instance, ...]
    extras: tuple[Extra, ...] = field(hash=False)


@dataclass
class _Page:
    """What is drawn on one picture of a task."""

    regions: list[tuple[int, RegionMask]] = field(default_factory=list)


class PictureReader:
    """Tasks to pictures with masks. What cannot be used is told to the report, with its code, and does not cost the rest."""

    def __init__(self, layout: Layout, report: Report, measure: Measure, *, empty: bool = True, verify: bool = False) -> None:
        """Takes how pictures are measured; `empty` keeps those without a mask, `verify` measures every one."""
        self._layout, self._report, self._measure = layout, report, measure
        self._empty, self._verify = empty, verify

    def read(self, task: AnnotatedTask, annotations: Iterable[Fields]) -> Iterator[Shot]:
        """The pictures of a task, by tag and page."""
        pages: dict[tuple[str, int], _Page] = {key: _Page() for key in self._all_pages(task)}
        given = list(annotations)
        if self._layout.config is None and not any(annotation.get("result") for annotation in given):
            pages[("image", 0)] = _Page()
        for annotation in given:
            for one in self._regions(task, annotation):
                pages.setdefault((one.to_name, one.item_index), _Page()).regions.append((annotation_id(annotation), one))
        for (to_name, page), found in pages.items():
            place = _place(task, to_name, page, single=len(pages) == 1)
            try:
                shot = self._shot(task, to_name, page, found, place)
            except LocaraError as error:
                self._report.lose(place, error)
                continue
            if shot is not None:
                yield shot

    def _all_pages(self, task: AnnotatedTask) -> list[tuple[str, int]]:
        config = self._layout.config
        try:
            return [] if config is None else [
                (tag.name, page) for tag in config.images for page in range(_page_count(task, tag.name, self._layout))
            ]  # fmt: skip
        except LocaraError as error:
            self._report.lose(f"task {task.id}", error)
            return []

    def _regions(self, task: AnnotatedTask, annotation: Fields) -> Iterator[RegionMask]:
        """Those with a mask of a wanted kind; polygons of one mask as one."""
        place = f"task {task.id} annotation {annotation_id(annotation)}"
        try:
            entries = self._drawn(annotation)
            found = read_regions(entries)
        except LocaraError as error:
            self._report.lose(place, error)
            return
        for (region, reason), code in zip(found.skipped, found.codes, strict=True):
            self._report.lose_for(f"{place} region {region:.60}", code, reason)
        for one in merge_groups(found.masks):
            if self._is_meant(one, f"{place} region {one.id:.60}"):
                yield one

    def _drawn(self, annotation: Fields) -> list[Any]:
        result = items(annotation.get("result"), "result", "request.region", MAX_REGIONS)
        given = [fields(entry, "a region", "request.region") for entry in result]
        drawn = [entry for entry in given if not _is_no_mask(entry)]
        still = [entry for entry in drawn if not is_moving(entry)]
        self._report.left_out["region.no_mask"] += len(given) - len(drawn)
        self._report.left_out["region.other_kind"] += len(drawn) - len(still)
        return still

    def _is_meant(self, one: RegionMask, place: str) -> bool:
        try:
            tag = self._layout.shown(one.to_name)
        except BadRequest as error:
            self._report.lose(place, error)
            return False
        reason = None
        if tag is not None and tag.kind != "image":
            reason = "region.other_kind"
        elif self._layout.asks_only(one.from_name):
            reason = "region.prompt"
        elif not one.mask.area:
            reason = "region.empty"
        if reason is not None:
            self._report.left_out[reason] += 1
        return reason is None

    def _shot(self, task: AnnotatedTask, to_name: str, page: int, found: _Page, place: str) -> Shot | None:
        layout, report = self._layout, self._report
        if not found.regions and not self._empty:
            report.left_out["picture.empty"] += 1
            return None
        url = reference(task, layout.shown(to_name), to_name, page)
        size = self._size(task, url, found)
        instances: list[Instance] = []
        extras: list[Extra] = []
        for annotation, one in found.regions:
            where = f"{place} annotation {annotation} region {one.id:.60}"
            for instance in self._instances(one, size, where):
                instances.append(instance)
                extras.append(_extra(task, annotation, one))
        if not instances and not self._empty:
            report.left_out["picture.empty"] += 1
            return None
        return Shot(task.id, place, file_name(url, task.id), size, tuple(instances), tuple(extras))

    def _size(self, task: AnnotatedTask, url: str, found: _Page) -> Size:
        """That of the regions; of the picture itself where there are none, or where both are to be compared."""
        told = found.regions[0][1].mask.size if found.regions else None
        if told is not None and not self._verify:
            return told
        true = self._measure(url, task)
        if told is not None and told != true:
            raise BadRequest(f"the picture is of {true}, its regions of {told} (height, width)", code="picture.size")
        return true

    def _instances(self, one: RegionMask, size: Size, where: str) -> Iterator[Instance]:
        """One for each label that is wanted."""
        report = self._report
        if one.mask.size != size:
            said = f"the mask is of {one.mask.size}, the picture of {size} (height, width)"
            report.lose_for(where, "picture.size", said)
            return
        names = list(one.labels) or ([OBJECT] if list(self._layout.names) == [OBJECT] else [])
        if not names:
            report.lose_for(where, "region.no_label", "the mask has no label")
        wanted = [name for name in names if not self._layout.wanted or name in self._layout.wanted]
        report.left_out["region.label"] += bool(names and not wanted)
        known = [name for name in wanted if name in self._layout.names]
        for name in set(wanted) - set(known):
            report.lose_for(where, "region.unknown_label", f"the project has no label {name!r:.100}")
        report.changed["region.labels"] += len(known) > 1
        report.changed["region.filled"] += bool(known) and not one.is_exact
        report.changed["region.parts_left_out"] += _parts_left_out(one) if known else 0
        for name in known:
            yield Instance(name, self._layout.names[name].id - 1, self._score(one), one.mask)

    def _score(self, one: RegionMask) -> float:
        if one.score is None or 0 <= one.score <= 1:
            return 1.0 if one.score is None else one.score
        self._report.changed["region.score"] += 1
        return 1.0


def _is_no_mask(entry: Fields) -> bool:
    """A key point is a mask only where it stands for one that an answer of ours has put beside it."""
    kind, meta = str(entry.get("type")).lower(), entry.get("meta")
    kept = isinstance(meta, dict) and "coco_rle" in meta
    return kind in NO_MASK or (kind.startswith("keypoint") and not kept)


def is_moving(entry: Fields) -> bool:
    """Whether a region is the box of a video."""
    value = entry.get("value")
    return isinstance(value, dict) and "sequence" in value


def _page_count(task: AnnotatedTask, name: str, layout: Layout) -> int:
    tag = layout.shown(name)
    return 1 if tag is None else len(Task(task.id, task.data).urls(tag))


def _place(task: AnnotatedTask, to_name: str, page: int, *, single: bool) -> str:
    return f"task {task.id}" if single else f"task {task.id} {to_name:.60} page {page + 1}"


def _parts_left_out(one: RegionMask) -> int:
    """What a prediction of ours says about a mask of more parts than polygons."""
    count = one.meta.get("parts_left_out")
    return count if type(count) is int and count > 0 else 0


def _extra(task: AnnotatedTask, annotation: int, one: RegionMask) -> Extra:
    return {"label_studio_task": task.id, "label_studio_annotation": annotation, "label_studio_region": one.id}
