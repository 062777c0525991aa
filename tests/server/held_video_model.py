"""A video model that can be held up at every frame, and whose masks tell the frame and the object's first prompt."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from locara_label.errors import InferenceFailed
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked, picture_hash
from locara_label.models.video_memory import Asked, Course
from locara_label.types import Embedding, Mask, Prompt


@dataclass(frozen=True)
class Bar:
    """A column at the frame's number, from the top to the row of the object's mark."""

    frame: int
    row: int
    score: float = 0.5
    present: bool = True

    @property
    def pointer(self) -> np.ndarray:
        return np.array([self.frame, self.row], np.float32)

    def mask(self, size: tuple[int, int]) -> Mask:
        found = np.zeros(size, bool)
        found[: self.row + 1, self.frame] = True
        return Mask.from_array(found)


@dataclass
class Marks:
    shown: dict[int, int] = field(default_factory=dict)


class HeldVideoModel:
    """Goes through as many frames as there are permits, for ever without any.

    Attributes:
        permits: None lets everything through.
        failing: frames on which it fails.
        steps: frames that it was asked for.
    """

    name = "held"
    identity = "held-1"
    provider = "none"
    refines = True

    def __init__(self) -> None:
        self.permits: threading.Semaphore | None = None
        self.failing: set[int] = set()
        self.steps: list[int] = []

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        return Embedding(self.identity, picture_hash(checked(image)), image.shape[:2], ())

    def bank(self) -> Marks:
        return Marks()

    def step(
        self, embedding: Embedding, frame: int, asked: Sequence[Asked[Marks]], course: Course, limit: Limit = NO_LIMIT
    ) -> list[Bar]:
        self.steps.append(frame)
        clock = Clock(limit)
        while self.permits is not None and not self.permits.acquire(blocking=False):
            clock.check()
            time.sleep(0.002)
        if frame in self.failing:
            raise InferenceFailed("the model failed")
        for one in asked:
            if one.prompt is not None:
                one.bank.shown[frame] = _row(one.prompt)
        return [Bar(frame, min(one.bank.shown.values())) for one in asked]


def _row(prompt: Prompt) -> int:
    return int(prompt.points[0].y) if prompt.points else 0
