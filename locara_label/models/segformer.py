"""SegFormer: semantic segmentation.

Source: Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, 2021.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry, rle
from locara_label.errors import BadWeights
from locara_label.models.base import NO_LIMIT, Image, Limit, checked, checked_threshold
from locara_label.models.processor import Processor
from locara_label.runtime.session import Session, finite
from locara_label.types import Instance, Label, Mask

DEFAULT_THRESHOLD = 0.0


class Segformer:
    """A SegFormer; implements `SegmentationModel`. Every class that occurs is one region."""

    def __init__(self, name: str, session: Session, processor: Processor, labels: tuple[Label, ...]) -> None:
        self.name, self.labels, self.provider = name, labels, session.provider
        self._session, self._processor = session, processor

    def logits(self, image: Image, limit: Limit = NO_LIMIT) -> NDArray[np.float32]:
        """Float32 [classes, h, w], at a quarter of the model's input size."""
        pixels = self._processor.prepare(checked(image))
        found = self._session.run({self._session.inputs[0]: pixels}, stop=limit.stop, deadline_s=limit.deadline_s)
        logits: NDArray[np.float32] = finite(found[self._session.outputs[0]])[0]
        if len(logits) != len(self.labels):
            text = f"{self.name} gives {len(logits)} classes, its config names {len(self.labels)}"
            raise BadWeights(text, code="weights.labels")
        return logits

    def segment_map(self, image: Image, limit: Limit = NO_LIMIT) -> NDArray[np.integer]:
        """Label index of every pixel, [H, W], unsigned; the index is the official one of the model.

        The published rule: logits are upsampled bilinearly to the picture's size, the largest wins.
        """
        return geometry.argmax_upsampled(self.logits(image, limit), (image.shape[0], image.shape[1]))

    def segment(self, image: Image, threshold: float | None = None, limit: Limit = NO_LIMIT) -> list[Instance]:
        """See `SegmentationModel`; the score of a region is its class's mean probability there."""
        least = checked_threshold(threshold, DEFAULT_THRESHOLD)
        logits = self.logits(image, limit)
        size = (image.shape[0], image.shape[1])
        regions = rle.encode_labels(geometry.argmax_upsampled(logits, size))
        scores = region_scores(logits)
        found = (self._instance(index, float(scores[index]), Mask(size, counts)) for index, counts in regions.items())
        return [instance for instance in found if instance.score >= least]

    def _instance(self, index: int, score: float, mask: Mask) -> Instance:
        label = self.labels[index]
        return Instance(label.name, index, score, mask, label.is_stuff)


def region_scores(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean softmax probability of every class over the cells that it wins, its best probability where it wins none.

    Args:
        logits: float32 [classes, h, w].
    """
    classes = logits.shape[0]
    cells = np.ascontiguousarray(logits.reshape(classes, -1))
    winner, best = _winner(cells)
    total = np.zeros_like(best)
    powers = np.empty_like(best)
    for row in cells:  # class by class, so that what is worked on stays in the processor's cache
        np.exp(np.subtract(row, best, out=powers), out=powers)
        total += powers
    sums = np.bincount(winner, 1 / total, classes)
    counts = np.bincount(winner, minlength=classes)
    scores = np.divide(sums, counts, out=np.zeros(classes), where=counts > 0)
    for index in np.flatnonzero(counts == 0):
        scores[index] = (np.exp(cells[index] - best) / total).max()
    held: NDArray[np.float32] = np.minimum(scores, 1).astype(np.float32)
    return held


def _winner(cells: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Index and logit of the best class of every cell; the lower index wins a tie."""
    best = cells[0].copy()
    winner = np.zeros(best.shape, np.intp)
    for index in range(1, len(cells)):
        np.copyto(winner, index, where=cells[index] > best)
        np.maximum(best, cells[index], out=best)
    return winner, best
