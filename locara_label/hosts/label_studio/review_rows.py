"""A review in numbers: for all regions, and by label, model version and annotator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from locara_label.hosts.label_studio.export_report import LEFT_OUT as _LEFT_OUT
from locara_label.hosts.label_studio.review import Review, Reviewed, Seen

LEFT_OUT: Mapping[str, str] = {
    **{
        code: _LEFT_OUT[code]
        for code in (
            "annotation.cancelled", "annotation.completed_by", "annotation.not_picked", "region.label", "region.no_mask",
            "task.unannotated",
        )
    },
    "prediction.gone": "annotations that started from a prediction which is not there any more",
    "prediction.version": "annotations of tasks without a prediction of --model-version",
}  # fmt: skip
"""Codes of what is left out of a review, and what each counts."""


@dataclass(frozen=True, slots=True)
class Row:
    """Numbers of some regions; means and medians are None where there is nothing to count.

    Attributes:
        name: the label, model version or annotator; empty for all together, and for regions without one.
        kept, edited, deleted: pre-labels by what became of them; `relabeled` of the edited ones changed their label.
        added: final regions beside the pre-labels, `answered` of them from the answer to a click, a box or words.
        iou: mean over the kept and edited pre-labels, 0..1.
        boundary_px: mean distance of their boundaries, of those that have one.
        answer_iou: mean IoU of answers with the final regions that were made of them.
        clicks: mean, over the regions whose requests were recorded; `clicked` of them.
        seconds: median, likewise.
    """

    name: str
    kept: int
    edited: int
    relabeled: int
    deleted: int
    added: int
    answered: int
    iou: float | None
    boundary_px: float | None
    answer_iou: float | None
    clicked: int
    clicks: float | None
    seconds: float | None

    @classmethod
    def of(cls, name: str, regions: Sequence[Reviewed]) -> Row:
        count = Counter(one.status for one in regions)
        paired = [one for one in regions if one.status in ("kept", "edited")]
        answered = [one for one in regions if one.source == "answer"]
        clicked = [one for one in regions if one.clicks is not None]
        return cls(
            name,
            count["kept"],
            count["edited"],
            sum(one.relabeled for one in regions),
            count["deleted"],
            count["added"],
            len(answered),
            mean(one.iou for one in paired),
            mean(one.boundary_px for one in paired),
            mean(one.iou for one in answered),
            len(clicked),
            mean(one.clicks for one in clicked),
            median(seconds) if (seconds := [one.seconds for one in clicked if one.seconds is not None]) else None,
        )

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Pace:
    """How long annotations took, as Label Studio tells: those of one annotator, `timed` of which it tells; median seconds."""

    annotator: str
    annotations: int
    objects: int
    timed: int
    annotation_s: float | None
    object_s: float | None

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Tables:
    """All numbers of a review.

    Attributes:
        doubt: rank correlation (Spearman) of the predictions' scores with how well their annotations agree, -1..1: from 1, an
            order by score is an order by doubt; near 0 it means nothing. None below three annotations or without differences.
    """

    total: Row
    labels: tuple[Row, ...]
    versions: tuple[Row, ...]
    annotators: tuple[Row, ...]
    paces: tuple[Pace, ...]
    doubt: float | None

    @classmethod
    def of(cls, review: Review) -> Tables:
        names: tuple[Callable[[Reviewed], str], ...] = (
            lambda one: one.label,
            lambda one: one.version,
            lambda one: one.annotator,
        )
        labels, versions, annotators = (_rows(review.regions, name) for name in names)
        return cls(
            Row.of("", review.regions), labels, versions, annotators, _paces(review.annotations), doubt(review.annotations)
        )

    def to_json(self) -> dict[str, Any]:
        tables = {name: [one.to_json() for one in getattr(self, name)] for name in ("labels", "versions", "annotators", "paces")}
        return {"total": self.total.to_json(), **tables, "doubt": self.doubt}


def mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def doubt(annotations: Iterable[Seen]) -> float | None:
    """See `Tables`."""
    pairs = [(one.score, one.agreement) for one in annotations if one.score is not None and one.agreement is not None]
    if len(pairs) < 3:
        return None
    scores, agreements = (_ranks(list(values)) for values in zip(*pairs, strict=True))
    if scores.std() == 0 or agreements.std() == 0:
        return None
    return float(np.corrcoef(scores, agreements)[0, 1])


def _ranks(values: list[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Equal values share the mean of their ranks."""
    _, place, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _rows(regions: Sequence[Reviewed], name: Callable[[Reviewed], str]) -> tuple[Row, ...]:
    groups: dict[str, list[Reviewed]] = {}
    for one in regions:
        groups.setdefault(name(one), []).append(one)
    return tuple(Row.of(key, groups[key]) for key in sorted(groups))


def _paces(annotations: Iterable[Seen]) -> tuple[Pace, ...]:
    groups: dict[str, list[Seen]] = {}
    for one in annotations:
        groups.setdefault(one.annotator, []).append(one)
    return tuple(_pace(by, groups[by]) for by in sorted(groups))


def _pace(by: str, seen: Sequence[Seen]) -> Pace:
    timed = [(one.lead_s, one.objects) for one in seen if one.lead_s is not None]
    leads = [lead for lead, _ in timed]
    each = [lead / objects for lead, objects in timed if objects]
    objects = sum(one.objects for one in seen)
    return Pace(by, len(seen), objects, len(timed), median(leads) if leads else None, median(each) if each else None)
