"""Annotated tasks, one at a time, from the API or from a JSON export, and which of their annotations are meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from locara_label.batch.prefetch import ahead
from locara_label.datasets import json_stream
from locara_label.errors import BadDataset, BadRequest, FetchFailed, LocaraError
from locara_label.hosts.label_studio.batch import HOPELESS
from locara_label.hosts.label_studio.client import LabelStudio, Task
from locara_label.hosts.label_studio.fields import Fields, fields, items, whole

Pick = Literal["ground-truth", "latest", "all"]

_CODE = "task.bad"
_MOST = 100_000
_AT_A_TIME = 2
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AnnotatedTask:
    """A task with its annotations, as Label Studio gives them.

    Attributes:
        project: None where nothing tells it.
        annotations: cancelled ones too.
        drafts: how many were left in the editor; an export file tells it, the API does not.
    """

    id: int
    project: int | None
    data: Fields = field(hash=False, repr=False)
    annotations: tuple[Fields, ...] = field(hash=False, repr=False)
    drafts: int = 0


@dataclass(frozen=True, slots=True)
class LostTask:
    """A task that cannot be read, and why. `place` is `task 12`, or `tasks[3]` where it has no usable id."""

    place: str
    error: LocaraError


class Tasks(Protocol):
    """Where tasks come from; every iteration begins anew."""

    def __iter__(self) -> Iterator[AnnotatedTask | LostTask]: ...


@dataclass(frozen=True)
class ApiTasks:
    """The tasks of a project by rising id, read ahead by two."""

    client: LabelStudio
    project: int
    limit: int | None = None

    def __iter__(self) -> Iterator[AnnotatedTask | LostTask]:
        tasks = islice(self.client.tasks(self.project), self.limit)
        with closing(ahead(tasks, self._read, _AT_A_TIME, _AT_A_TIME)) as read:
            for _, found in read:
                yield found

    def _read(self, task: Task) -> AnnotatedTask | LostTask:
        try:
            none = task.annotations == 0 and task.cancelled == 0
            found = [] if none else self.client.annotations(task.id, cancelled=task.cancelled != 0)
            return AnnotatedTask(task.id, self.project, task.data, _objects(found))
        except (BadRequest, FetchFailed) as error:
            if error.code in HOPELESS:
                raise
            return LostTask(f"task {task.id}", error)


@dataclass(frozen=True)
class FileTasks:
    """The tasks of a JSON export ("JSON", not "JSON-MIN"), in file order."""

    path: Path
    limit: int | None = None

    def __iter__(self) -> Iterator[AnnotatedTask | LostTask]:
        """Raises BadDataset: the file cannot be read, or is no JSON list."""
        for place, value in enumerate(islice(json_stream.scan_list(self.path), self.limit)):
            try:
                yield _from_file(value)
            except BadRequest as error:
                number = value.get("id") if isinstance(value, dict) else None
                yield LostTask(f"task {number}" if type(number) is int else f"tasks[{place}]", error)


def _from_file(value: Any) -> AnnotatedTask:
    given = fields(value, "a task", _CODE)
    if "annotations" not in given:
        raise BadRequest("a task has no annotations; the export to take is JSON, not JSON-MIN", code=_CODE)
    project = given.get("project")
    drafts = given.get("drafts")
    return AnnotatedTask(
        whole(given.get("id"), "id of a task", _CODE),
        None if project is None else whole(project, "project", _CODE),
        fields(given.get("data"), "data of a task", _CODE),
        _objects(given["annotations"]),
        len(drafts) if isinstance(drafts, list) else 0,
    )


def _objects(value: Any) -> tuple[Fields, ...]:
    return tuple(fields(item, "an annotation", _CODE) for item in items(value, "annotations", _CODE, _MOST))


@dataclass(frozen=True)
class Choice:
    """Which annotations of a task are meant.

    Attributes:
        pick: "ground-truth" takes the newest one that is marked so, else the newest; "latest" the newest; "all" all.
        completed_by: ids or e-mail addresses of annotators; empty for everybody's.
        cancelled: skipped tasks' annotations count too.
    """

    pick: Pick = "ground-truth"
    completed_by: frozenset[str] = frozenset()
    cancelled: bool = False

    def of(self, task: AnnotatedTask) -> tuple[tuple[Fields, ...], Counter[str]]:
        """The annotations that are meant, the oldest first, and how many are left out, by reason."""
        left: Counter[str] = Counter()
        found = []
        for annotation in sorted(task.annotations, key=_age):
            reason = self._unwanted(annotation)
            if reason is None:
                found.append(annotation)
            else:
                left[reason] += 1
        kept = found if self.pick == "all" else self._newest(found)
        left["annotation.not_picked"] += len(found) - len(kept)
        left["annotation.draft"] += task.drafts
        return tuple(kept), +left

    def _newest(self, found: list[Fields]) -> list[Fields]:
        marked = [one for one in found if one.get("ground_truth") is True] if self.pick == "ground-truth" else []
        return (marked or found)[-1:]

    def _unwanted(self, annotation: Fields) -> str | None:
        if annotation.get("was_cancelled") is True and not self.cancelled:
            return "annotation.cancelled"
        if self.completed_by and not self.completed_by & annotators(annotation):
            return "annotation.completed_by"
        return None


def annotators(annotation: Fields) -> frozenset[str]:
    """Who made an annotation: the user's id, and the e-mail address where it is told."""
    by = annotation.get("completed_by")
    named = [by.get("id"), by.get("email")] if isinstance(by, dict) else [by]
    return frozenset(str(name) for name in named if isinstance(name, (int, str)) and name != "")


def annotation_id(annotation: Fields) -> int:
    """0 where it has none."""
    number = annotation.get("id")
    return number if type(number) is int else 0


def _age(annotation: Fields) -> tuple[datetime, int]:
    return _time(annotation.get("updated_at") or annotation.get("created_at")), annotation_id(annotation)


def _time(value: Any) -> datetime:
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return _EARLIEST
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read


def check_list(path: Path) -> None:
    """Refuses a file that is no JSON export, before anything is written.

    Raises:
        BadDataset: as `json_stream.scan_list`, or `dataset.empty` for a list of nothing.
    """
    if next(json_stream.scan_list(path), None) is None:
        raise BadDataset(f"there is no task in {path}", code="dataset.empty")
