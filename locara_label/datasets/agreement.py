"""Which masks of before became which masks of after, and how far apart they are: what reviews of pre-labels count with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from locara_label import geometry
from locara_label.types import Mask


class Overlapping(Protocol):
    """What covers something, such as a `Mask`."""

    def iou(self, other: Any, /) -> float:
        """With another one of its kind, 0..1."""
        ...


class Labeled(Protocol):
    """A mask under a label, or what else covers something."""

    @property
    def label(self) -> str: ...

    @property
    def mask(self) -> Overlapping: ...


@dataclass(frozen=True, slots=True)
class Matched:
    """The regions of one picture.

    Attributes:
        ious: of each final region with its pre-label, 0 without one.
        relabeled: final regions that changed class.
        removed: pre-labels without a final region.
        partners: the pre-label of each final region, None without one.
    """

    ious: list[float]
    relabeled: list[int]
    removed: list[int]
    partners: list[int | None]


def match(before: Sequence[Labeled], after: Sequence[Labeled]) -> Matched:
    """Pairs final regions with pre-labels, those of one class first, the largest IoU first; none is in two pairs."""
    table = np.array([[a.mask.iou(b.mask) for b in before] for a in after], np.float64).reshape(len(after), len(before))
    same = np.array([[a.label == b.label for b in before] for a in after], bool).reshape(table.shape)
    ious, relabeled, taken = [0.0] * len(after), list[int](), set[int]()
    partners: list[int | None] = [None] * len(after)
    for is_same in (True, False):
        pairs = np.argwhere((table > 0) & (same == is_same))
        for a, b in sorted(pairs.tolist(), key=lambda pair: -table[pair[0], pair[1]]):
            if ious[a] == 0 and b not in taken:
                ious[a], partners[a] = float(table[a, b]), b
                taken.add(b)
                relabeled += [] if is_same else [a]
    return Matched(ious, relabeled, [b for b in range(len(before)) if b not in taken], partners)


def boundary_distance(one: Mask, two: Mask) -> float | None:
    """How far the boundaries of two masks of one size are apart: the mean, in pixels, over the boundary pixels of both.

    Each boundary pixel counts with its distance to the nearest one of the other mask (the average symmetric surface distance).

    Returns:
        0.0 for equal masks; None where one of two different ones has no boundary, being empty or filling the picture.
    """
    if one == two:
        return 0.0
    window = _window(one.union(two))
    lines = tuple(geometry.boundary(mask.to_array()[window]) for mask in (one, two))
    if not all(line.any() for line in lines):
        return None
    distances = [geometry.distance_px(there)[here] for here, there in (lines, lines[::-1])]
    return float(np.concatenate(distances).mean())


def _window(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of a mask, and one more on each side, so that no boundary is cut off."""
    box = mask.box
    rows, columns = slice(max(int(box.y0) - 1, 0), int(box.y1) + 1), slice(max(int(box.x0) - 1, 0), int(box.x1) + 1)
    return rows, columns
