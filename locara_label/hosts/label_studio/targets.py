"""Where in a project the regions of a segmentation model go, and which of them are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from locara_label import images
from locara_label.errors import BadOption, BadRequest
from locara_label.hosts.label_studio import config as configs
from locara_label.hosts.label_studio.config import ObjectTag, Output
from locara_label.hosts.label_studio.label_map import LabelMap, map_labels
from locara_label.hosts.label_studio.requests import Task
from locara_label.hosts.label_studio.results import TOLERANCE_PX, Picture, Region, mask_regions
from locara_label.models.base import SegmentationModel
from locara_label.types import Instance

MAX_QUICK_BRUSHES = 50
_MAX_VERSION = 200


@dataclass(frozen=True)
class Options:
    """What to pre-label and how.

    Attributes:
        project: its id.
        model_version: marks the predictions; a task that has one of this version is left alone. Without a comma.
        threshold: least score of a region, None for the model's own; labels of the config may ask for more.
        min_area: least area of a region in pixels.
        max_regions: regions of one task at most, the best ones.
        limit: take only the first tasks of the project, by id; None for all.
        only: ids of the tasks to take; None for all.
        tolerance_px: how far a polygon may lie off the outline of its mask.
        limits: what a picture may cost.
        deadline_s: seconds that the model may take for a picture.

    Raises:
        BadOption: a value is outside its range.
    """

    project: int
    model_version: str
    threshold: float | None = None
    min_area: int = 0
    max_regions: int = 100
    limit: int | None = None
    only: frozenset[int] | None = None
    tolerance_px: float = TOLERANCE_PX
    limits: images.Limits = images.DEFAULT_LIMITS
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        version = self.model_version
        if not 0 < len(version) <= _MAX_VERSION or "," in version or version != version.strip() or not version.isprintable():
            raise BadOption(f"a model version is a text without commas, got {version!r}", code="option.model_version")
        if self.min_area < 0 or self.max_regions < 1 or (self.limit is not None and self.limit < 1):
            raise BadOption("min_area is at least 0, max_regions and limit at least 1", code="option.range")


@dataclass(frozen=True, slots=True)
class Target:
    """Where in a project masks go: each class of the model to the first place that has a label for it."""

    picture: ObjectTag
    places: tuple[tuple[Output, LabelMap], ...]

    def place(self, name: str) -> tuple[Output, LabelMap] | None:
        return next((place for place in self.places if name in place[1].labels), None)


@dataclass(frozen=True, slots=True)
class Found:
    """A region that is to be written; the instance has the project's label."""

    instance: Instance
    output: Output


def find_targets(config: str, model: SegmentationModel) -> tuple[Target, ...]:
    """The pictures of a config on which masks can be drawn, and what the model's classes are called there.

    Raises:
        BadRequest: no such picture, or no label stands for any class of the model; code config.unusable.
    """
    parsed = configs.parse(config)
    names = [label.name for label in model.labels]
    all_places = {
        picture: tuple((output, map_labels(names, output.names or output.shape)) for output in parsed.outputs(picture.name))
        for picture in parsed.images
    }
    found = tuple(Target(picture, places) for picture, places in all_places.items() if any(labels.labels for _, labels in places))
    if found:
        return found
    theirs = [
        name for places in all_places.values() for output, _ in places for name in (output.names or output.shape).label_names
    ]
    if theirs:
        raise BadRequest(_nothing_in_common(model, theirs), code="config.unusable")
    raise BadRequest("the labeling config has no Image with a control for masks, such as BrushLabels", code="config.unusable")


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a task: where its masks go, its URL, and which page of a `valueList` it is, from 0."""

    target: Target
    url: str
    page: int | None = None

    def place(self, size: tuple[int, int]) -> Picture:
        """Where regions of this picture of (height, width) pixels belong."""
        return Picture(self.target.picture.name, size, item_index=self.page)


def pictures_of(task: Task, targets: Iterable[Target]) -> list[Shown]:
    """Every picture of a task that gets pre-labels.

    Raises:
        BadRequest: the task's data lacks one; code task.data.
    """
    found = []
    for target in targets:
        paged = target.picture.value_list is not None
        found += [Shown(target, url, page if paged else None) for page, url in enumerate(task.urls(target.picture))]
    return found


def unmapped(targets: Iterable[Target], model: SegmentationModel) -> tuple[str, ...]:
    """Classes of the model that no label stands for on any picture."""
    names = [label.name for label in model.labels]
    return tuple(name for name in names if not any(target.place(name) for target in targets))


def _nothing_in_common(model: SegmentationModel, labels: list[str]) -> str:
    theirs, ours = (", ".join(map(repr, names[:8])) for names in (labels, [label.name for label in model.labels]))
    return (
        f"no label of the project ({theirs}) stands for a class of {model.name} ({ours}, ...); "
        'give labels the names of classes or predicted_values="class, class"'
    )


def selected(found: list[Instance], target: Target, options: Options) -> tuple[list[Found], Counter[str]]:
    """What is written, under the project's labels, best first; and how many regions were left out, by reason."""
    kept, dropped = list[Found](), Counter[str]()
    for instance in sorted(found, key=lambda instance: -instance.score):
        place = target.place(instance.label)
        label = place[1].label(instance.label, instance.score) if place else None
        if place is None or label is None:
            dropped["score" if place else "label"] += 1
        elif instance.mask.area < options.min_area:
            dropped["area"] += 1
        elif len(kept) == options.max_regions:
            dropped["number"] += 1
        else:
            kept.append(Found(replace(instance, label=label), place[0]))
    return kept, dropped


def regions_of(kept: Iterable[Found], picture: Picture, options: Options) -> list[Region]:
    """What `selected` keeps, as regions of a picture."""
    regions: list[Region] = []
    for found in kept:
        one = found.instance
        regions += mask_regions(
            one.mask,
            one.label,
            found.output,
            picture,
            model_version=options.model_version,
            score=one.score,
            tolerance_px=options.tolerance_px,
        )
    return regions


def slows_the_editor(regions: Iterable[Region]) -> bool:
    """More brush masks than the editor draws without freezing the browser for seconds."""
    return sum(region["type"] in {"brush", "brushlabels"} for region in regions) > MAX_QUICK_BRUSHES
