"""What is remembered of an object through a video, and what of it counts for a frame.

Source: Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024, section 4; the choice is that of transformers'
`Sam2VideoModel`. Where that loses what a person said, this does not, unless it is asked to by `REFERENCE`; see `Rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry
from locara_label.errors import BadPrompt
from locara_label.types import Mask, Prompt

FORWARD, BACKWARD = 1, -1
BankT = TypeVar("BankT")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rules:
    """How much of what happened counts.

    Attributes:
        keeps_corrections: a frame with a prompt conditions all others, also when it had been tracked before. The reference treats
            it as tracked, and loses the prompt as soon as the frame is tracked again.
        each_for_itself: memories of prompted objects are made of hard masks, those of others of soft ones. The reference makes
            all of a frame hard when any object has a prompt on it.
        conditioning: frames with prompts that are attended to: the first, and the nearest. None for all, whose cost grows with
            every correction.
        forgets: memories that are too far away to count again are let go.
    """

    keeps_corrections: bool = True
    each_for_itself: bool = True
    conditioning: int | None = 5
    forgets: bool = True


REFERENCE = Rules(keeps_corrections=False, each_for_itself=False, conditioning=None, forgets=False)
"""What transformers does, exactly."""


@dataclass(frozen=True, eq=False)
class Memory:
    """What a frame left behind of one object: features [C, h, w], rounded to bfloat16, and the object's pointer [D]."""

    features: Floats
    pointer: Floats


@dataclass(frozen=True, eq=False)
class Sighting:
    """What was found of one object on one frame.

    Attributes:
        logits: float32 [S/4, S/4]; positive where the object is.
        score: the model's own estimate of the mask's IoU with the object, 0..1.
        presence: a logit; the object is in sight where it is positive.
        memory: for other frames.
    """

    logits: Floats
    score: float
    presence: float
    memory: Memory

    @property
    def present(self) -> bool:
        """Whether the model takes the object to be in sight."""
        return self.presence > 0

    @property
    def pointer(self) -> Floats:
        """A vector [D] that stands for the object, for search and to find duplicates."""
        return self.memory.pointer

    def mask(self, size: tuple[int, int]) -> Mask:
        """At the picture's own size, height and width in pixels; empty where the object is out of sight."""
        return Mask.from_array(geometry.threshold_upsampled(self.logits, size))


@dataclass(frozen=True)
class Reach:
    """How far memory goes, in frames; of the published config. The frame itself counts."""

    memories: int = 7
    pointers: int = 16


@dataclass(eq=False)
class Bank:
    """All that is remembered of one object; belongs to the caller, one for each object.

    Attributes:
        prompted: by frame, what people showed.
        features, pointers: by frame, the memories of frames that were tracked.
        tracked: frames that have been tracked.
    """

    prompted: dict[int, Sighting] = field(default_factory=dict)
    features: dict[int, Floats] = field(default_factory=dict)
    pointers: dict[int, Floats] = field(default_factory=dict)
    tracked: set[int] = field(default_factory=set)

    def forget(self, frame: int | None = None) -> None:
        """Lets a frame's prompt go, and all that was tracked, which may rest on it."""
        if frame is not None:
            self.prompted.pop(frame, None)
        self.features.clear()
        self.pointers.clear()
        self.tracked.clear()

    def let_go(self, frame: int, reach: Reach) -> None:
        """Keeps of what was tracked only what counts for the frames beside this one."""
        for kept, distance in ((self.features, reach.memories), (self.pointers, reach.pointers)):
            for other in [other for other in kept if abs(other - frame) >= distance]:
                del kept[other]


@dataclass(frozen=True)
class Asked(Generic[BankT]):
    """An object on a frame: to be tracked, or with a prompt (points and a box, or a mask)."""

    bank: BankT
    prompt: Prompt | None = None


@dataclass(frozen=True)
class Course:
    """Which way the frames are gone through (`FORWARD` or `BACKWARD`), and how many the video has."""

    direction: int
    length: int


@dataclass(frozen=True, eq=False)
class Recall:
    """Memories and pointers that count for a frame, and how far away they are: frames, and shares of the farthest."""

    memories: tuple[Floats, ...]
    pointers: tuple[Floats, ...]
    times: tuple[tuple[int, ...], tuple[float, ...]]

    @classmethod
    def of(cls, memories: Sequence[tuple[int, Floats]], pointers: Sequence[tuple[int, Floats]], farthest: int) -> Recall:
        shares = tuple(float(np.float32(away) / np.float32(farthest)) for away, _ in pointers)
        times = tuple(away for away, _ in memories), shares
        return cls(tuple(one for _, one in memories), tuple(one for _, one in pointers), times)


def recall(bank: Bank, frame: int, course: Course, reach: Reach, rules: Rules) -> Recall:
    """What an object's bank holds for a frame, in the order of the reference.

    Raises:
        BadPrompt: the bank holds no prompt.
    """
    if not bank.prompted:
        raise BadPrompt("an object without any prompt cannot be tracked", code="prompt.empty")
    way = course.direction
    prompted = [(at, bank.prompted[at].memory) for at in _counting(bank, frame, rules.conditioning)]
    memories = [(0, memory.features) for _, memory in prompted]
    memories += [
        (away, bank.features[at]) for away in range(reach.memories - 1, 0, -1) if (at := frame - away * way) in bank.features
    ]
    farthest = min(course.length, reach.pointers)
    pointers = [((frame - at) * way, memory.pointer) for at, memory in prompted if (frame - at) * way >= 0]
    pointers += [(away, bank.pointers[at]) for away in range(1, farthest) if (at := frame - away * way) in bank.pointers]
    return Recall.of(memories, pointers, max(farthest - 1, 1))


def _counting(bank: Bank, frame: int, most: int | None) -> list[int]:
    """Frames with prompts that are attended to: all, or the first and the nearest."""
    frames = list(bank.prompted)
    if most is None or len(frames) <= most:
        return frames
    first = min(frames)
    nearest = sorted((at for at in frames if at != first), key=lambda at: (abs(at - frame), at))
    return sorted([first, *nearest[: most - 1]])
