"""Labels for the frames of videos, by a model for pictures; `apply_model` cannot do that without torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import count
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.media as fomm

from locara_label.errors import BadOption
from locara_label.hosts.fiftyone import fields
from locara_label.hosts.fiftyone.factory import finder
from locara_label.hosts.fiftyone.finders import Finder, Prompter
from locara_label.hosts.fiftyone.labels import to_detections
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.propagate import describe
from locara_label.hosts.fiftyone.samples import FRAMES, check_field, check_media, database, dataset_of
from locara_label.hosts.fiftyone.work import each_video
from locara_label.models.base import Image, Limit
from locara_label.runtime.session import Stop
from locara_label.video.opening import open_video_file


def prelabel_video(
    view: foc.SampleCollection,
    model: str | Finder,
    label_field: str,
    *,
    stride: int = 1,
    threshold: float | None = None,
    classes: Collection[str] | None = None,
    only_new: bool = False,
    stop: Stop | None = None,
    **options: Any,
) -> Iterator[Progress]:
    """Finds the regions of every frame, or of every few, each frame on its own, and saves them frame by frame.

    Objects are not followed: `propagate` does that, from one of these frames.

    Args:
        view: videos.
        model: for pictures, see `factory.finder`, or a finder of `remote`; not one that answers prompts.
        label_field: frame field, Detections; is replaced on the frames that are gone through.
        stride: 10 takes frames 1, 11, 21 ...
        threshold: least score; None takes the model's default.
        classes: to keep, or to look for where the model takes words.
        only_new: passes over frames that have the field, as after a cancelled run.
        stop: cancels from another thread.
        options: more of `factory.finder`.

    Yields:
        A value for each frame, with `frames` set, then one for the video.

    Raises:
        BadOption, ModelError, MissingRuntime: at once.
        Cancelled: the stop was set; finished frames are saved.
        RunError: code `run.database`.
    """
    field = check_field(label_field, fomm.VIDEO)
    check_media(view, fomm.VIDEO)
    found = finder(model, threshold=threshold, classes=classes, **options) if isinstance(model, str) else model
    if stride < 1 or isinstance(found, Prompter):
        raise BadOption(f"{found.name} does not label every {stride} frames by itself", code="option.model")
    dataset = dataset_of(view)
    fields.prepare(dataset, field, fo.Detections, [label.name for label in found.labels])
    fields.note(dataset, field, {"model": found.name, "threshold": found.threshold, "stride": stride})
    work = _Frames(found, field, Limit(stop), stride=stride, only_new=only_new)
    return each_video(view, (FRAMES + field,), field, work, stop=stop)


class _Frames:
    """Labels the frames of one video after the other."""

    def __init__(self, found: Finder, field: str, limit: Limit, *, stride: int, only_new: bool) -> None:
        self._finder, self._field, self._limit, self._stride, self._only_new = found, field, limit, stride, only_new
        self._classes = fields.LateClasses(FRAMES + field)

    def __call__(self, sample: Any, notes: list[str]) -> Iterator[tuple[int, int]]:
        with open_video_file(sample.filepath) as video:
            describe(sample, video)
            goal = len(range(0, video.count, self._stride))
            known = self._known(sample)
            for number, image in zip(count(1, self._stride), video.frames(step=self._stride)):
                yield 0 if number in known else self._label(sample, number, image), goal
            notes += [video.damaged] if video.damaged else []

    def _known(self, sample: Any) -> set[int]:
        """Frames that are passed over."""
        if not self._only_new:
            return set()
        with database():
            return {number for number, frame in sample.frames.items() if frame[self._field] is not None}

    def _label(self, sample: Any, number: int, image: Image) -> int:
        regions = self._finder.find(image, sample, self._limit).regions
        with database():
            sample.frames[number][self._field] = to_detections(regions)
            sample.save()
        if not self._finder.labels:
            self._classes.add(sample.dataset, (region.label for region in regions))
        return len(regions)
