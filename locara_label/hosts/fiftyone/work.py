"""The loop of all work on a view: one sample after the other, each saved when it is done, a bad one noted and passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc

from locara_label.batch.prefetch import ahead
from locara_label.errors import BadOption, Cancelled, InferenceFailed, LocaraError, RunError
from locara_label.hosts.fiftyone.documents import write
from locara_label.hosts.fiftyone.fields import ERRORS
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.samples import database, dataset_of, in_batches, picture_of
from locara_label.models.base import Image
from locara_label.runtime.session import Stop


@dataclass(frozen=True, slots=True)
class Done:
    """What a sample got: how many regions, in words what is missing, and its fields as documents."""

    regions: int
    note: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


Work = Callable[[Any, Image], Done]
"""Makes fields of a sample from its picture, RGB uint8 [H, W, 3]; raises a LocaraError or OSError where the sample is at fault.

The data set has the fields; their values are what its database keeps.
"""


def each(
    view: foc.SampleCollection,
    reads: tuple[str, ...],
    field: str,
    work: Work,
    *,
    stop: Stop | None = None,
    only_new: bool = False,
) -> Iterator[Progress]:
    """Does the work on each sample and saves it at once. Why a sample failed is in its field `<field>_error`.

    Args:
        view: whose samples are worked on, also where the view would lose them meanwhile.
        reads: fields that the work looks at.
        field: that the work writes, without "frames."; what it held is not read.
        work: see `Work`.
        stop: cancels from another thread.
        only_new: passes over samples that have the field already, so that a second call goes on where the first was stopped.

    Raises:
        Cancelled: the stop was set. What is done is saved.
        RunError: code `run.database`.
    """
    with database():
        wanted = view.exists(field, bool=False) if only_new and view.has_field(field) else view
        total = wanted.count()
    dataset = dataset_of(view)
    with closing(ahead(in_batches(wanted, (*reads, field + ERRORS)), _read)) as ready:
        for number, taken in enumerate(ready, 1):
            if stop is not None and stop.is_set:
                raise Cancelled(f"cancelled after {number - 1} of {total} samples; these are saved")
            yield _one(dataset, taken, field, work, (number, total))


def _read(sample: Any) -> Image | LocaraError:
    """The picture of a sample, read while the model is at work on the one before; or why there is none."""
    try:
        return picture_of(sample)
    except LocaraError as error:
        return error


def _one(dataset: fo.Dataset, taken: tuple[Any, Image | LocaraError], field: str, work: Work, place: tuple[int, int]) -> Progress:
    (sample, read), done = taken, Done(0)
    with faults(sample) as fault:
        if isinstance(read, LocaraError):
            raise read
        done = work(sample, read)
    step = Progress(*place, str(sample.id), sample.filepath, done.regions, fault.error, done.note)
    if not write(dataset, step.sample_id, {**done.values, **_reason(dataset, sample, field + ERRORS, step.problem)}):
        return replace(step, error=BadOption("the sample is not in the data set any more", code="option.sample"))
    return step


def _reason(dataset: fo.Dataset, sample: Any, name: str, problem: str) -> dict[str, str | None]:
    """The reason why a field is not as it should be; none takes an earlier reason away."""
    if problem and not dataset.has_sample_field(name):
        with database():
            dataset.add_sample_field(name, fo.StringField)
    return {name: problem or None} if problem or (sample.has_field(name) and sample[name] is not None) else {}


Frames = Callable[[Any, list[str]], Iterator[tuple[int, int]]]
"""Works on a video and saves it frame by frame: gives the regions of each frame and how many frames there are to do.

What is missing, in words, is put into the list.
"""


def each_video(
    view: foc.SampleCollection, reads: tuple[str, ...], field: str, work: Frames, *, stop: Stop | None = None
) -> Iterator[Progress]:
    """As `each`, for work that goes frame by frame; one value for each frame, then one for the video."""
    with database():
        total = view.count()
    for number, sample in enumerate(in_batches(view, (*reads, field + ERRORS), at_a_time=1), 1):
        if stop is not None and stop.is_set:
            raise Cancelled(f"cancelled after {number - 1} of {total} videos; these are saved")
        yield from _video(sample, field, work, (number, total))


def _video(sample: Any, field: str, work: Frames, place: tuple[int, int]) -> Iterator[Progress]:
    notes, regions = list[str](), 0
    with faults(sample) as fault:
        for done, (count, goal) in enumerate(work(sample, notes), 1):
            regions += count
            yield Progress(*place, str(sample.id), sample.filepath, count, frames=(done, max(goal, done)))
    step = Progress(*place, str(sample.id), sample.filepath, regions, fault.error, "; ".join(notes))
    with database():
        record(sample, field, step.problem)
    yield step


@dataclass
class Fault:
    """Why a sample failed; None where it did not."""

    error: LocaraError | None = None


@contextmanager
def faults(sample: Any) -> Iterator[Fault]:
    """Keeps what a sample is at fault for. What ends the whole run, such as a cancellation or the database, goes on."""
    fault = Fault()
    try:
        yield fault
    except RunError as raised:
        if raised.code != InferenceFailed.code:
            raise
        fault.error = raised
    except LocaraError as raised:
        fault.error = raised
    except OSError as raised:
        fault.error = LocaraError(f"{sample.filepath}: {raised.strerror or raised}", code="file")


def record(sample: Any, field: str, problem: str) -> None:
    """Saves a sample with the reason why its field is not as it should be; an empty one takes an earlier reason away."""
    name = field + ERRORS
    if problem or (sample.has_field(name) and sample[name] is not None):
        sample[name] = problem or None
    sample.save()
