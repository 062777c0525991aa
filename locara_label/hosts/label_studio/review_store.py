"""Which requests of annotators were answered, and when: what tells how many clicks and seconds an object took.

Kept in a table of its own beside the masklets. Nothing of a picture or its address is kept, nor where somebody clicked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Row, delete, insert, select

from locara_label.errors import BadOption, StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.store_tables import ANSWERS

Kind = Literal["click", "text", "video"]

MAX_ID = 100
"""Characters of a region's id; Label Studio's own have ten."""
MAX_OBJECTS = 1000
_MAX_NUMBER = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """One object that a request showed: ids of the regions that show it, and of those that were answered, none for a failure."""

    prompts: tuple[str, ...]
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One request of an annotator, answered or failed.

    Attributes:
        project, task: ids in Label Studio.
        at_s: when it arrived, seconds since 1970.
        seconds: from then to the answer.
        kind: what was shown: points, boxes and strokes; words; boxes of a video.
        model: that answered.
        objects: what it showed; an object that is sent again with the next request is in both.

    Raises:
        BadOption: a value is none that can be stored; code answer.field.
    """

    project: int
    task: int
    at_s: float
    seconds: float
    kind: Kind
    model: str
    objects: tuple[Asked, ...]

    def __post_init__(self) -> None:
        numbers = 0 <= self.project <= _MAX_NUMBER and 0 <= self.task <= _MAX_NUMBER
        times = math.isfinite(self.at_s) and math.isfinite(self.seconds) and self.seconds >= 0
        ids = [one for asked in self.objects for one in (*asked.prompts, *asked.regions)]
        short = len(self.objects) <= MAX_OBJECTS and all(0 < len(one) <= MAX_ID for one in ids)
        if not (numbers and times and short) or self.kind not in get_args(Kind):
            raise BadOption(f"{self!r:.200} is no answer to a request", code="answer.field")


class AnswerStore:
    """The answers in a store of masklets, which stays that of whoever opened it. Threads may share it."""

    def __init__(self, store: MaskletStore) -> None:
        """Every method raises StoreFailed, as those of `store` do."""
        self._database = store.database

    def add(self, answers: Iterable[Answer]) -> None:
        """Stores all of them, or none."""
        rows = [_row(one) for one in answers]
        with self._database.writing() as connection:
            if rows:
                connection.execute(insert(ANSWERS), rows)

    def of_project(self, project: int) -> tuple[Answer, ...]:
        """Those of a project by task and time."""
        found = select(ANSWERS).where(ANSWERS.c.project == project).order_by(ANSWERS.c.task, ANSWERS.c.at_s, ANSWERS.c.id)
        with self._database.reading() as connection:
            rows = connection.execute(found).all()
        return tuple(self._answer(row) for row in rows)

    def remove_project(self, project: int) -> int:
        """Forgets those of a project and says how many there were."""
        with self._database.writing() as connection:
            return connection.execute(delete(ANSWERS).where(ANSWERS.c.project == project)).rowcount

    def _answer(self, row: Row[Any]) -> Answer:
        try:
            objects = tuple(Asked(_ids(prompts), _ids(regions)) for prompts, regions in _list(json.loads(row.objects)))
            return Answer(row.project, row.task, float(row.at_s), float(row.seconds), row.kind, str(row.model), objects)
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreFailed(f"{self._database.said} is damaged at an answer: {error}", code="store.damaged") from error


def _row(one: Answer) -> dict[str, Any]:
    objects = json.dumps([[asked.prompts, asked.regions] for asked in one.objects])
    model = one.model.encode("utf-8", "replace").decode("utf-8")
    row = {name: getattr(one, name) for name in ("project", "task", "at_s", "seconds", "kind")}
    return {**row, "model": model, "objects": objects}


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.100} is no list")
    return value


def _ids(value: Any) -> tuple[str, ...]:
    if not all(isinstance(one, str) for one in _list(value)):
        raise TypeError(f"{value!r:.100} is no list of ids")
    return tuple(value)
