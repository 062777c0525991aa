"""Labels for the pictures of a view, by a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.media as fomm

from locara_label.errors import BadOption
from locara_label.hosts.fiftyone import fields
from locara_label.hosts.fiftyone.documents import detections_document
from locara_label.hosts.fiftyone.factory import Output, finder
from locara_label.hosts.fiftyone.finders import Finder
from locara_label.hosts.fiftyone.labels import mask_targets, to_segmentation
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.samples import check_field, check_media, database, dataset_of
from locara_label.hosts.fiftyone.work import Done, each
from locara_label.models.base import Image, Limit
from locara_label.runtime.session import Stop

UNCERTAINTY = "_uncertainty"
"""What the name of a field ends with that tells how unsure the least sure region of a sample is, to sort by."""


def prelabel(
    view: foc.SampleCollection,
    model: str | Finder,
    label_field: str,
    *,
    output: Output = "detections",
    threshold: float | None = None,
    classes: Collection[str] | None = None,
    only_new: bool = False,
    stop: Stop | None = None,
    **options: Any,
) -> Iterator[Progress]:
    """Finds the regions of each picture and saves them, sample by sample.

    Beside the labels a sample gets `<label_field>_uncertainty`, one minus the least score, and where something went wrong
    `<label_field>_error`. The field's model and threshold are noted in `dataset.info`.

    Args:
        view: images.
        model: a name, see `factory.finder`, or what finds.
        label_field: Detections or a Segmentation; made when it is not there.
        output: "detections", which the App can edit, or "segmentation", with its mask targets set.
        threshold: least score; None takes the model's default.
        classes: to keep, or to look for where the model takes words.
        only_new: passes over samples that have the field, as after a cancelled run.
        stop: cancels from another thread.
        options: more of `factory.finder`.

    Raises:
        BadOption, ModelError, MissingRuntime: at once, before anything is done.
        Cancelled, RunError: on the way, see `work.each`.
    """
    field = check_field(label_field)
    check_media(view, fomm.IMAGE)
    found = finder(model, threshold=threshold, classes=classes, **options) if isinstance(model, str) else model
    if output not in ("detections", "segmentation") or (output == "segmentation" and not found.labels):
        raise BadOption(f"{found.name} has no output {output!r:.40}", code="option.output")
    _check_apart(field, found)
    prepare(dataset_of(view), field, found, output)
    return each(view, found.reads, field, _Worker(found, field, output, Limit(stop)), stop=stop, only_new=only_new)


def _check_apart(field: str, found: Finder) -> None:
    if field in found.reads:
        raise BadOption(f"the field {field!r:.120} has the prompts; give another one for the answers", code="option.field")


def prepare(dataset: fo.Dataset, field: str, found: Finder, output: Output) -> None:
    """Makes the output field, its label schema or mask targets, and the note of what makes it."""
    names = [label.name for label in found.labels]
    fields.prepare(dataset, field, fo.Detections if output == "detections" else fo.Segmentation, names)
    with database():
        if not dataset.has_sample_field(field + UNCERTAINTY):
            dataset.add_sample_field(field + UNCERTAINTY, fo.FloatField)
    if output == "segmentation":
        with database():
            dataset.mask_targets[field] = mask_targets(found.labels)
            dataset.save()
    fields.note(dataset, field, {"model": found.name, "threshold": found.threshold, "output": output})


class _Worker:
    """Labels one sample."""

    def __init__(self, found: Finder, field: str, output: Output, limit: Limit) -> None:
        self._finder, self._field, self._output, self._limit = found, field, output, limit
        self._targets = mask_targets(found.labels)
        self._classes = fields.LateClasses(field)

    def __call__(self, sample: Any, image: Image) -> Done:
        found = self._finder.find(image, sample, self._limit)
        if self._output == "segmentation":
            size = (image.shape[0], image.shape[1])
            value = to_segmentation(found.regions, size, self._targets).to_dict()
        else:
            value = detections_document(found.regions)
            if not self._finder.labels:
                self._classes.add(sample.dataset, (region.label for region in found.regions))
        scores = [region.score for region in found.regions if region.score is not None]
        values = {self._field: value, self._field + UNCERTAINTY: 1 - min(scores) if scores else None}
        return Done(len(found.regions), found.missing, values)
