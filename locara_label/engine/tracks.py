"""What a session on a video knows of its objects, and which frames a run goes through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.engine.text_tracking import Followed
from locara_label.models.video_memory import FORWARD
from locara_label.types import Mask, Prompt


@dataclass(frozen=True, eq=False)
class Found:
    """One object on one frame.

    Attributes:
        mask: at the video's size; empty where the object is out of sight.
        score: the model's confidence in the mask, 0..1; 1 for a mask that a person gave.
        present: the object is in sight.
        pointer: float32 [D], a vector that stands for the object; None where the model has none.
        prompted: the object was shown on this frame, by a person or by a text; see `Track.by_text`.
    """

    mask: Mask
    score: float
    present: bool
    pointer: NDArray[np.float32] | None
    prompted: bool


@dataclass(frozen=True, eq=False)
class Step:
    """What one frame of a run gave: its number and time, and the objects that were gone through, by their ids."""

    frame: int
    time_s: float
    objects: dict[int, Found]


@dataclass(eq=False)
class Track:
    """All about one object.

    Attributes:
        bank: the model's memory.
        prompts: by frame.
        found: by frame.
        locked: frames with prompts that no further prompt changes.
        stale: frames whose masks rest on something that has changed since.
        ways: by frame, the direction in which it was tracked.
        label: the phrase that found it; None where a person showed it, who may set it.
        by_text: frames whose prompts are boxes that a text found, and nobody's word.
    """

    bank: Any
    prompts: dict[int, Prompt] = field(default_factory=dict)
    found: dict[int, Found] = field(default_factory=dict)
    locked: set[int] = field(default_factory=set)
    stale: set[int] = field(default_factory=set)
    ways: dict[int, int] = field(default_factory=dict)
    label: str | None = None
    by_text: set[int] = field(default_factory=set)

    def wants(self, frame: int, direction: int) -> bool:
        """Whether a run in a direction has to find the object on a frame."""
        if frame in self.prompts or not self.prompts:
            return False
        begun = (frame - min(self.prompts)) * direction > 0
        return begun and (frame not in self.found or frame in self.stale)

    def changed(self, frame: int) -> None:
        """A prompt on a frame is new: what was tracked away from there is stale."""
        self.stale |= {other for other, way in self.ways.items() if (other - frame) * way > 0}

    def followed(self, frame: int) -> Followed:
        """As the matching of detections on a frame sees it."""
        here = self.found.get(frame)
        seen = sorted((abs(other - frame), other) for other, one in self.found.items() if one.present)
        last = self.found[seen[0][1]].mask.box if here is not None and seen else None
        return Followed(self.label, here.mask if here is not None and here.present else None, last)


@dataclass(frozen=True)
class Route:
    """Which frames a run goes through, in either direction; see `Session.propagate`."""

    start: int | None
    max_frames: int
    stride: int
    redetect: int | None

    @property
    def asking(self) -> int:
        """On every how many of the run's frames the texts are asked again; 0 for none."""
        return 0 if self.redetect is None else max(self.redetect // self.stride, 1)

    def frames(self, way: int, begun: Sequence[int], count: int) -> range:
        """All from the start on: where it is not given, from the first object's first frame on, backward from the last one's."""
        first, last = (0, count) if way == FORWARD else (count - 1, -1)
        anchor = (min if way == FORWARD else max)(begun, default=first)
        return range(anchor if self.start is None else self.start, last, self.stride * way)
