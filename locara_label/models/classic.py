"""Masks from clicks, boxes and rough masks without any weights: geodesic regions, refined by GrabCut.

A click grows regions of rising geodesic distance, the cheapest path over a map of colour edges; the one whose border lies on
edges is refined by GrabCut (Rother, Kolmogorov, Blake: "GrabCut", SIGGRAPH 2004), to which a box goes at once. Where a click and
the mask disagree, a watershed between it and what is surely right turns its surroundings. It sees colours and edges and knows no
things: an object of several colours needs a box. It works at no more than `WORK_PX` on the long side, regions at `_REGION_PX`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadPrompt
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked, checked_prompts, picture_hash
from locara_label.types import Box, Candidate, Embedding, Mask, Prompt

WORK_PX, _REGION_PX, _LEVELS, _SWEEPS = 512, 256, 20, 16
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Spot = tuple[int, int]  # row and column


class Classic:
    """Implements `PromptModel`. The score is a guess: the share of the mask's border that lies on edges of the picture."""

    name, identity, provider, refines = "classic", "classic-2", "opencv", True

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        clock, small = Clock(limit), _shrunk(checked(image), WORK_PX)
        edge = _edges(_shrunk(small, _REGION_PX))
        small.flags.writeable = edge.flags.writeable = False
        clock.check()
        return Embedding(self.identity, picture_hash(image), (image.shape[0], image.shape[1]), (small, edge))

    def decode(self, embedding: Embedding, prompt: Prompt, limit: Limit = NO_LIMIT) -> list[Candidate]:
        return self.decode_many(embedding, [prompt], limit)[0]

    def decode_many(self, embedding: Embedding, prompts: Sequence[Prompt], limit: Limit = NO_LIMIT) -> list[list[Candidate]]:
        """See `PromptModel`; raises `BadPrompt` also with `prompt.no_positive` (all points are off it) and `prompt.logits`."""
        checked_prompts(embedding, prompts, self)
        clock = Clock(limit)
        return [_Work(embedding, prompt, clock).candidates() for prompt in prompts]


