"""How sure a mask is: whether it stays the same when its prompt is moved a little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from locara_label.models.base import NO_LIMIT, Limit, PromptModel
from locara_label.types import Box, Embedding, Mask, Point, Prompt

JITTER = 0.03
"""How far points and corners move at most, as a share of the object's height and width."""
_SEED = 7
Floats = NDArray[np.float64]


class Steadiness:
    """Asks a model again and again, with the prompt moved a little each time; the same each time it is asked."""

    def __init__(self, model: PromptModel, times: int) -> None:
        self.model, self.times = model, times

    def of(self, embedding: Embedding, prompt: Prompt, mask: Mask, limit: Limit = NO_LIMIT) -> float:
        """Mean IoU, 0..1, of a mask with those of its prompt moved by up to `JITTER`.

        What is shown by a mask alone cannot be moved, and counts as stable.
        """
        if prompt.box is None and not prompt.points:
            return 1.0
        chance = np.random.default_rng(_SEED)
        moved = [jittered(prompt, mask, embedding.size, chance) for _ in range(self.times)]
        answers = self.model.decode_many(embedding, moved, limit)
        return float(np.mean([mask.iou(answer[0].mask) for answer in answers]))


def jittered(prompt: Prompt, mask: Mask, size: tuple[int, int], chance: np.random.Generator) -> Prompt:
    """The prompt with every point and corner moved on its own, within the picture; a box keeps an area."""
    box = prompt.box or mask.box
    reach = np.maximum(np.array([box.x1 - box.x0, box.y1 - box.y0]) * JITTER, 1.0)
    points = tuple(Point(*_moved((point.x, point.y), reach, size, chance), point.positive) for point in prompt.points)
    return replace(prompt, points=points, box=None if prompt.box is None else _moved_box(prompt.box, reach, size, chance))


def _moved(xy: tuple[float, float], reach: Floats, size: tuple[int, int], chance: np.random.Generator) -> tuple[float, float]:
    x, y = np.clip(np.array(xy) + chance.uniform(-reach, reach), 0, (size[1] - 1, size[0] - 1))
    return float(x), float(y)


def _moved_box(box: Box, reach: Floats, size: tuple[int, int], chance: np.random.Generator) -> Box:
    x0, y0 = _moved((box.x0, box.y0), reach, size, chance)
    x1, y1 = _moved((box.x1, box.y1), reach, size, chance)
    return Box(x0, y0, x1, y1) if x1 - x0 >= 1 and y1 - y0 >= 1 else box
