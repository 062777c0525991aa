"""One loaded model working through shards: fetch, decode, label, write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from locara_label import images
from locara_label.batch.bucket_folder import open_folder
from locara_label.batch.buckets import Place
from locara_label.batch.inputs import Item
from locara_label.batch.pictures import fetch
from locara_label.batch.plan import Plan, Shard
from locara_label.batch.prefetch import ahead
from locara_label.batch.rows import Failed, Failure, Row, labelled, to_line
from locara_label.errors import Cancelled, PlanChanged
from locara_label.models.base import Image, Limit, SegmentationModel
from locara_label.runtime.session import Stop


@dataclass
class Control:
    """How whoever started a job steers it from other threads.

    Attributes:
        stop: ends the picture that is being worked on, and with it the job.
        finishing: the shard that is being worked on is the last.
        tick: called after each picture.
    """

    stop: Stop = field(default_factory=Stop)
    finishing: threading.Event = field(default_factory=threading.Event)
    tick: Callable[[], None] = lambda: None

    @property
    def is_ending(self) -> bool:
        return self.finishing.is_set() or self.stop.is_set


class ModelSource:
    """Loads a model when it is first needed. Travels to other processes without the loaded model.

    Attributes:
        identity: finds `Plan.weights` of the weights that are on the machine where it is called; None where they are everywhere
            the same.
    """

    def __init__(self, load: Callable[[], SegmentationModel], identity: Callable[[], str] | None = None) -> None:
        self._load, self.identity = load, identity
        self._model: SegmentationModel | None = None

    def get(self) -> SegmentationModel:
        """The model; the same one each time."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        return {"_load": self._load, "identity": self.identity, "_model": None}


@dataclass(frozen=True)
class Outcome:
    """A finished shard: its number, how many pictures it has, and those that failed."""

    shard: int
    pictures: int
    failed: tuple[Failed, ...]


@dataclass(frozen=True)
class Task:
    """Everything that a process needs to work on shards of a plan; picklable where the model source is.

    Attributes:
        root: folder of the pictures.
        folder: folder of the job, the same for all workers.
        limits: what a picture may cost.
        deadline_s: seconds that the model may take for a picture.
    """

    plan: Plan
    root: Place
    folder: Place
    source: ModelSource
    limits: images.Limits = images.DEFAULT_LIMITS
    deadline_s: float | None = None

    def open(self, control: Control | None = None) -> Worker:
        """Loads the model.

        Raises:
            PlanChanged: it is another model than the plan was made with.
        """
        model = self.source.get()
        check_model(self.plan, model)
        return Worker(self, model, control or Control())


def check_model(plan: Plan, model: SegmentationModel) -> None:
    """Refuses a model that would give other rows than those of the plan's finished shards.

    Raises:
        PlanChanged: the labels differ, or the execution provider.
    """
    if plan.provider != model.provider:
        raise PlanChanged(f"the finished shards ran on {plan.provider}, the model is now on {model.provider}; {HOW_TO_GO_ON}")
    if plan.labels != model.labels:
        raise PlanChanged(f"the labels of {plan.model} are not those of the finished shards; {HOW_TO_GO_ON}")


AT_A_TIME = 2
HOW_TO_GO_ON = "use --new to start afresh, or another --out"


class Worker:
    """Works on shards with one model; not to be shared by threads."""

    def __init__(self, task: Task, model: SegmentationModel, control: Control) -> None:
        self._task, self._model, self._control = task, model, control
        self._folder = open_folder(task.folder)

    def outcomes(self, shards: Iterable[Shard]) -> Iterator[Outcome]:
        """Writes shard after shard. Two pictures are in work at a time: the model runs on one, the other is decoded or encoded.

        Raises:
            Cancelled: `Control.stop` was set; the shard in work is lost.
            BatchError: the disk refuses a shard.
        """
        todo = list(shards)
        items = (item for shard in todo for item in shard.items)
        with closing(ahead(items, self._work, AT_A_TIME, 1 + AT_A_TIME)) as worked:
            for shard in todo:
                if self._control.is_ending:
                    return
                yield self.finish(shard, (row for _, row in islice(worked, len(shard.items))))

    def finish(self, shard: Shard, rows: Iterable[Row]) -> Outcome:
        """Writes a shard once all of its rows are there.

        Raises:
            BatchError: the disk refuses it.
        """
        lines: list[bytes] = []
        failed: list[Failed] = []
        for row in rows:
            lines.append(to_line(row))
            failed += [row] if isinstance(row, Failed) else []
            self._control.tick()
        self._folder.write_shard(shard, lines)
        return Outcome(shard.number, len(lines), tuple(failed))

    def label(self, item: Item, picture: Image | Failure) -> Row:
        """The row of a fetched picture.

        Raises:
            Cancelled: `Control.stop` was set.
        """
        if isinstance(picture, Failure):
            return Failed(item.file_name, picture)
        limit = Limit(self._control.stop, self._task.deadline_s)
        try:
            found = self._model.segment(picture, self._task.plan.threshold, limit)
            return labelled(item.file_name, (picture.shape[0], picture.shape[1]), found)
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - one picture that a model cannot stand never ends a job
            return Failed(item.file_name, Failure.of(error))

    def _work(self, item: Item) -> Row:
        return self.label(item, fetch(self._task.root, item, self._task.limits))
