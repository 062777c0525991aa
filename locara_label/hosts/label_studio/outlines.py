"""Outer outlines of a mask along the edges of its pixels.

Filled again, an outline gives every pixel back (holes filled); contours through pixel centres, as OpenCV draws them, lose half a
pixel on each side. Parts that touch at a corner are one part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadMask
from locara_label.hosts.label_studio.shapes import fill_polygon
from locara_label.types import Mask

Points = NDArray[np.float64]
"""[N, 2]: x, y in pixels."""

MAX_PARTS = 100
MAX_EDGES = 1 << 19


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A connected part of a mask.

    Attributes:
        outline: its outer outline [N, 2], x and y in pixels, at most the tolerance away from the true one.
        mask: its pixels, exact, at the picture's size, without the holes.
        holes: whether the outline covers pixels that the mask does not have.
    """

    outline: Points
    mask: Mask
    holes: bool


def parts(mask: Mask, tolerance_px: float, most: int = MAX_PARTS) -> tuple[list[Part], int]:
    """The largest parts of a mask, largest outline first, and how many smaller ones are left out.

    Raises:
        BadMask: code `mask.ragged`; the outlines have more than `MAX_EDGES` edges, which no editor could show either.
    """
    array = mask.to_array()
    outer = sorted((loop for loop in _loops(array) if _signed_area(loop) > 0), key=_signed_area)
    kept = outer[-most:]
    found = []
    # A part inside the hole of another has the smaller outline, and takes its pixels first.
    for loop in kept:
        x0, y0, x1, y1 = (int(v) for v in (*loop.min(axis=0), *loop.max(axis=0)))
        window = array[y0:y1, x0:x1]
        inside = fill_polygon(loop - (x0, y0), (y1 - y0, x1 - x0)).to_array()
        own = window & inside
        window[own] = False
        whole = np.zeros(mask.size, bool, order="F")
        whole[y0:y1, x0:x1] = own
        found.append(Part(simplified(loop, tolerance_px), Mask.from_array(whole), bool((inside & ~own).any())))
    return found[::-1], len(outer) - len(kept)


def simplified(loop: Points, tolerance_px: float) -> Points:
    """A closed outline with fewer corners, none of the left-out ones further away than the tolerance (Douglas and Peucker)."""
    if tolerance_px <= 0 or len(loop) < 4:
        return loop
    far = int(np.argmax(((loop - loop[0]) ** 2).sum(axis=1)))
    closed = np.concatenate([loop, loop[:1]])
    keep = np.zeros(len(closed), bool)
    keep[[0, far]] = True
    waiting = [(0, far), (far, len(loop))]
    while waiting:
        first, last = waiting.pop()
        middle = _furthest(closed, first, last, tolerance_px)
        if middle is not None:
            keep[middle] = True
            waiting += [(first, middle), (middle, last)]
    fewer = loop[keep[:-1]]
    return fewer if len(fewer) >= 3 else loop


def _furthest(points: Points, first: int, last: int, tolerance_px: float) -> int | None:
    """Index of the point furthest from the chord between two, if it lies further than the tolerance."""
    if last - first < 2:
        return None
    chord, between = points[last] - points[first], points[first + 1 : last] - points[first]
    along = np.clip(between @ chord / max(float(chord @ chord), 1e-12), 0, 1)
    distance = ((between - along[:, None] * chord) ** 2).sum(axis=1)
    at = int(np.argmax(distance))
    return first + 1 + at if distance[at] > tolerance_px**2 else None


def _signed_area(loop: Points) -> float:
    """Positive for outer outlines, which run clockwise on the screen."""
    x, y = loop.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Straight edges between corners of pixels: keys of where each starts and ends, and the start as x, y.

    A key is a corner's number times two, plus 0 or 1 for the direction. Where two parts touch at a corner two edges arrive and
    two leave; those of equal direction bit go on into each other, which joins the parts.
    """

    start_keys: NDArray[np.int64]
    end_keys: NDArray[np.int64]
    starts: NDArray[np.int64]


def _loops(mask: NDArray[np.bool_]) -> list[Points]:
    """All closed outlines, corner after corner, with the foreground on the right hand."""
    across, down = _across(mask), _down(mask)
    if len(across.starts) > MAX_EDGES:
        raise BadMask(f"a mask with {2 * len(across.starts)} straight edges is too ragged for polygons", code="mask.ragged")
    to_down, to_across = np.empty(len(across.starts), np.int64), np.empty(len(down.starts), np.int64)
    to_down[np.argsort(across.end_keys)] = np.argsort(down.start_keys)
    to_across[np.argsort(down.end_keys)] = np.argsort(across.start_keys)
    following = to_across[to_down].tolist()
    corners = np.stack([across.starts, down.starts[to_down]], axis=1)
    return [corners[cycle].reshape(-1, 2).astype(np.float64) for cycle in _cycles(following)]


def _cycles(following: list[int]) -> list[list[int]]:
    cycles, seen = [], bytearray(len(following))
    for first in range(len(following)):
        cycle = []
        while not seen[first]:
            seen[first] = 1
            cycle.append(first)
            first = following[first]  # noqa: PLW2901 - walks along the outline
        if cycle:
            cycles.append(cycle)
    return cycles


def _across(mask: NDArray[np.bool_]) -> _Edges:
    """Horizontal edges: to the right above the foreground, to the left below it."""
    row, left, right, below = _runs(mask)
    x0, x1 = np.where(below, left, right), np.where(below, right, left)
    return _edges(np.stack([x0, row], axis=1), np.stack([x1, row], axis=1), ~below, mask.shape[1])


def _down(mask: NDArray[np.bool_]) -> _Edges:
    """Vertical edges: up along the left side of the foreground, down along its right side."""
    column, top, bottom, rightwards = _runs(mask.T)
    y0, y1 = np.where(rightwards, bottom, top), np.where(rightwards, top, bottom)
    starts, ends = np.stack([column, y0], axis=1), np.stack([column, y1], axis=1)
    edges = _edges(starts, ends, rightwards, mask.shape[1])
    # As followers of horizontal edges: right goes on up, left goes on down.
    return _Edges(edges.start_keys ^ 1, edges.end_keys, starts)


def _edges(starts: NDArray[np.int64], ends: NDArray[np.int64], bit: NDArray[np.bool_], width: int) -> _Edges:
    number = np.array([1, width + 1])
    return _Edges(2 * (starts @ number) + bit, 2 * (ends @ number) + bit, starts)


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Straight edges between rows: the line (0 is above the first row), first and last corner, and whether foreground follows."""
    height, width = mask.shape
    change = np.zeros((height + 1, width + 2), np.int8)
    change[:-1, 1:-1] += mask
    change[1:, 1:-1] -= mask.view(np.uint8).astype(np.int8)
    line, corner = np.nonzero(change[:, 1:] != change[:, :-1])
    before, after = change[line, corner], change[line, corner + 1]
    opens, closes = after != 0, before != 0
    return line[opens], corner[opens], corner[closes], after[opens] > 0
