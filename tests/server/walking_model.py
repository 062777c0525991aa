"""A video model without a picture of anything: an object is where its box was, one pixel further to the right with each frame."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from locara_label.errors import InferenceFailed
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, picture_hash
from locara_label.models.video_memory import Asked, Course
from locara_label.types import Box, Embedding, Mask, Prompt
from locara_label.video.writing import write_video

SIZE = (64, 96)
PER_FRAME = 3
"""What the pixels of `clip` grow by, so that a video codec keeps frames apart."""


def clip(path: Path, frames: int, rate: Fraction | int = 25) -> bytes:
    """An H.264 video of that many frames."""
    write_video(path, (np.full((*SIZE, 3), PER_FRAME * number % 256, np.uint8) for number in range(frames)), rate)
    return path.read_bytes()


def walked(box: Box, frames: int) -> Mask:
    """Where an object is so many frames after its box was shown."""
    pixels = np.zeros(SIZE, bool)
    x0, x1 = (min(max(round(side) + frames, 0), SIZE[1]) for side in (box.x0, box.x1))
    pixels[round(box.y0) : round(box.y1), x0:x1] = True
    return Mask.from_array(pixels)


@dataclass(frozen=True)
class Walked:
    shown: Mask
    score: float = 0.75
    pointer: None = None

    @property
    def present(self) -> bool:
        return self.shown.area > 0

    def mask(self, size: tuple[int, int]) -> Mask:
        assert size == SIZE
        return self.shown


@dataclass
class WalkingModel:
    """Implements `VideoModel`.

    Attributes:
        gone: frames on which nothing is in sight.
        steps: frame and number of objects of each step, tracked ones only.
        shown: frames with prompts, in the order in which they came.
        allowed: how many frames may be tracked before it waits; None for all.
        broken: frames on which it fails.
        peak: the most steps that ever ran at once.
    """

    gone: set[int] = field(default_factory=set)
    steps: list[tuple[int, int]] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    allowed: threading.Semaphore | None = None
    broken: set[int] = field(default_factory=set)
    peak: int = 0
    running: int = 0
    name: str = "walking"
    identity: str = "walking-1"
    provider: str = "none"
    refines: bool = True

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        Clock(limit)
        return Embedding(self.identity, picture_hash(image), image.shape[:2], (image,))

    def bank(self) -> dict[int, Box]:
        return {}

    def step(
        self, embedding: Embedding, frame: int, asked: Sequence[Asked[dict[int, Box]]], course: Course, limit: Limit = NO_LIMIT
    ) -> list[Walked]:
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            return self._step(frame, asked, limit)
        finally:
            self.running -= 1

    def _step(self, frame: int, asked: Sequence[Asked[dict[int, Box]]], limit: Limit) -> list[Walked]:
        if frame in self.broken:
            raise InferenceFailed(f"frame {frame} is broken, as the test asked")
        if all(one.prompt is None for one in asked):
            while self.allowed is not None and not self.allowed.acquire(timeout=0.02):
                Clock(limit).check()
            self.steps.append((frame, len(asked)))
        return [self._one(frame, one.bank, one.prompt) for one in asked]

    def _one(self, frame: int, bank: dict[int, Box], prompt: Prompt | None) -> Walked:
        if prompt is not None:
            self.shown.append(frame)
            bank[frame] = prompt.box or (prompt.mask.box if prompt.mask is not None else Box(0, 0, 1, 1))
        nearest = min(bank, key=lambda at: (abs(frame - at), at))
        mask = Mask.from_array(np.zeros(SIZE, bool)) if frame in self.gone else walked(bank[nearest], frame - nearest)
        return Walked(mask)
