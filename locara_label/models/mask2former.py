"""Mask2Former: semantic, instance and panoptic segmentation.

Source: Cheng et al., Masked-attention Mask Transformer for Universal Image Segmentation, 2022. The steps from logits to regions
are those of the published image processor, including its fixed grid of 384 x 384 cells on which masks are judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry, rle
from locara_label.errors import BadOption, BadWeights
from locara_label.models.base import NO_LIMIT, Image, Limit, checked, checked_threshold
from locara_label.models.processor import Processor
from locara_label.runtime.session import Session, finite
from locara_label.types import Instance, Label, Mask

Task = Literal["semantic", "instance", "panoptic"]
Floats = NDArray[np.float32]
DEFAULT_THRESHOLD = 0.5
GRID = (384, 384)
MASK_THRESHOLD = 0.5
OVERLAP_THRESHOLD = 0.8


class Mask2Former:
    """A Mask2Former for one task; implements `SegmentationModel`."""

    def __init__(self, name: str, session: Session, processor: Processor, labels: tuple[Label, ...], task: Task) -> None:
        if task not in TASKS:
            raise BadOption(f"a task is one of {', '.join(TASKS)}, got {task!r}", code="option.task")
        self.name, self.labels, self.provider, self.task = name, labels, session.provider, task
        self._session, self._processor = session, processor
        wanted, given = session.input_shapes[session.inputs[0]][2:], processor.input_size(GRID)
        if all(isinstance(dim, int) for dim in wanted) and tuple(wanted) != given:
            raise BadWeights(f"the graph of {name} takes {wanted} pixels, its processor gives {given}", code="weights.input_size")

    def logits(self, image: Image, limit: Limit = NO_LIMIT) -> tuple[Floats, Floats]:
        """Classes float32 [queries, labels + 1], the last being "no object", and masks float32 [queries, h, w]."""
        pixels = self._processor.prepare(checked(image))
        found = self._session.run({self._session.inputs[0]: pixels}, stop=limit.stop, deadline_s=limit.deadline_s)
        classes, masks = (finite(found[name])[0] for name in ("class_queries_logits", "masks_queries_logits"))
        return classes, masks

    def segment(self, image: Image, threshold: float | None = None, limit: Limit = NO_LIMIT) -> list[Instance]:
        """See `SegmentationModel`. The threshold judges queries; a semantic model has none and judges regions."""
        least = checked_threshold(threshold, 0.0 if self.task == "semantic" else DEFAULT_THRESHOLD)
        classes, masks = self.logits(image, limit)
        return TASKS[self.task](classes, masks, (image.shape[0], image.shape[1]), self.labels, least)

    def segment_map(self, image: Image, limit: Limit = NO_LIMIT) -> NDArray[np.integer]:
        """Label index of every pixel, [H, W], unsigned, by the semantic rule."""
        classes, masks = self.logits(image, limit)
        return geometry.argmax_upsampled(class_logits(classes, masks), (image.shape[0], image.shape[1]))


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)


def sigmoid(logits: Floats) -> Floats:
    # Below -88 the power overflows, and slow denormals are near. By tanh, small values come in steps of 6e-8: classes would tie.
    return np.asarray(1 / (1 + np.exp(-np.maximum(logits, np.float32(-80)))), np.float32)


def class_logits(classes: Floats, masks: Floats) -> Floats:
    """Evidence for every class, float32 [labels, 384, 384]: class probabilities times mask probabilities, summed over queries."""
    weights = softmax(classes)[:, :-1]
    grid = sigmoid(geometry.upsample_logits(masks, GRID))
    return (weights.T @ grid.reshape(len(grid), -1)).reshape(-1, *GRID)


def semantic(classes: Floats, masks: Floats, size: tuple[int, int], labels: tuple[Label, ...], least: float) -> list[Instance]:
    """One region for each class that is the likeliest somewhere; its score is its mean share of the evidence there."""
    evidence = class_logits(classes, masks)
    winner = evidence.argmax(0).ravel()
    share = evidence.max(0).ravel() / np.maximum(evidence.sum(0).ravel(), 1e-6)
    counts = np.bincount(winner, minlength=len(labels))
    scores = np.bincount(winner, share, len(labels)) / np.maximum(counts, 1)
    regions = rle.encode_labels(geometry.argmax_upsampled(evidence, size))
    found = (_instance(labels[index], float(scores[index]), Mask(size, part)) for index, part in regions.items())
    return [instance for instance in found if instance.score >= least]


def instances(classes: Floats, masks: Floats, size: tuple[int, int], labels: tuple[Label, ...], least: float) -> list[Instance]:
    """The best (query, class) pairs, as many as there are queries; masks may overlap."""
    probabilities = softmax(classes)[:, :-1]
    ranked = np.argsort(-probabilities, axis=None, kind="stable")[: len(classes)]
    # A score is the class probability times a mean mask probability, so it never exceeds the first factor.
    kept = ranked[probabilities.ravel()[ranked] >= least]
    found = []
    for query, index in zip(*np.unravel_index(kept, probabilities.shape), strict=True):
        grid = geometry.upsample_logits(masks[query], GRID)
        inside = grid > 0
        score = float(probabilities[query, index] * (sigmoid(grid[inside]).sum() / (inside.sum() + 1e-6)))
        if inside.any() and score >= least:
            found.append(_instance(labels[index], score, Mask.from_array(geometry.upsample_nearest(inside, size))))
    return [instance for instance in found if instance.mask.area]


def panoptic(classes: Floats, masks: Floats, size: tuple[int, int], labels: tuple[Label, ...], least: float) -> list[Instance]:
    """Regions that do not overlap: every pixel goes to its best query; stuff of one class is one region."""
    probabilities = softmax(classes)
    winner, scores = probabilities.argmax(1), probabilities.max(1)
    kept = np.flatnonzero((winner != len(labels)) & (scores > least))
    if not len(kept):
        return []
    weighted = sigmoid(geometry.upsample_logits(masks[kept], GRID)) * scores[kept, None, None]
    owner = geometry.argmax_upsampled(weighted, size)
    areas = np.bincount(owner.ravel(), minlength=len(kept))
    segments = _segments(owner, [(labels[winner[query]], float(scores[query])) for query in kept], _valid(weighted, areas, size))
    return [_instance(label, score, mask) for label, score, mask in segments]


def _valid(weighted: Floats, areas: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Queries that own most of what they claim. A query's claim is where its weighted probability reaches the mask threshold."""
    valid = np.zeros(len(weighted), bool)
    for query in np.flatnonzero(areas):
        claim = int(np.count_nonzero(geometry.upsample_logits(weighted[query], size) >= MASK_THRESHOLD))
        valid[query] = claim > 0 and areas[query] / claim > OVERLAP_THRESHOLD
    return valid


def _segments(
    owner: NDArray[np.integer], queries: list[tuple[Label, float]], valid: NDArray[np.bool_]
) -> list[tuple[Label, float, Mask]]:
    """Masks of the valid queries; queries of one stuff class share the region and the score of the first of them."""
    first: dict[Label, int] = {}
    merged = np.full(len(queries), len(queries), np.uint16)
    for query in np.flatnonzero(valid).tolist():
        label = queries[query][0]
        merged[query] = first.setdefault(label, query) if label.is_stuff else query
    regions = rle.encode_labels(merged[owner])
    size = (owner.shape[0], owner.shape[1])
    return [(*queries[query], Mask(size, part)) for query, part in regions.items() if query < len(queries)]


def _instance(label: Label, score: float, mask: Mask) -> Instance:
    return Instance(label.name, label.index, min(score, 1.0), mask, label.is_stuff)


Rule = Callable[[Floats, Floats, tuple[int, int], tuple[Label, ...], float], list[Instance]]
TASKS: dict[str, Rule] = {"semantic": semantic, "instance": instances, "panoptic": panoptic}
