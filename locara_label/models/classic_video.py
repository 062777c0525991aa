"""Objects through video without any weights: masks carried along by optical flow, and cut out anew by their colours.

A prompt is answered by `Classic`, a mask is taken as it is. From frame to frame a mask moves with the dense flow (Kroeger et al.:
"Fast Optical Flow using Dense Inverse Search", ECCV 2016), as a rigid body where the flow agrees on one motion. Near it a pixel
belongs to the object where its colour is likelier in the object than around it, as the frames with prompts showed both. Where
hardly any do, the object is out of sight; it is back where enough of its colours are seen near the place where it was last. It
knows no things: it loses what has the colours of its ground, and may follow a neighbour of the same colours instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadPrompt
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked_embedding, checked_prompts
from locara_label.models.classic import Classic
from locara_label.models.classic_flow import Flows, Place, carry, flows_between, search
from locara_label.models.video_memory import Asked, Course
from locara_label.types import Embedding, Mask, Prompt

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_BINS, _RARE = (16, 32, 32), 1e-5


@dataclass(frozen=True, eq=False)
class Trace:
    """An object on a frame (a `Seen`), and what the next frame needs of it, at the size of the small picture.

    Attributes:
        shown: at the picture's own size.
        score: mean chance of the mask's pixels to be the object, by their colours; at a prompt that of `Classic`.
        grey: uint8 [h, w], the frame.
        place: where the object is, or was when it was last in sight.
        colours: float32 [2, bins], how frequent each colour is in it and around it; None without a prompt, or pixels.
    """

    shown: Mask
    score: float
    grey: Bytes
    place: Place
    colours: Floats | None = None
    pointer: None = None

    @property
    def present(self) -> bool:
        return self.shown.area > 0

    def mask(self, size: tuple[int, int]) -> Mask:  # noqa: ARG002
        return self.shown


@dataclass(eq=False)
class Traces:
    """What is remembered of one object: frames with prompts, and the last one that was tracked."""

    prompted: dict[int, Trace] = field(default_factory=dict)
    last: dict[int, Trace] = field(default_factory=dict)

    def keep(self, frame: int, trace: Trace, *, prompted: bool) -> None:
        if prompted:
            self.prompted[frame] = trace
        elif frame not in self.prompted:
            self.last = {frame: trace}

    def nearest(self, frame: int, direction: int) -> tuple[int, Trace]:
        """Where to follow the object from: the nearest frame that lies behind, or else the nearest. Raises BadPrompt."""
        if not self.prompted:
            raise BadPrompt("an object without any prompt cannot be tracked", code="prompt.empty")
        known = [(at, trace) for at, trace in {**self.last, **self.prompted}.items() if at != frame]
        return min(known, key=lambda one: ((frame - one[0]) * direction < 0, abs(frame - one[0])))

    def odds(self) -> Floats:
        """Logarithm of how much likelier each colour is in the object than around it, float32 [bins]; rare ones say no."""
        seen = [trace.colours for trace in self.prompted.values() if trace.colours is not None]
        inside, around = np.mean(seen, axis=0) if seen else np.zeros((2, int(np.prod(_BINS))))
        return np.asarray(np.log((inside + _RARE) / (around + 5 * _RARE)), np.float32)


class ClassicVideo:
    """Implements `VideoModel`. A prompt may be what `Classic` takes."""

    name, identity, provider = "classic", "classic-video-1", "opencv"
    refines = Classic.refines

    def __init__(self) -> None:
        self._still = Classic()

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        clock = Clock(limit)
        still = self._still.encode(image, clock.left)
        small = still.arrays[0]
        lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 0.7), cv2.COLOR_RGB2Lab)
        bins = np.ravel_multi_index(tuple(lab[..., at] >> shift for at, shift in enumerate((4, 3, 3))), _BINS).astype(np.uint16)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        grey.flags.writeable = bins.flags.writeable = False
        clock.check()
        return Embedding(self.identity, still.picture, still.size, (*still.arrays, grey, bins))

    def bank(self) -> Traces:
        return Traces()

    def step(
        self, embedding: Embedding, frame: int, asked: Sequence[Asked[Traces]], course: Course, limit: Limit = NO_LIMIT
    ) -> list[Trace]:
        """See `VideoModel`. Objects that are followed from the same frame share its flow. It may end between any two stages."""
        checked_embedding(embedding, self.identity)
        clock, flows, found = Clock(limit), dict[int, Flows](), list[Trace]()
        for one in asked:
            clock.check()
            if one.prompt is None and frame not in one.bank.prompted:
                at, before = one.bank.nearest(frame, course.direction)
                flows[at] = flows.get(at) or flows_between(before.grey, embedding.arrays[2], clock)
                clock.check()
                found.append(_followed(embedding, before, flows[at], one.bank.odds()))
            else:
                found.append(one.bank.prompted[frame] if one.prompt is None else self._shown(embedding, one.prompt, clock))
        for one, trace in zip(asked, found, strict=True):
            one.bank.keep(frame, trace, prompted=one.prompt is not None)
        return found

    def _shown(self, embedding: Embedding, prompt: Prompt, clock: Clock) -> Trace:
        still, (grey, bins) = replace(embedding, model=self._still.identity, arrays=embedding.arrays[:2]), embedding.arrays[2:]
        checked_prompts(still, [prompt], self._still)
        if prompt.mask is None or prompt.points or prompt.box is not None or prompt.logits is not None:
            shown, score = (best := self._still.decode(still, prompt, clock.left)[0]).mask, best.score
        else:
            shown, score = prompt.mask, 1.0
        inside = cv2.resize(shown.to_array().astype(np.float32), grey.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
        colours = np.stack([_frequencies(bins[inside]), _frequencies(bins[~inside])]) if inside.any() else None
        return Trace(shown, score, grey, Place(inside, inside, float(inside.sum())), colours)


def _frequencies(bins: NDArray[np.uint16]) -> Floats:
    """Share of each colour among some pixels, neighbouring colours blended; float32 [bins]."""
    shares = np.bincount(bins, minlength=int(np.prod(_BINS))).reshape(_BINS) / max(len(bins), 1)
    for axis in range(3):  # no colour is near both ends of an axis
        shares = (np.roll(shares, 1, axis) + 2 * shares + np.roll(shares, -1, axis)) / 4
    return shares.ravel().astype(np.float32)


def _followed(embedding: Embedding, before: Trace, flows: Flows, odds: Floats) -> Trace:
    grey, bins = embedding.arrays[2:]
    ratio = np.asarray(cv2.GaussianBlur(odds[bins], (0, 0), 1))
    place = carry(ratio, before.place, flows) if before.present else before.place
    if not before.present or place.lost:
        found = search(ratio, before.place)
        if found is None:
            return Trace(
                Mask.from_array(np.zeros(embedding.size, bool)), 0.0, grey, replace(before.place, away=before.place.away + 1)
            )
        place = found
    soft = cv2.resize(cv2.GaussianBlur(place.inside.astype(np.float32), (0, 0), 0.8), embedding.size[::-1])
    score = float((1 / (1 + np.exp(-ratio[place.inside]))).mean())
    return Trace(Mask.from_array(soft > 0.5), score, grey, place)
