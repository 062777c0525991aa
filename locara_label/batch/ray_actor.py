"""What runs on a cluster: models in actors, and tasks that decode pictures for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from locara_label import __version__, images
from locara_label.batch.buckets import Place
from locara_label.batch.inputs import Item
from locara_label.batch.pictures import fetch
from locara_label.batch.plan import Shard
from locara_label.batch.ray_cluster import Cluster
from locara_label.batch.rows import Failure, Row
from locara_label.batch.runner import Facts, loaded
from locara_label.batch.worker import AT_A_TIME, HOW_TO_GO_ON, ModelSource, Outcome, Task, Worker
from locara_label.errors import BatchError, PlanChanged
from locara_label.models.base import Image

_AHEAD = 2
_TOGETHER_BYTES = 8 << 20
_TRIES = 2
_PATIENCE_S = 300

Picture = Image | Failure


def _decoded(root: Place, items: tuple[Item, ...], limits: images.Limits, max_bytes: int) -> Iterator[list[Picture]]:
    """Small pictures go together: each journey to another process costs about as much as a small picture's decoding."""
    together: list[Picture] = []
    for item in items:
        together.append(fetch(root, item, limits))
        if sum(0 if isinstance(one, Failure) else one.nbytes for one in together) >= max_bytes:
            yield together
            together = []
    yield together


class Labeller:
    """One model in a process of its own. Several threads of it work on a shard each; few of them are in the model at a time."""

    def __init__(self, source: ModelSource, cluster: Cluster) -> None:
        self._source = source
        self._in_model = threading.Semaphore(AT_A_TIME if cluster.gpus_per_actor else 1)
        self._stream = ray.remote(
            num_cpus=cluster.decoder_cpus,
            num_returns="streaming",
            _generator_backpressure_num_objects=_AHEAD,
        )(_decoded)
        self._task: Task | None = None
        self._worker: Worker | None = None

    def facts(self) -> Facts:
        """Loads the model."""
        return loaded(self._source)

    def open(self, task: Task) -> None:
        """Must come before any work, in each life of the actor.

        Args:
            task: with a plan that needs no pictures.

        Raises:
            PlanChanged: this machine has another release, other weights, or runs the model on another provider.
            BatchError: this machine does not see the job's folders; code batch.not_shared.
        """
        _check_machine(task)
        task = replace(task, source=self._source)
        self._task, self._worker = task, task.open()

    def work(self, shard: Shard) -> Outcome:
        """Writes a shard."""
        return self._opened()[1].finish(shard, self._rows(shard.items))

    def row(self, item: Item) -> Row:
        """The row of one picture, to be written by whoever asked."""
        return next(self._rows((item,)))

    def _opened(self) -> tuple[Task, Worker]:
        if self._task is None or self._worker is None:
            raise BatchError("the worker was not opened", code="internal")
        return self._task, self._worker

    def _rows(self, items: tuple[Item, ...]) -> Iterator[Row]:
        task, worker = self._opened()
        for item, picture in self._pictures(task, items):
            with self._in_model:
                row = worker.label(item, picture)
            yield row

    def _pictures(self, task: Task, items: tuple[Item, ...]) -> Iterator[tuple[Item, Picture]]:
        """Decoded in another process. Pictures that end such processes are failures, each found by going on one by one."""
        left, max_bytes = deque(items), _TOGETHER_BYTES
        while left:
            tries = {"max_retries": 0 if max_bytes else _TRIES - 1}
            stream = self._stream.options(**tries).remote(task.root, tuple(left), task.limits, max_bytes)
            if not ray.wait([stream], timeout=_PATIENCE_S)[0]:  # other jobs have all CPUs: better slow than never
                ray.cancel(stream)
                yield from ((item, fetch(task.root, item, task.limits)) for item in left)
                return
            while left and (together := _next(stream)) is not None:
                yield from ((left.popleft(), picture) for picture in together)
            if left and not max_bytes:
                yield (
                    left.popleft(),
                    Failure("image.worker_died", f"the picture ended {_TRIES} processes that tried to decode it"),
                )
            max_bytes = 0


def _next(stream: Any) -> list[Picture] | None:
    try:
        found: list[Picture] = ray.get(next(stream))
    except RayError:
        return None
    return found


def _check_machine(task: Task) -> None:
    node = ray.util.get_node_ip_address()
    if task.plan.version != __version__:
        text = f"the machine {node} has locara-label {__version__}, the job was planned with {task.plan.version}"
        raise PlanChanged(f"{text}; {HOW_TO_GO_ON}")
    for what, folder in (("the pictures", task.root), ("the job's folder", task.folder)):
        if isinstance(folder, Path) and not folder.is_dir():
            text = f"the machine {node} does not see {what}, {folder}; all need one shared folder, or an object store"
            raise BatchError(text, code="batch.not_shared")
    identity = task.source.identity
    if identity is not None and (found := identity()) != task.plan.weights:
        text = f"the machine {node} has other weights of {task.plan.model} ({found:.12}) than the plan ({task.plan.weights:.12})"
        raise PlanChanged(f"{text}; {HOW_TO_GO_ON}")
