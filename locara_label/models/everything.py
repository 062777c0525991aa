"""All masks of a picture without a prompt: a grid of clicks, and the answers that are sure, steady and unlike each other.

Source: the automatic mask generator of Kirillov et al., "Segment Anything", ICCV 2023, appendix B, with the thresholds of
SAM 2's; without crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry
from locara_label.despeckle import despeckle
from locara_label.errors import BadOption
from locara_label.models.base import NO_LIMIT, Clock, Limit, PromptModel
from locara_label.types import Candidate, Embedding, Point, Prompt

_WHOLE = (("points_per_side", 1, 128), ("batch", 1, 1000), ("min_area", 0, 1 << 32), ("max_masks", 1, 1 << 20))
_SHARES = (("min_score", 1.0), ("min_stability", 1.0), ("max_overlap", 1.0), ("stability_offset", 100.0))


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked and what is kept.

    Attributes:
        points_per_side: clicks in a row and in a column of the grid, 1..128.
        batch: clicks decoded at a time, 1..1000; a cancelled run ends within one.
        min_score: least score that the model gives a mask, 0..1.
        min_stability: least stability, 0..1: IoU of the mask's logits cut at `+stability_offset` and at `-stability_offset`.
            Not asked of models without logits.
        stability_offset: in logits, more than 0.
        max_overlap: of two masks whose boxes have a higher IoU, the one with the higher score stays, 0..1.
        min_area: parts and holes smaller than this many pixels are cleared away; 0 keeps all.
        max_masks: at most so many, the best.

    Raises:
        BadOption: a value outside its range.
    """

    points_per_side: int = 32
    batch: int = 64
    min_score: float = 0.8
    min_stability: float = 0.95
    stability_offset: float = 1.0
    max_overlap: float = 0.7
    min_area: int = 0
    max_masks: int = 1000

    def __post_init__(self) -> None:
        for name, low, high in _WHOLE:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise BadOption(f"{name} is a whole number in {low}..{high}, got {value!r}", code="option.range")
        for name, most in _SHARES:
            if not 0 <= getattr(self, name) <= most:  # NaN fails too
                raise BadOption(f"{name} lies in 0..{most:g}, got {getattr(self, name)!r}", code="option.range")
        if self.stability_offset == 0:
            raise BadOption("stability_offset is more than 0, got 0", code="option.range")


DEFAULT_OPTIONS = Options()


def everything(
    model: PromptModel, embedding: Embedding, options: Options = DEFAULT_OPTIONS, limit: Limit = NO_LIMIT
) -> list[Candidate]:
    """Masks of the picture, best score first, none empty and no two alike. They may overlap: a part lies in its whole.

    Args:
        model: any prompt model; it is asked for three candidates a click.
        embedding: of the picture, by the same model.
        options: the grid and the thresholds.
        limit: for the whole run.

    Raises:
        BadPrompt: the embedding is another model's.
        Cancelled, DeadlineExceeded, InferenceFailed: see `PromptModel`.
    """
    clock = Clock(limit)
    kept: list[Candidate] = []
    prompts = [Prompt(points=(point,), candidates=3) for point in grid(options.points_per_side, embedding.size)]
    for first in range(0, len(prompts), options.batch):
        answers = model.decode_many(embedding, prompts[first : first + options.batch], clock.left)
        found = [_cleaned(candidate, options) for answer in answers for candidate in answer if _is_good(candidate, options)]
        kept = _unlike([*kept, *found], options.max_overlap)
    clock.check()
    return kept[: options.max_masks]


def grid(points_per_side: int, size: tuple[int, int]) -> list[Point]:
    """Clicks in the middles of equal tiles, row by row, in pixels of a picture of (height, width)."""
    middles = (np.arange(points_per_side) + 0.5) / points_per_side
    return [Point(float(x * size[1]), float(y * size[0])) for y in middles for x in middles]


def stability(logits: NDArray[np.float32], offset: float) -> float:
    """IoU of the masks at thresholds of `offset` and `-offset`, 0..1; 0 where both are empty."""
    return float((logits > offset).sum() / max(int((logits > -offset).sum()), 1))


def _is_good(candidate: Candidate, options: Options) -> bool:
    if candidate.score < options.min_score or not candidate.mask.area:
        return False
    return candidate.logits is None or stability(candidate.logits, options.stability_offset) >= options.min_stability


def _cleaned(candidate: Candidate, options: Options) -> Candidate:
    return Candidate(despeckle(candidate.mask, options.min_area), candidate.score, candidate.logits)


def _unlike(candidates: Sequence[Candidate], max_overlap: float) -> list[Candidate]:
    """Best first, each but those whose box overlaps the box of a better one by more, and those that are the same mask."""
    ordered = sorted(candidates, key=lambda candidate: -candidate.score)
    boxes = np.array([_corners(candidate) for candidate in ordered], np.float64).reshape(-1, 4)
    kept: list[int] = []
    masks: set[bytes] = set()
    for number, candidate in enumerate(ordered):
        if candidate.mask.counts not in masks and not (geometry.box_ious(boxes[number], boxes[kept]) > max_overlap).any():
            kept.append(number)
            masks.add(candidate.mask.counts)
    return [ordered[number] for number in kept]


def _corners(candidate: Candidate) -> tuple[float, float, float, float]:
    box = candidate.mask.box
    return box.x0, box.y0, box.x1, box.y1
