"""A video model whose answers tell the object, the frame, the picture and what was remembered, and which logs every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from locara_label import images
from locara_label.errors import BadPrompt
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked, checked_embedding, picture_hash
from locara_label.models.video_memory import Asked, Course
from locara_label.types import Embedding, Mask, Point, Prompt

SIZE = (5, 32)


def folder(path: Path, frames: int) -> Path:
    """A folder of pictures; all pixels of frame n are n."""
    path.mkdir()
    for number in range(frames):
        images.write_png(path / f"{number}.png", np.full((*SIZE, 3), number, np.uint8))
    return path


def show(mark: int, *more: int) -> Prompt:
    """A prompt that the model knows again by its marks."""
    return Prompt(tuple(Point(one + 0.5, 0.5) for one in (mark, *more)))


@dataclass(frozen=True)
class Said:
    """An answer read: marks of the prompts that were remembered, frame, picture's value, frames with prompts, tracked ones."""

    marks: tuple[int, ...]
    frame: int
    picture: int
    prompted: tuple[int, ...]
    tracked: tuple[int, ...]

    @classmethod
    def of(cls, mask: Mask) -> Said:
        rows = [tuple(np.flatnonzero(row).tolist()) for row in mask.to_array()]
        return cls(rows[0], rows[1][0], rows[2][0], rows[3], rows[4])


@dataclass
class EchoBank:
    prompted: dict[int, tuple[int, ...]] = field(default_factory=dict)
    tracked: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Echo:
    shown: Mask
    score: float
    pointer: np.ndarray
    present: bool = True

    def mask(self, size: tuple[int, int]) -> Mask:
        assert size == self.shown.size
        return self.shown


class EchoVideoModel:
    """Rows of a mask, from above: marks, frame, picture, frames with prompts, frames tracked before. A mask is its own answer."""

    name = "echo-video"
    identity = "echo-video-1"
    provider = "none"
    refines = True

    def __init__(self) -> None:
        self.encoded: list[int] = []
        self.steps: list[tuple[int, int, int]] = []  # frame, direction, objects
        self.asked: list[Prompt] = []
        self.hidden: set[int] = set()

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        Clock(limit)
        self.encoded.append(int(checked(image)[0, 0, 0]))
        return Embedding(self.identity, picture_hash(image), image.shape[:2], (image,))

    def bank(self) -> EchoBank:
        return EchoBank()

    def step(
        self, embedding: Embedding, frame: int, asked: Sequence[Asked[EchoBank]], course: Course, limit: Limit = NO_LIMIT
    ) -> list[Echo]:
        checked_embedding(embedding, self.identity)
        Clock(limit)
        if any(one.prompt is None and not one.bank.prompted for one in asked):
            raise BadPrompt("never shown", code="prompt.empty")
        self.steps.append((frame, course.direction, len(asked)))
        return [self._one(embedding, frame, one) for one in asked]

    def _one(self, embedding: Embedding, frame: int, one: Asked[EchoBank]) -> Echo:
        bank, prompt = one.bank, one.prompt
        if prompt is None:
            answer = self._answer(embedding, frame, bank)
            bank.tracked.add(frame)
            return answer
        self.asked.append(prompt)
        bank.prompted[frame] = tuple(int(point.x) for point in prompt.points)
        if prompt.mask is not None and not prompt.points:
            return Echo(prompt.mask, 1.0, np.zeros(1, np.float32))
        return self._answer(embedding, frame, bank)

    def _answer(self, embedding: Embedding, frame: int, bank: EchoBank) -> Echo:
        if frame in self.hidden:
            return Echo(Mask.from_array(np.zeros(SIZE, bool)), 0.1, np.zeros(1, np.float32), present=False)
        rows = np.zeros(SIZE, bool)
        marks = [mark for marks in bank.prompted.values() for mark in marks]
        for row, columns in enumerate((marks, [frame], [int(embedding.arrays[0][0, 0, 0])], [*bank.prompted], [*bank.tracked])):
            rows[row, columns] = True
        return Echo(Mask.from_array(rows), 0.5, np.full(1, marks[0] if marks else -1, np.float32))