class _Work:
    """One prompt on one picture; masks inside are bool [h, w] at the size of the small picture."""

    def __init__(self, embedding: Embedding, prompt: Prompt, clock: Clock) -> None:
        (self._small, self._edge), self._full = embedding.arrays, embedding.size
        self._prompt, self._clock, self._size = prompt, clock, self._small.shape[:2]
        self._clicks = [(self._spot(point.y, point.x, self._size), point.positive) for point in prompt.points]

    def candidates(self) -> list[Candidate]:
        """Best first, and unlike each other unless the picture gives no other mask."""
        found: list[Candidate] = []
        for base in self._bases():
            candidate = self._candidate(self._corrected(base))
            found += [candidate] if all(candidate.mask.iou(other.mask) < 0.8 for other in found) else []
            if len(found) == self._prompt.candidates:
                break
        return sorted((3 * found)[: self._prompt.candidates], key=lambda candidate: -candidate.score)

    def _bases(self) -> Iterator[Bools]:
        """Masks before the clicks correct them, the likeliest first; at the end it shrunk and grown."""
        prompt, hits = self._prompt, [spot for spot, positive in self._clicks if positive]
        if prompt.mask is not None or prompt.logits is not None:
            bases = iter([self._given()])
        elif prompt.box is not None:
            bases = iter(self._of_box(prompt.box))
        elif hits:
            bases = (self._cut(_grown(one, -0.12), one, _grown(one, 0.12), 2) for one in self._regions(hits[0]))
        else:
            raise BadPrompt("classic needs a point on the object, a box or a mask", code="prompt.no_positive")
        yield (first := next(bases))
        yield from bases
        yield from filter(np.any, (_grown(first, share) for share in (-0.12, 0.12, 0.25)))

    def _given(self) -> Bools:
        given = self._prompt.logits
        if given is None and self._prompt.mask is not None:
            given = self._prompt.mask.to_array() - np.float32(0.5)
        if not (isinstance(given, np.ndarray) and given.ndim == 2 and given.size and np.isfinite(given).all()):
            raise BadPrompt("logits are finite numbers [h, w]", code="prompt.logits")
        return _resized(given, self._size) > 0

    def _of_box(self, box: Box) -> list[Bools]:
        """What GrabCut finds, or the ellipse in the box where that is too small for it; then all pixels half in the box."""
        half, inside = 0.5 * max(self._full) / max(self._size), np.zeros(self._size, np.uint8)
        top, left = self._spot(box.y0 + half, box.x0 + half, self._size)
        bottom, right = np.maximum((top, left), self._spot(box.y1 - half, box.x1 - half, self._size)).tolist()
        inside[top : bottom + 1, left : right + 1] = 1
        cut = self._cut(inside > 1, inside > 0, inside > 0, 3)
        sides = bottom + 1 - top, right + 1 - left
        if min(np.divide(cv2.boundingRect(cut.view(np.uint8))[:1:-1], sides)) < 0.67:
            cut = cv2.ellipse(np.zeros_like(inside), (((left + right) / 2, (top + bottom) / 2), sides[::-1], 0), 1, -1) > 0
        return [cut, inside > 0]

    def _regions(self, spot: Spot) -> list[Bools]:
        """Nested regions around a spot: those of a good border first, with a mild liking for a twentieth of the picture."""
        start = [at * low // high for at, low, high in zip(spot, self._edge.shape, self._size, strict=True)]
        distance = _resized(_geodesic(self._edge, start), self._size)
        top = float(np.percentile(distance, 90))
        regions = [distance <= level for level in np.geomspace(max(0.3, top / 300), max(0.45, top), _LEVELS)]
        return sorted(regions, key=lambda one: -self._on_edges(one) * np.exp(-((np.log(max(one.mean(), 1e-6) / 0.06) / 4) ** 2)))

    def _cut(self, sure: Bools, likely: Bools, near: Bools, rounds: int) -> Bools:
        """GrabCut of the object that lies near, in a window around; `likely` where it finds nothing."""
        self._clock.check()
        x, y, width, height = cv2.boundingRect(near.view(np.uint8))
        down, across = max(8, height // 3), max(8, width // 3)
        window = np.s_[max(y - down, 0) : y + height + down, max(x - across, 0) : x + width + across]
        trimap = np.select([sure, likely, near], [cv2.GC_FGD, cv2.GC_PR_FGD, cv2.GC_PR_BGD], cv2.GC_BGD)
        part, found = np.ascontiguousarray(trimap[window], np.uint8), np.zeros(self._size, np.uint8)
        if (part % 2).any() and not (part % 2).all():  # odd is the object
            cv2.setRNGSeed(0)  # each thread has its own
            image, models = np.ascontiguousarray(self._small[window]), (np.zeros((1, 65)), np.zeros((1, 65)))
            for at in range(rounds):  # one by one, as a cancel has to wait for the end of each
                self._clock.check()
                cv2.grabCut(image, part, None, *models, 1, cv2.GC_EVAL if at else cv2.GC_INIT_WITH_MASK)
        found[window] = part % 2
        found = cv2.medianBlur(found, 5)
        return found.astype(bool) if found.any() else likely

    def _corrected(self, mask: Bools) -> Bools:
        """Each click that the mask disagrees with turns what it stands for; the later click is right where two differ."""
        for number, (spot, positive) in enumerate(self._clicks):
            if mask[spot] != positive:
                self._clock.check()
                mask = mask ^ self._patch(mask, spot, [other for other, sign in self._clicks[:number] if sign != positive])
        return mask

    def _patch(self, mask: Bools, spot: Spot, others: Sequence[Spot]) -> Bools:
        """What of its own side a click turns: what a watershed gives it, not the opposite clicks or what lies far too deep."""
        side = mask if mask[spot] else ~mask
        depth = cv2.distanceTransform(side.view(np.uint8), cv2.DIST_L2, 5)
        reach = 1.5 * min(float(depth[spot]), 1e4) + 2
        markers = 2 * (depth > reach).astype(np.int32)
        cv2.circle(markers, spot[::-1], int(reach), 0, -1)
        for other in others:
            markers[other] = 2
        if not markers.any() or (not mask[spot] and depth[spot] > 0.25 * np.sqrt(mask.sum())):  # a part of its own
            regions = (side & region for region in self._regions(spot))
            return next((region for region in regions if region.sum() < 0.9 * side.sum()), side)
        cv2.circle(markers, spot[::-1], 1, 1, -1)
        cv2.watershed(self._small, markers)
        return np.asarray(side & (markers != 2) & _grown(markers == 1, 0))  # takes the watershed itself too

    def _on_edges(self, mask: Bools) -> float:
        """Share of a mask's border that lies on edges, 0..1; the border of the picture counts as none."""
        inside = (_resized(mask, self._edge.shape) > 0.5).view(np.uint8)
        border = cv2.erode(inside, np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT, borderValue=0) < inside
        strength = np.minimum(cv2.dilate(self._edge, np.ones((5, 5)))[border] / 12, 1)
        return float(strength.sum() / max(len(strength), 1))

    def _candidate(self, mask: Bools) -> Candidate:
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)
        full = _resized(soft, self._full) > 0.5
        for point in self._prompt.points:
            full[self._spot(point.y, point.x, self._full)] = point.positive
        full = full if full.any() else _resized(mask, self._full) > 0
        return Candidate(Mask.from_array(full), self._on_edges(mask), 8 * soft - 4)

    def _spot(self, y: float, x: float, size: tuple[int, ...]) -> Spot:
        """Row and column, in a picture of a size, of a place in the full picture."""
        row, column = (min(max(int(at * to / of), 0), to - 1) for at, to, of in zip((y, x), size, self._full, strict=True))
        return row, column


def _shrunk(image: Image, long_px: int) -> Image:
    scale = min(1.0, long_px / max(image.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    return np.array(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def _resized(values: NDArray[Any], size: tuple[int, ...]) -> Floats:
    return np.asarray(cv2.resize(values.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR))


def _edges(image: Image) -> Floats:
    """Change of Lab colour per pixel, float32 [h, w], without the grain."""
    lab = cv2.cvtColor(cv2.medianBlur(image, 5), cv2.COLOR_RGB2Lab).astype(np.float32)
    slopes = [cv2.Scharr(cv2.GaussianBlur(lab, (0, 0), 1), cv2.CV_32F, 1 - down, down, scale=1 / 32) for down in (0, 1)]
    return np.asarray(np.sqrt(np.square(slopes).sum(axis=(0, 3))))


def _geodesic(edge: Floats, spot: Sequence[int]) -> Floats:
    """Least cost of a path to each pixel from the calm one beside a spot, over edges dearer than over calm; by sweeps."""
    row, column = spot
    for _ in range(3):  # a click on a border means the side that it leans to
        top, left = max(row - 1, 0), max(column - 1, 0)
        part = edge[top : row + 2, left : column + 2]
        row, column = top + int(part.argmin()) // part.shape[1], left + int(part.argmin()) % part.shape[1]
    distance = np.full(edge.shape, 1e6)
    distance[row, column] = 0
    sums = [np.cumsum(np.rot90(0.15 + (edge / 8) ** 1.5, turn), axis=0, dtype=np.float64) for turn in range(4)]
    for turn in range(_SWEEPS):
        distance = np.rot90(np.minimum.accumulate(distance - sums[turn % 4]) + sums[turn % 4])
    return distance.astype(np.float32)


def _grown(mask: Bools, share: float) -> Bools:
    """Dilated by a share of the root of its area, or eroded where that is negative, by one pixel at least."""
    width = 2 * max(1, round(abs(share) * float(np.sqrt(mask.sum())))) + 1
    change = cv2.erode if share < 0 else cv2.dilate
    return np.asarray(change(mask.view(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))) > 0)
