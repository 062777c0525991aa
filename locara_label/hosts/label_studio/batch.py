"""Pre-labels for the tasks of a project, written through Label Studio's API: one task after the other, none twice.

Label Studio can ask a backend itself, but sends all tasks in one request, cuts it off after 100 s, keeps nothing of it then and
tells nobody. This loop has none of these limits.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, takewhile

from locara_label import images
from locara_label.batch.prefetch import ahead
from locara_label.batch.rows import Failure
from locara_label.batch.worker import AT_A_TIME, Control
from locara_label.errors import Cancelled, FetchFailed, LocaraError
from locara_label.fetch import Fetcher
from locara_label.hosts.label_studio.client import LabelStudio, Task
from locara_label.hosts.label_studio.phrases import of_config
from locara_label.hosts.label_studio.requests import Task as TaskData
from locara_label.hosts.label_studio.results import Picture, prediction
from locara_label.hosts.label_studio.targets import (
    Found,
    Options,
    Shown,
    Target,
    find_targets,
    pictures_of,
    regions_of,
    selected,
    unmapped,
)
from locara_label.models.base import Limit, SegmentationModel
from locara_label.models.grounded import GroundedSam2

HOPELESS = frozenset({"fetch.unreachable", "fetch.timeout", "fetch.unauthorised"})
"""Codes after which writing the next prediction would fail too."""


@dataclass(frozen=True, slots=True)
class FailedTask:
    task: int
    error: Failure


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        total: tasks that were meant.
        written: tasks that got a prediction now; `empty` of them one without regions. A run that was stopped may have written
            two more, which the next run finds.
        skipped: tasks that had a prediction of this version before.
        failed: tasks that could not be labelled; the next run tries them again.
        regions: of all written predictions.
        dropped: regions left out, by reason: "label", "score", "area", "number".
        unmapped: classes of the model that no label of the project stands for.
        interrupted: `Control` ended the run early.
        stopped: why the run gave up early, None if it did not.
    """

    project: int
    model_version: str
    total: int
    written: int
    empty: int
    skipped: int
    failed: tuple[FailedTask, ...]
    regions: int
    dropped: dict[str, int]
    unmapped: tuple[str, ...]
    interrupted: bool
    stopped: Failure | None
    seconds: float

    @property
    def is_complete(self) -> bool:
        return self.stopped is None and not self.interrupted and not self.failed


@dataclass(frozen=True, slots=True)
class _Written:
    """A task that is done; `regions` is None if it was done before."""

    task: int
    regions: int | None = None
    dropped: Counter[str] = field(default_factory=Counter)


class _Stopped(Exception):
    def __init__(self, error: LocaraError) -> None:
        super().__init__(error)
        self.failure = Failure(error.code, error.message)


def _silent(done: int, total: int) -> None:
    """No progress is shown."""


def prelabel_project(
    client: LabelStudio,
    model: SegmentationModel | GroundedSam2,
    options: Options,
    progress: Callable[[int, int], None] = _silent,
    *,
    fetcher: Fetcher,
    control: Control | None = None,
) -> Summary:
    """Writes a prediction for each task of a project that has none of this model version yet.

    A task without regions gets a prediction too, an empty one: that is how the next run knows that it is done.

    Args:
        client: of the Label Studio.
        model: at most two threads use it at a time. One that understands text looks for the labels of the project.
        options: what and how.
        progress: told how many tasks are done, skipped ones included, and how many there are; once before the first.
        fetcher: reads the tasks' pictures.
        control: ends the run early.

    Raises:
        FetchFailed: the project or its tasks cannot be read.
        BadRequest: the project's config has no place for masks, or no label for any of the model's classes.
        BadPrompt: the project has too many labels for a model that understands text.
    """
    begun = time.monotonic()
    project = client.project(options.project)
    if isinstance(model, GroundedSam2):
        model = of_config(model, project.config)
    targets = find_targets(project.config, model)
    total = min(project.tasks, options.limit or project.tasks, len(options.only or range(project.tasks)))
    work = _Work(client, model, fetcher, options, targets=targets, control=control or Control())
    done = client.tasks_with(options.project, options.model_version)
    tally = _Tally()
    progress(0, total)
    try:
        for outcome in work.outcomes(_meant(client.tasks(options.project), options), done):
            tally.add(outcome)
            progress(tally.count, total)
    except _Stopped as error:
        tally.stopped = error.failure
    except FetchFailed as error:  # the next page of tasks
        tally.stopped = Failure(error.code, error.message)
    except Cancelled:
        pass
    return _summary(tally, work, max(total, tally.count), time.monotonic() - begun)


