"""Who works on which shard. A `Map` is the whole difference between this process and a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from locara_label.batch.plan import Shard
from locara_label.batch.worker import Control, ModelSource, Outcome, Task
from locara_label.types import Label

Map = Callable[[Task, Sequence[Shard], Control], Iterator[Outcome]]
"""Finishes shards of a task in any order and tells each one when its file is written.

Obligations: every shard that is told is on disk under its own name; no shard is begun once `Control.is_ending`; `Cancelled`
is raised when `Control.stop` ended a shard; each process opens the task once, so that it loads one model."""


@dataclass(frozen=True)
class Facts:
    """What only a loaded model knows: its execution provider and its labels."""

    provider: str
    labels: tuple[Label, ...]


Describe = Callable[[ModelSource], Facts]
"""Loads a model where shards will run."""


def loaded(source: ModelSource) -> Facts:
    """The facts of the model in this process."""
    model = source.get()
    return Facts(model.provider, model.labels)


def local(task: Task, shards: Sequence[Shard], control: Control) -> Iterator[Outcome]:
    """One shard after the other, with one model, in this process."""
    if shards:
        yield from task.open(control).outcomes(shards)
