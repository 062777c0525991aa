"""Panoptic quality (Kirillov et al., 2019) of label maps, averaged over the classes that occur."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Segment = tuple[int, NDArray[np.bool_]]


@dataclass
class PanopticQuality:
    """Running sums by class; segments are (label id, mask bool [H, W]) without overlap."""

    classes: int
    matched_iou: NDArray[np.float64] = field(init=False)
    matched: NDArray[np.float64] = field(init=False)
    false_positive: NDArray[np.float64] = field(init=False)
    missed: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.matched_iou, self.matched, self.false_positive, self.missed = np.zeros((4, self.classes))

    def add(self, predicted: list[Segment], expected: list[Segment]) -> None:
        """Count one picture; two segments of one class match when their IoU is above 0.5, so at most once each."""
        taken: set[int] = set()
        for label, mask in expected:
            scores = [_iou(mask, other) if label == other_label else 0.0 for other_label, other in predicted]
            best = int(np.argmax(scores)) if scores else -1
            if best >= 0 and scores[best] > 0.5:
                taken.add(best)
                self.matched[label] += 1
                self.matched_iou[label] += scores[best]
            else:
                self.missed[label] += 1
        for i, (label, _) in enumerate(predicted):
            self.false_positive[label] += i not in taken

    @property
    def by_class(self) -> NDArray[np.float64]:
        """PQ of each class, NaN for those never seen."""
        weight = self.matched + 0.5 * self.false_positive + 0.5 * self.missed
        quality: NDArray[np.float64] = np.full(self.classes, np.nan)
        np.divide(self.matched_iou, weight, out=quality, where=weight > 0)
        return quality

    @property
    def mean(self) -> float:
        """PQ averaged over classes."""
        return float(np.nanmean(self.by_class))

    @property
    def segmentation_quality(self) -> float:
        """Mean IoU of all matches."""
        return float(self.matched_iou.sum() / max(1.0, self.matched.sum()))


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0
