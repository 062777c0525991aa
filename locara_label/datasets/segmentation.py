"""The `segmentation` of an annotation, from a file that nobody vouches for, to a mask."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import rle
from locara_label.errors import BadMask
from locara_label.types import Mask

_MAX_COORDINATE_PX = 1e8
_MAX_BOUNDARY_PX = 4_000_000
"""The COCO API spends 5 steps and 60 bytes on each pixel of a polygon's boundary."""


def decode(segmentation: Any, size: rle.Size) -> Mask:
    """String RLE, list RLE or polygons, for a picture of this height and width.

    Raises:
        BadMask: `mask.kind`, `mask.size` (another size than the picture, or runs that do not add up to it), `mask.counts` or
            `mask.polygon`.
    """
    if isinstance(segmentation, dict):
        return Mask(size, _counts(segmentation, size))
    if isinstance(segmentation, list):
        for polygon in segmentation:
            corners(polygon)
        return Mask(size, rle.from_polygons(segmentation, size))
    raise BadMask(f"a segmentation is an RLE or a list of polygons, got {reprlib.repr(segmentation)}", code="mask.kind")


def corners(polygon: Any) -> NDArray[np.float64]:
    """[x0, y0, x1, y1, ...] to [N, 2] in pixels, N >= 3.

    Raises:
        BadMask: `mask.polygon`; also for one so long or far away that rasterising it would exhaust the memory.
    """
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not set(map(type, polygon)) <= {int, float}:
        raise BadMask(f"a polygon is at least three x, y pairs, got {reprlib.repr(polygon)}", code="mask.polygon")
    if max(map(abs, polygon)) > _MAX_COORDINATE_PX:
        raise BadMask(f"a polygon reaches too far: {reprlib.repr(polygon)}", code="mask.polygon")
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    if boundary_px(points) > _MAX_BOUNDARY_PX:
        raise BadMask(f"a polygon's boundary is longer than {_MAX_BOUNDARY_PX} px", code="mask.polygon")
    return points


def boundary_px(points: NDArray[np.float64]) -> float:
    """Length of the closed boundary of [N, 2] corners, each edge as its longer side."""
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _counts(segmentation: Mapping[str, Any], size: rle.Size) -> bytes:
    if segmentation.get("size") != list(size):
        found = reprlib.repr(segmentation.get("size"))
        raise BadMask(f"the RLE is of size {found}, its picture of {list(size)} (height, width)", code="mask.size")
    counts, pixels = segmentation.get("counts"), size[0] * size[1]
    if isinstance(counts, list):
        if not set(map(type, counts)) <= {int} or (counts and not (min(counts) >= 0 and max(counts) <= pixels)):
            raise BadMask(f"a run length is not a whole number in 0..{pixels}: {reprlib.repr(counts)}", code="mask.counts")
        return rle.compress(np.asarray(counts, np.int64), size)
    if not isinstance(counts, str) or not counts.isascii():
        raise BadMask(f"counts is not an RLE string or list: {reprlib.repr(counts)}", code="mask.counts")
    return _checked(counts.encode("ascii"), pixels)


def _checked(counts: bytes, pixels: int) -> bytes:
    """Each run is bounded before they are added up, as the sum of hostile runs could wrap around to the right number."""
    runs = rle.run_lengths(counts)
    if runs.size and (runs.min() < 0 or runs.max() > pixels):
        raise BadMask(f"a run length is not in 0..{pixels}", code="mask.counts")
    if int(runs.sum()) != pixels:
        raise BadMask(f"runs add up to {int(runs.sum())}, the picture has {pixels} pixels", code="mask.size")
    return counts