def _meant(tasks: Iterator[Task], options: Options) -> Iterator[Task]:
    chosen = tasks if options.only is None else (task for task in tasks if task.id in (options.only or ()))
    return islice(chosen, options.limit)


class _Work:
    """A task's way: fetch, decode, segment, write. Two tasks are on it at a time, so that the model seldom waits."""

    def __init__(
        self,
        client: LabelStudio,
        model: SegmentationModel,
        fetcher: Fetcher,
        options: Options,
        *,
        targets: tuple[Target, ...],
        control: Control,
    ) -> None:
        self._client, self.model, self._fetcher = client, model, fetcher
        self.options, self.targets, self.control = options, targets, control

    def outcomes(self, tasks: Iterator[Task], done: set[int]) -> Iterator[_Written | FailedTask]:
        """In the order of the tasks; when the control ends the run, those in work are the last."""
        begun = takewhile(lambda _: not self.control.is_ending, tasks)
        with closing(ahead(begun, lambda task: self._one(task, done), AT_A_TIME, 1 + AT_A_TIME)) as worked:
            for _, outcome in worked:
                yield outcome
                self.control.tick()

    def _one(self, task: Task, done: set[int]) -> _Written | FailedTask:
        if task.id in done:
            return _Written(task.id)
        if self.control.stop.is_set:
            raise Cancelled(f"stopped before task {task.id}")
        try:
            return self._write(task, self._find(task))
        except (Cancelled, _Stopped):
            raise
        except LocaraError as error:
            return FailedTask(task.id, Failure(error.code, error.message))
        except Exception as error:  # noqa: BLE001 - one task that nobody thought of never ends a run
            return FailedTask(task.id, Failure("internal", f"{type(error).__name__}: {error}"[:300]))

    def _find(self, task: Task) -> list[_Result]:
        shown = pictures_of(TaskData(task.id, task.data), self.targets)
        return [self._found(task, one) for one in shown]

    def _found(self, task: Task, shown: Shown) -> _Result:
        options = self.options
        image = images.read(self._bytes(task, shown.url), options.limits)
        found = self.model.segment(image, options.threshold, Limit(self.control.stop, options.deadline_s))
        return _Result(shown.place((image.shape[0], image.shape[1])), *selected(found, shown.target, options))

    def _bytes(self, task: Task, address: str) -> bytes:
        try:
            return self._fetcher.read(
                address,
                max_bytes=self.options.limits.max_bytes,
                stop=self.control.stop,
                task_id=task.id,
                project_id=self.options.project,
            )
        except FetchFailed as error:
            if error.code in HOPELESS:
                self._check_connection()
            raise

    def _check_connection(self) -> None:
        """Whatever served the picture is away; if that was Label Studio, so is everything else."""
        try:
            self._client.whoami()
        except FetchFailed as error:
            raise _Stopped(error) from error

    def _write(self, task: Task, found: list[_Result]) -> _Written:
        version = self.options.model_version
        regions = [region for result in found for region in regions_of(result.kept, result.picture, self.options)]
        entry = prediction(regions, version)
        try:
            self._client.create_prediction(task.id, entry["result"], entry["score"], version)
        except FetchFailed as error:
            if error.code in HOPELESS:
                raise _Stopped(error) from error
            raise
        dropped = sum((result.dropped for result in found), Counter[str]())
        return _Written(task.id, sum(len(result.kept) for result in found), dropped)


@dataclass(frozen=True, slots=True)
class _Result:
    picture: Picture
    kept: list[Found]
    dropped: Counter[str]


class _Tally:
    """Outcomes, added up."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.skipped = 0
        self.failed: list[FailedTask] = []
        self.dropped: Counter[str] = Counter()
        self.stopped: Failure | None = None

    @property
    def count(self) -> int:
        return len(self.written) + self.skipped + len(self.failed)

    def add(self, outcome: _Written | FailedTask) -> None:
        if isinstance(outcome, FailedTask):
            self.failed.append(outcome)
        elif outcome.regions is None:
            self.skipped += 1
        else:
            self.written.append(outcome.regions)
            self.dropped.update(outcome.dropped)


def _summary(tally: _Tally, work: _Work, total: int, seconds: float) -> Summary:
    return Summary(
        project=work.options.project,
        model_version=work.options.model_version,
        total=total,
        written=len(tally.written),
        empty=tally.written.count(0),
        skipped=tally.skipped,
        failed=tuple(tally.failed),
        regions=sum(tally.written),
        dropped=dict(tally.dropped),
        unmapped=unmapped(work.targets, work.model),
        interrupted=tally.stopped is None and work.control.is_ending and tally.count < total,
        stopped=tally.stopped,
        seconds=seconds,
    )
