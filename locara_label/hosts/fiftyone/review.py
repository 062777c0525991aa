"""After people have edited pre-labels: how good were they, which pictures are worth a look, which labels are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.media as fomm
import numpy as np
from numpy.typing import NDArray

from locara_label.datasets.agreement import match
from locara_label.errors import BadOption, Cancelled, InputError, LocaraError
from locara_label.hosts.fiftyone.exports import Source
from locara_label.hosts.fiftyone.fields import noted
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.samples import check_field, check_media, database, dataset_of, in_batches
from locara_label.runtime.session import Stop

IOU = "_iou"
"""What the name of a pre-label field ends with that says how well it agrees with what people made of it."""
_BINS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """How good the pre-labels of one class were.

    Attributes:
        label: of the final labels; empty for all classes together.
        model, threshold: of the pre-labels, as noted in the data set; empty and None where nothing was noted.
        final: regions that people kept or made.
        found: of those, how many had a pre-label of the same class that overlaps.
        relabeled: of those, how many had only one of another class.
        removed: pre-labels that overlap no final region.
        untouched: final regions that are their pre-label, to the pixel.
        mean_iou: of final regions with their pre-labels, 0 for one without; 0..1.
    """

    label: str
    model: str
    threshold: float | None
    final: int
    found: int
    relabeled: int
    removed: int
    untouched: int
    mean_iou: float

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(eq=False)
class Comparison:
    """What `compare` found so far, sample by sample; whole once its progress is at its end.

    Attributes:
        model, threshold: see `Row`.
        ious: of each final region with its pre-label, by label.
    """

    model: str
    threshold: float | None
    ious: dict[str, list[float]]
    relabeled: dict[str, int]
    removed: dict[str, int]

    def rows(self) -> list[Row]:
        """One row a class, in alphabetical order, after one for all of them."""
        labels = sorted({*self.ious, *self.relabeled, *self.removed})
        every = [iou for found in self.ious.values() for iou in found]
        total = self._row("", every, sum(self.relabeled.values()), sum(self.removed.values()))
        each = [self._row(one, self.ious.get(one, []), self.relabeled.get(one, 0), self.removed.get(one, 0)) for one in labels]
        return [total, *each]

    def histogram(self) -> tuple[list[float], list[int]]:
        """Edges of `_BINS` equal bins of 0..1, and how many final regions have an IoU in each."""
        every = [iou for found in self.ious.values() for iou in found]
        counts, edges = np.histogram(every, bins=_BINS, range=(0.0, 1.0))
        return edges.tolist(), counts.tolist()

    def _row(self, label: str, ious: Sequence[float], relabeled: int, removed: int) -> Row:
        found = sum(iou > 0 for iou in ious) - relabeled
        mean = float(np.mean(ious)) if ious else 0.0
        exact = sum(iou == 1 for iou in ious)
        return Row(label, self.model, self.threshold, len(ious), found, relabeled, removed, exact, mean)


def compare(
    view: foc.SampleCollection, pre_field: str, final_field: str, *, stop: Stop | None = None
) -> tuple[Comparison, Iterator[Progress]]:
    """How well pre-labels agree with what people made of them.

    Each sample gets `<pre_field>_iou`, the mean IoU of its final regions with their pre-labels (one where neither has any, zero
    where only pre-labels are there), and its final detections get `iou`, so that the App can sort and filter by them.

    Args:
        view: images.
        pre_field: Detections or a Segmentation as a model gave them.
        final_field: the same as people left them: copy a field before editing, see `keep_copy`.
        stop: cancels from another thread.

    Returns:
        What is found, and the steps that find it: consume them, then ask for rows.

    Raises:
        BadOption: at once.
        Cancelled, RunError: on the way; what was compared is saved.
    """
    check_media(view, fomm.IMAGE)
    for name in (pre_field, final_field):
        check_field(name)
    before, after = Source.of(view, pre_field, ""), Source.of(view, final_field, "")
    facts = noted(dataset_of(view), pre_field)
    comparison = Comparison(str(facts.get("model", "")), facts.get("threshold"), {}, {}, {})
    return comparison, _compared(before, after, comparison, stop)


def _compared(before: Source, after: Source, comparison: Comparison, stop: Stop | None) -> Iterator[Progress]:
    with database():
        total = before.view.count()
    for number, sample in enumerate(in_batches(before.view, (before.field, after.field)), 1):
        if stop is not None and stop.is_set:
            raise Cancelled(f"cancelled after {number - 1} of {total} samples; these are saved")
        error: LocaraError | None = None
        found = 0
        try:
            found = _on(sample, before, after, comparison)
        except InputError as raised:
            error = raised
        yield Progress(number, total, str(sample.id), sample.filepath, found, error)


def _on(sample: Any, before: Source, after: Source, comparison: Comparison) -> int:
    old, new = before.labeled(sample).regions, after.labeled(sample).regions
    matched = match(old, new)
    for iou, region in zip(matched.ious, new, strict=True):
        comparison.ious.setdefault(region.label, []).append(iou)
    _count(comparison.relabeled, [new[number].label for number in matched.relabeled])
    _count(comparison.removed, [old[number].label for number in matched.removed])
    sample[before.field + IOU] = float(np.mean(matched.ious)) if new else float(not old)
    value = sample[after.field]
    if isinstance(value, fo.Detections):
        masked = [one for one in value.detections if one.has_mask]
        for detection, iou in zip(masked, matched.ious, strict=True):
            detection["iou"] = iou
    with database():
        sample.save()
    return len(new)


def _count(counts: dict[str, int], labels: Sequence[str]) -> None:
    for label in labels:
        counts[label] = counts.get(label, 0) + 1


def keep_copy(dataset: fo.Dataset, field: str, copy: str) -> None:
    """Copies pre-labels before people edit them; what is noted of the field goes along.

    Raises:
        BadOption: code `option.field`; there is no such field, or the copy's name is taken.
        RunError: see `samples.database`.
    """
    check_field(copy)
    if not dataset.has_field(field) or dataset.has_field(copy):
        raise BadOption(f"{field!r:.120} cannot be copied to {copy!r:.120}", code="option.field")
    with database():
        dataset.clone_sample_field(field, copy)
        notes = dict(dataset.info.get("locara_label") or {})
        dataset.info["locara_label"] = notes | ({copy: notes[field]} if field in notes else {})
        dataset.save()


def without_masks(view: foc.SampleCollection, field: str) -> foc.SampleCollection:
    """The samples that have no label in a field, or a detection without a mask."""
    if getattr(view.get_field(field), "document_type", None) is not fo.Detections:
        return view.exists(field, bool=False)
    listed = fo.ViewField(f"{field}.detections")
    bare = listed.filter(~(fo.ViewField("mask").exists() | fo.ViewField("mask_path").exists()))
    return view.match(~fo.ViewField(field).exists() | (listed.length() == 0) | (bare.length() > 0))


def near_duplicates(
    view: foc.SampleCollection, embeddings: NDArray[np.floating[Any]], least: float = 0.97
) -> dict[str, list[str]]:
    """Pictures that look like an earlier one of the view, by that one's id.

    Args:
        view: in its order, the first of a group of alike pictures stays.
        embeddings: [N, D], one for each sample of the view, from `compute_embeddings`.
        least: cosine similarity from which two pictures are alike.

    Raises:
        BadOption: code `option.embeddings`; not one embedding a sample.
    """
    with database():
        ids = view.values("id")
    vectors = np.asarray(embeddings, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise BadOption(f"{len(ids)} samples need as many embeddings, got {vectors.shape}", code="option.embeddings")
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    kept, groups = list[int](), dict[str, list[str]]()
    for number, vector in enumerate(vectors):
        alike = vectors[kept] @ vector if kept else np.zeros(0)
        best = int(alike.argmax()) if len(alike) else 0
        if len(alike) and alike[best] >= least:
            groups.setdefault(ids[kept[best]], []).append(ids[number])
        else:
            kept.append(number)
    return groups


def summary(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Rows as plain JSON, for tables."""
    return [row.to_json() for row in rows]
