"""A pre-labelling job from its plan to its data sets. A killed job goes on where it was and gives the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from locara_label.batch import outputs
from locara_label.batch.bucket_folder import open_folder
from locara_label.batch.buckets import Place
from locara_label.batch.folder import RESUMABLE, Folder
from locara_label.batch.labels import LabelMap, categories
from locara_label.batch.outputs import Counts, Merge
from locara_label.batch.plan import Plan, Shard
from locara_label.batch.rows import Failed
from locara_label.batch.runner import Describe, Map, loaded, local
from locara_label.batch.worker import HOW_TO_GO_ON, Control, ModelSource, Outcome, Task
from locara_label.errors import BatchError, Cancelled, PlanChanged
from locara_label.images import DEFAULT_LIMITS, Limits


def _ignore(done: int) -> None:
    del done


@dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        plan: without provider and labels, which the model tells.
        root: the folder that the plan's pictures are in.
        folder: what the job writes into.
        label_map: applied when data sets are written, so another one needs no new run of the model.
        formats: names in `outputs.FORMATS`.
        new: drop what an earlier job left in the folder.
        retry_failed: work again on every shard that holds a failure.
        max_errors: failures that are too many when exceeded, judged after each shard; None for any number.
        progress: called once with the pictures done by earlier runs; `Control.tick` tells of each one after that.
    """

    plan: Plan
    root: Place
    folder: Place
    source: ModelSource
    label_map: LabelMap | None = None
    formats: Sequence[str] = ("coco",)
    new: bool = False
    retry_failed: bool = False
    max_errors: int | None = None
    limits: Limits = DEFAULT_LIMITS
    deadline_s: float | None = None
    progress: Callable[[int], None] = _ignore
    control: Control = field(default_factory=Control)


@dataclass(frozen=True)
class Summary:
    """What came of a job.

    Attributes:
        merge: the plan as it was written down, and what becomes of its shards.
        is_complete: every picture was worked on and the data sets are written; else the job was interrupted.
        done: pictures worked on, now and earlier, failed ones included.
        ran: pictures worked on now.
        seconds: spent on them, the loading of the model included.
        counts: of the data sets; None for an interrupted job.
    """

    merge: Merge
    is_complete: bool
    done: int
    ran: int
    seconds: float
    counts: Counts | None = None


@dataclass
class _State:
    """Shards of the plan: those still to do, and what the others hold."""

    todo: list[Shard]
    done: int
    failed: int


def run(job: Job, map_function: Map = local, describe: Describe = loaded) -> Summary:
    """Does a job, or what is left of it.

    Args:
        job: what to do.
        map_function: who works on the shards.
        describe: what tells provider and labels of the model that they will run.

    Raises:
        PlanChanged: the folder holds a job with another plan; the message names each difference.
        BatchError: another job works in the folder, the disk refuses, or there were too many failures.
        ModelError, RunError: the model cannot be loaded.
        BadOption: the label map does not fit the model.
    """
    folder = open_folder(job.folder)
    with folder.held():
        folder.check_own()
        if job.new:
            folder.clear()
        frozen = _frozen(job, folder, describe)
        chosen = categories(frozen.labels, job.label_map)
        state = _survey(folder, frozen, retry_failed=job.retry_failed)
        started, before = time.monotonic(), state.done
        is_complete = _work(job, frozen, state, map_function)
        ran, seconds = state.done - before, time.monotonic() - started
        merge = Merge(folder, frozen, chosen, _info(job, frozen))
        counts = _merged(job, merge) if is_complete else None
        return Summary(merge, counts is not None, state.done, ran, seconds, counts)


def _frozen(job: Job, folder: Folder, describe: Describe) -> Plan:
    """The plan of the folder, if it is the job's; else the job's own, written down."""
    former = folder.read_plan()
    if former is None:
        facts = describe(job.source)
        return _written(folder, job.plan.bound(facts.provider, facts.labels), first=True)
    known = former.refreshed(_failed_names(folder, former), job.plan) if job.retry_failed else former
    if differences := known.differences(job.plan):
        raise PlanChanged(f"{job.folder} holds a job with another plan ({'; '.join(differences)}); {HOW_TO_GO_ON}")
    return known if known == former else _written(folder, known, first=False)


def _written(folder: Folder, new: Plan, *, first: bool) -> Plan:
    folder.write_plan(new, first=first)
    return new


def _failed_names(folder: Folder, former: Plan) -> frozenset[str]:
    """Pictures that failed, which their owner may have repaired since."""
    found = (row for shard in former.shards() for row in folder.read_shard(shard) or ())
    return frozenset(row.file_name for row in found if isinstance(row, Failed))


def _survey(folder: Folder, frozen: Plan, *, retry_failed: bool) -> _State:
    state = _State([], 0, 0)
    for shard in frozen.shards():
        rows = folder.read_shard(shard)
        failed = sum(isinstance(row, Failed) for row in rows or ())
        if rows is None or (failed and retry_failed):
            state.todo.append(shard)
        else:
            state.done, state.failed = state.done + len(rows), state.failed + failed
    return state


def _work(job: Job, frozen: Plan, state: _State, map_function: Map) -> bool:
    """Finishes shards; whether all of them are finished now."""
    job.progress(state.done)
    if not state.todo:
        return True
    task = Task(frozen, job.root, job.folder, job.source, job.limits, job.deadline_s)
    left = len(state.todo)
    try:
        for outcome in map_function(task, state.todo, job.control):
            left -= 1
            state.done, state.failed = state.done + outcome.pictures, state.failed + len(outcome.failed)
            _check_failures(job, state, outcome)
    except Cancelled:
        return False
    return left == 0


def _check_failures(job: Job, state: _State, outcome: Outcome) -> None:
    if job.max_errors is not None and state.failed > job.max_errors and outcome.failed:
        last = outcome.failed[-1]
        raise BatchError(
            f"{state.failed} of {state.done} pictures failed, --max-errors allows {job.max_errors}; the last is "
            f"{last.file_name}: {last.error.message}; {RESUMABLE}",
            code="batch.too_many_errors",
        )


def _merged(job: Job, merge: Merge) -> Counts | None:
    """Writes the data sets; nothing when the user has no patience for it."""
    stop = job.control.stop

    def check() -> None:
        if stop.is_set:
            raise Cancelled("the job was stopped while it wrote its data sets")

    try:
        counts = outputs.write(merge, job.formats, check)
        merge.folder.publish()
    except Cancelled:
        return None
    return counts


def _info(job: Job, frozen: Plan) -> dict[str, Any]:
    """Nothing of time and place: the same pictures and the same options give the same file anywhere."""
    return {
        "description": "Pre-labels by locara-label",
        "version": frozen.version,
        "model": frozen.model,
        "weights": frozen.weights,
        "task": frozen.task,
        "threshold": frozen.threshold,
        "label_map": job.label_map.digest if job.label_map else None,
        **frozen.asked,
    }
