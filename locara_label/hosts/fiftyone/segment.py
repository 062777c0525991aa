"""Masks of what words, boxes or key points ask for, on the pictures of a view."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import fiftyone.core.collections as foc

from locara_label.engine.grounding import GROUNDED_SAM2
from locara_label.engine.loading import DEFAULT_PROMPT_MODEL
from locara_label.errors import BadOption
from locara_label.hosts.fiftyone.prelabel import prelabel
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.samples import dataset_of
from locara_label.runtime.session import Stop


def segment_text(
    view: foc.SampleCollection,
    label_field: str,
    prompt: str | None = None,
    *,
    classes: Collection[str] | None = None,
    model: str = GROUNDED_SAM2,
    threshold: float | None = None,
    only_new: bool = False,
    stop: Stop | None = None,
    **options: Any,
) -> Iterator[Progress]:
    """Finds what words ask for; see `prelabel`.

    Args:
        view: images.
        label_field: Detections; `confidence` is the score of a box, `predicted_iou` that of its mask.
        prompt: words with dots between them ("red car . person").
        classes: instead of a prompt, labels to look for; with neither, the classes that the data set names
            (`dataset.classes[label_field]`, else `dataset.default_classes`).
        model: a text model or a pair, see `factory.finder`.
        threshold: least score of a box; None takes the model's default.
        only_new: passes over samples that have the field.
        stop: cancels from another thread.
        options: more of `factory.finder`, such as `text_threshold`, `masks` and `speck_px`.

    Raises:
        BadOption, BadPrompt, ModelError, MissingRuntime: at once.
        Cancelled, RunError: on the way, see `work.each`.
    """
    if prompt is None and classes is None:
        classes = known_classes(view, label_field)
    return prelabel(
        view, model, label_field, threshold=threshold, classes=classes, prompt=prompt, only_new=only_new, stop=stop, **options
    )


def known_classes(view: foc.SampleCollection, label_field: str) -> list[str]:
    """The classes that a data set names for a field.

    Raises:
        BadOption: code `option.classes`; it names none.
    """
    dataset = dataset_of(view)
    found = list(dataset.classes.get(label_field) or dataset.default_classes or ())
    if not found:
        raise BadOption("give words to look for: the data set names no classes", code="option.classes")
    return found


def segment_boxes(
    view: foc.SampleCollection,
    prompt_field: str,
    label_field: str,
    *,
    model: str = DEFAULT_PROMPT_MODEL,
    use_masks: bool = False,
    jitters: int = 0,
    only_new: bool = False,
    stop: Stop | None = None,
    **options: Any,
) -> Iterator[Progress]:
    """Makes masks of boxes or key points that are there already, one for each; see `prelabel`.

    Args:
        view: images.
        prompt_field: Detections, or Keypoints whose `sam_labels` say 1 for a point on the object and 0 for one off it.
        label_field: Detections with the label, `index` and `instance` of what asked for them; `confidence` and
            `predicted_iou` are the model's own estimate of the mask.
        model: for clicks, see `factory.finder`.
        use_masks: where a detection has a mask, it shows the object instead of its box.
        jitters: how often each prompt is asked again, moved a little; each detection then has its `stability`, 0..1.
        only_new: passes over samples that have the field.
        stop: cancels from another thread.
        options: more of `factory.finder`.

    Raises:
        BadOption, ModelError, MissingRuntime: at once.
        Cancelled, RunError: on the way, see `work.each`.
    """
    if not view.has_field(prompt_field):
        raise BadOption(f"the samples have no field {prompt_field!r:.120}", code="option.prompt_field")
    return prelabel(
        view,
        model,
        label_field,
        prompt_field=prompt_field,
        use_masks=use_masks,
        jitters=jitters,
        only_new=only_new,
        stop=stop,
        **options,
    )
