"""What people made of a project's pre-labels and answers, read from Label Studio's API.

Nothing that a webhook said is believed: it comes without credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from locara_label.errors import BadRequest, FetchFailed
from locara_label.hosts.label_studio.batch import HOPELESS
from locara_label.hosts.label_studio.client import LabelStudio, Prediction
from locara_label.hosts.label_studio.config import parse
from locara_label.hosts.label_studio.export import picked
from locara_label.hosts.label_studio.export_report import Report
from locara_label.hosts.label_studio.export_tasks import AnnotatedTask, ApiTasks, Choice, annotation_id, annotators
from locara_label.hosts.label_studio.fields import Fields
from locara_label.hosts.label_studio.review_efforts import Effort, by_region, efforts
from locara_label.hosts.label_studio.review_regions import Change, Drawings, Source, Status, changes, drawings
from locara_label.hosts.label_studio.review_store import Answer

Progress = Callable[[int], None]
_MAX_LEAD_S = 1e9


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is reviewed.

    Attributes:
        project: its id.
        choice: which annotations.
        labels: regions under these labels; empty for all.
        version: compare with the predictions of this model version; None for those that the annotations started from.
        limit: the first tasks only.
    """

    project: int
    choice: Choice = field(default_factory=lambda: Choice("all"))
    labels: frozenset[str] = frozenset()
    version: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What became of one region of one annotation.

    Attributes:
        annotator: the user's id as text; empty where it is not told.
        region: the region's id.
        label: the final one, of a deleted region the pre-label's; empty for none.
        status, source, iou, boundary_px, relabeled: see `Change`.
        version: of the pre-label, else the model that answered; empty for what was drawn by hand.
        score: as the model gave it, None where it is not told.
        clicks, seconds: see `Effort`; None where no request of it was recorded.
    """

    task: int
    annotation: int
    annotator: str
    region: str
    label: str
    status: Status
    source: Source
    version: str
    relabeled: bool = False
    score: float | None = None
    iou: float | None = None
    boundary_px: float | None = None
    clicks: int | None = None
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Seen:
    """One annotation.

    Attributes:
        annotator: see `Reviewed`.
        version: of the pre-label that it is compared with; None without one.
        score: of that pre-label.
        agreement: mean IoU of the final regions and of deleted pre-labels, 0 for what has no partner; None without a pre-label,
            1 where neither has a region.
        objects: final regions.
        lead_s: how long it took as Label Studio tells, None where it does not.
    """

    task: int
    annotation: int
    annotator: str
    version: str | None
    score: float | None
    agreement: float | None
    objects: int
    lead_s: float | None

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass
class Review:
    """What was found.

    Attributes:
        regions: of all annotations, by task.
        annotations: likewise.
        requests: that were recorded for the project, `failed` of them without an answer.
        objects: that were shown on tasks which have an annotation, `unused` of them in none.
        report: what was read, left out and lost.
    """

    project: int
    regions: list[Reviewed] = field(default_factory=list)
    annotations: list[Seen] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    objects: int = 0
    unused: int = 0
    report: Report = field(default_factory=Report)


def review_project(
    client: LabelStudio, wanted: Wanted, answers: Sequence[Answer] = (), progress: Progress = lambda _: None
) -> Review:
    """Compares every annotation that is meant with its pre-label.

    Args:
        client: to read from; nothing is changed.
        wanted: what is reviewed.
        answers: as recorded by the server that answered, see `AnswerStore`.
        progress: called with the number of tasks that are done.

    Returns:
        The review; what could not be read is in its `report` and does not cost the rest.

    Raises:
        FetchFailed: Label Studio is away, or does not know the project or the token.
        BadRequest: code `config.bad`.
    """
    config = parse(client.project(wanted.project).config)
    asking = frozenset(control.name for control in config.controls if control.smart_only)
    work = _Work(client, wanted, asking, efforts(answers))
    work.review.requests = len(answers)
    work.review.failed = sum(not any(asked.regions for asked in one.objects) for one in answers)
    for number, task in enumerate(ApiTasks(client, wanted.project, wanted.limit), 1):
        meant = picked(task, wanted.choice, work.review.report)
        if meant is not None:
            work.task(*meant)
        progress(number)
    return work.finished()


class _Work:
    def __init__(self, client: LabelStudio, wanted: Wanted, asking: frozenset[str], found: list[Effort]) -> None:
        self.review = Review(wanted.project)
        self._client, self._wanted, self._asking = client, wanted, asking
        self._efforts, self._by_region = found, by_region(found)
        self._tasks, self._used = set[int](), set[int]()

    def task(self, task: AnnotatedTask, annotations: Sequence[Fields]) -> None:
        try:
            predictions = self._client.predictions(task.id)
        except FetchFailed as error:
            if error.code in HOPELESS:
                raise
            self.review.report.lose(f"task {task.id}", error)
            return
        self._tasks.add(task.id)
        self._mark_used(task)
        for annotation in annotations:
            self._annotation(task.id, annotation, predictions)

    def _mark_used(self, task: AnnotatedTask) -> None:
        """What is in any annotation of a task, whether that is reviewed or not, was not shown in vain."""
        results = [annotation.get("result") for annotation in task.annotations]
        entries = [entry for result in results if isinstance(result, list) for entry in result if isinstance(entry, dict)]
        found = (self._by_region.get((task.id, str(entry.get("id")))) for entry in entries)
        self._used |= {id(effort) for effort in found if effort is not None}

    def finished(self) -> Review:
        shown = [one for one in self._efforts if one.task in self._tasks]
        self.review.objects = len(shown)
        self.review.unused = sum(id(one) not in self._used for one in shown)
        return self.review

    def _annotation(self, task: int, annotation: Fields, predictions: Sequence[Prediction]) -> None:
        place = f"task {task} annotation {annotation_id(annotation)}"
        start, reason = _start(annotation, predictions, self._wanted.version)
        if reason is not None:
            self.review.report.left_out[reason] += 1
            return
        try:
            before = self._drawings(list(start.result) if start else [], place)
            after = self._drawings(annotation.get("result"), place)
            self.review.report.left_out["region.no_mask"] += after.no_mask
        except BadRequest as error:
            self.review.report.lose(place, error)
            return
        found = [one for one in changes(before.drawn, after.drawn) if self._is_wanted(one)]
        by = _annotator(annotation)
        self.review.regions += [self._reviewed(one, task, annotation_id(annotation), by, start) for one in found]
        self.review.annotations.append(_seen(task, annotation, by, start, found))

    def _drawings(self, result: Any, place: str) -> Drawings:
        found = drawings(result, self._asking)
        for region, code, reason in found.skipped:
            self.review.report.lose_for(f"{place} region {region:.60}", code, reason)
        return found

    def _is_wanted(self, change: Change) -> bool:
        labels = {label for one in (change.before, change.after) if one is not None for label in one.labels}
        if not self._wanted.labels or labels & self._wanted.labels:
            return True
        self.review.report.left_out["region.label"] += 1
        return False

    def _reviewed(self, one: Change, task: int, annotation: int, by: str, start: Prediction | None) -> Reviewed:
        region = one.region
        effort = next((found for key in (region.key, region.id) if (found := self._by_region.get((task, key)))), None)
        return Reviewed(
            task,
            annotation,
            by,
            region.id,
            region.label,
            one.status,
            one.source,
            _version(one, start, effort),
            one.is_relabeled,
            region.score if one.before is None else one.before.score,
            one.iou,
            one.boundary_px,
            effort.clicks if effort else None,
            effort.seconds if effort else None,
        )


def _start(annotation: Fields, predictions: Sequence[Prediction], version: str | None) -> tuple[Prediction | None, str | None]:
    """The prediction that an annotation is compared with, None for none; or why it cannot be compared."""
    ordered = sorted(predictions, key=lambda one: one.id)
    if version is not None:
        found = [one for one in ordered if one.model_version == version]
        return (found[-1], None) if found else (None, "prediction.version")
    parent = annotation.get("parent_prediction")
    if type(parent) is int:
        same = [one for one in ordered if one.id == parent]
        return (same[0], None) if same else (None, "prediction.gone")
    return (ordered[-1] if ordered else None), None


def _version(one: Change, start: Prediction | None, effort: Effort | None) -> str:
    if one.source == "hand":
        return ""
    if one.source == "prelabel":
        return (start.model_version if start else "") or one.region.version
    return effort.model if effort else one.region.version


def _seen(task: int, annotation: Fields, by: str, start: Prediction | None, found: Sequence[Change]) -> Seen:
    final = [one for one in found if one.after is not None]
    ious = [one.iou or 0.0 if one.source == "prelabel" else 0.0 for one in found]
    agreement = sum(ious) / len(ious) if ious else 1.0
    version, score = (start.model_version, start.score) if start else (None, None)
    told = agreement if start else None
    return Seen(task, annotation_id(annotation), by, version, score, told, len(final), _lead_s(annotation))


def _lead_s(annotation: Fields) -> float | None:
    seconds = annotation.get("lead_time")
    return float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < _MAX_LEAD_S else None


def _annotator(annotation: Fields) -> str:
    """The id where it is told: an address says more about somebody than a review needs."""
    named = sorted(annotators(annotation), key=lambda one: (not one.isdecimal(), one))
    return named[0] if named else ""


def worst_tasks(found: Review) -> list[tuple[int, float]]:
    """Ids of tasks with the agreement of their worst annotation, the worst first."""
    worst: dict[int, float] = {}
    for one in found.annotations:
        if one.agreement is not None:
            worst[one.task] = min(worst.get(one.task, 1.0), one.agreement)
    return sorted(worst.items(), key=lambda pair: (pair[1], pair[0]))
