"""A video model that a test can read: objects stay where their boxes were shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked_embedding, picture_hash
from locara_label.models.video_memory import Asked, Course
from locara_label.types import Box, Embedding, Mask, Prompt


def filled(box: Box, size: tuple[int, int]) -> Mask:
    """All pixels of a box of whole numbers."""
    array = np.zeros(size, bool)
    array[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
    return Mask.from_array(array)


@dataclass
class BoxBank:
    shown: dict[int, Prompt] = field(default_factory=dict)


@dataclass(frozen=True)
class BoxSeen:
    shown: Mask
    score: float
    pointer: None = None

    @property
    def present(self) -> bool:
        return self.shown.area > 0

    def mask(self, size: tuple[int, int]) -> Mask:
        assert size == self.shown.size
        return self.shown


class BoxVideoModel:
    """An object is its last box, or the mask that a person drew. `hidden` and `scores` say what is different on tracked frames.

    Attributes:
        hidden: frames on which nothing that is tracked is in sight.
        scores: of tracked frames; 0.9 elsewhere.
        steps: (frame, prompts, tracked objects) of each call.
    """

    name = identity = "box-video"
    provider = "none"
    refines = True

    def __init__(self) -> None:
        self.hidden: set[int] = set()
        self.scores: dict[int, float] = {}
        self.steps: list[tuple[int, int, int]] = []

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        Clock(limit)
        return Embedding(self.identity, picture_hash(image), image.shape[:2], ())

    def bank(self) -> BoxBank:
        return BoxBank()

    def step(
        self, embedding: Embedding, frame: int, asked: Sequence[Asked[BoxBank]], course: Course, limit: Limit = NO_LIMIT
    ) -> list[BoxSeen]:
        checked_embedding(embedding, self.identity)
        Clock(limit)
        shown = sum(one.prompt is not None for one in asked)
        self.steps.append((frame, shown, len(asked) - shown))
        return [self._one(one, frame, embedding.size) for one in asked]

    def _one(self, one: Asked[BoxBank], frame: int, size: tuple[int, int]) -> BoxSeen:
        if one.prompt is not None:
            one.bank.shown[frame] = one.prompt
            return BoxSeen(_drawn(one.prompt, size), 0.9)
        if frame in self.hidden:
            return BoxSeen(Mask.from_array(np.zeros(size, bool)), 0.0)
        last = max((at for at in one.bank.shown if at <= frame), default=min(one.bank.shown))
        return BoxSeen(_drawn(one.bank.shown[last], size), self.scores.get(frame, 0.9))


def _drawn(prompt: Prompt, size: tuple[int, int]) -> Mask:
    if prompt.mask is not None:
        return prompt.mask
    assert prompt.box is not None
    return filled(prompt.box, size)
