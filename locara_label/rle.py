"""COCO run-length encoding of masks (the only home of pycocotools).

A mask of shape [H, W] is read column by column; its runs alternate between background and foreground, background first.
`counts` is the compressed string of the COCO API ("compressed RLE"): runs as differences to the run before the last, in 5-bit
groups. Source of the format: maskApi.c of the COCO API.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from locara_label.errors import BadMask

Size = tuple[int, int]
"""Height and width in pixels."""

_MAX_PIXELS = (1 << 32) - 1
"""What pycocotools can count."""

_MAX_LIBRARY_PIXELS = 3 << 24
"""Masks up to which pycocotools may write strings. It keeps six bytes a run and writes a closing zero after them: where four runs
take six symbols each, which is 2^24 pixels or more, that zero lands in the bookkeeping of the heap."""

_TILE = 512
_MAX_OUTLINE_PX = 1 << 22
"""pycocotools walks a polygon in fifths of a pixel and holds every step."""


def encode(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> bytes:
    """[H, W] bool or 0/1 uint8 to compressed counts. Column-major input is encoded without a copy.

    Raises:
        BadMask: the array has another shape or type, or values above 1 (every change of value would start a run).
    """
    if mask.ndim != 2 or mask.dtype not in (np.bool_, np.uint8):
        raise BadMask(f"a mask is a bool or uint8 array [H, W], got {mask.dtype} {mask.shape}")
    if mask.size == 0:
        return b""
    if mask.dtype == np.uint8 and mask.max() > 1:
        raise BadMask(f"a uint8 mask holds 0 and 1, got {mask.max()}", code="mask.values")
    columns = _column_major(mask).view(np.uint8)
    if mask.size > _MAX_LIBRARY_PIXELS:
        return encode_labels(columns).get(1) or _packed(np.array([mask.size]))
    return bytes(coco.encode(columns)["counts"])


def _column_major(array: NDArray[Any]) -> NDArray[Any]:
    """The same values column by column; in tiles that fit the cache, ten times as fast as numpy's own copy."""
    if array.flags.f_contiguous:
        return array
    columns = np.empty(array.shape, array.dtype, order="F")
    for top in range(0, array.shape[0], _TILE):
        for left in range(0, array.shape[1], _TILE):
            tile = slice(top, top + _TILE), slice(left, left + _TILE)
            columns[tile] = array[tile]
    return columns


def row_major(array: NDArray[Any]) -> NDArray[Any]:
    """The same values row by row, as fast as they come."""
    return _column_major(array.T).T


def encode_labels(labels: NDArray[np.integer]) -> dict[int, bytes]:
    """[H, W] integer label map to one compressed RLE for each value that occurs, in one pass over the runs of all labels."""
    height, width = labels.shape
    flat = _column_major(labels).reshape(-1, order="F")
    if flat.size == 0:
        return {}
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    split = np.flatnonzero(np.diff(values[order])) + 1
    groups = np.split(order, split)
    return {int(values[group[0]]): compress(_counts(starts[group], ends[group], flat.size), (height, width)) for group in groups}


def _counts(starts: NDArray[np.int64], ends: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    edges = np.empty(2 * len(starts) + 2, np.int64)
    edges[0], edges[-1] = 0, total
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    counts = np.diff(edges)
    return counts if counts[-1] else counts[:-1]


def decode(counts: bytes, size: Size) -> NDArray[np.bool_]:
    """Compressed counts to a column-major bool array [H, W].

    Raises:
        BadMask: the runs do not add up to H * W.
    """
    runs = run_lengths(counts)
    _check_runs(runs, size)
    foreground = np.arange(len(runs)) % 2 == 1
    return np.repeat(foreground, runs).reshape(size, order="F")


def compress(counts: Sequence[int] | NDArray[np.int64], size: Size) -> bytes:
    """Run lengths (uncompressed RLE) to compressed counts.

    Raises:
        BadMask: a run is negative or not a whole number, or the runs do not add up to H * W.
    """
    try:
        runs = np.asarray(counts)
    except ValueError as error:
        raise BadMask("run lengths are a flat list of whole numbers", code="mask.counts") from error
    if runs.ndim != 1 or (runs.size and not np.issubdtype(runs.dtype, np.integer)):
        raise BadMask("run lengths are a flat list of whole numbers", code="mask.counts")
    runs = runs.astype(np.int64)
    _check_runs(runs, size)
    return _packed(runs) if size[0] * size[1] else b""


def _packed(runs: NDArray[np.int64]) -> bytes:
    """Run lengths to the string: the opposite of `run_lengths`."""
    deltas = runs.copy()
    deltas[3:] -= runs[1:-2]
    # Five bits a symbol, the sign among them: -16 to 15 take one, -512 to 511 two.
    lengths = 1 + sum(((deltas < -(16 << bits)) | (deltas >= 16 << bits)).astype(np.int64) for bits in range(0, 50, 5))
    ends = np.cumsum(lengths)
    place = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    symbols = np.repeat(deltas, lengths) >> (5 * place) & 0x1F
    symbols[place < np.repeat(lengths, lengths) - 1] |= 0x20
    return bytes((symbols + 48).astype(np.uint8))


def run_lengths(counts: bytes) -> NDArray[np.int64]:
    """Compressed counts to run lengths.

    Raises:
        BadMask: the string is not a compressed RLE.
    """
    symbols = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if symbols.size == 0:
        return np.zeros(0, np.int64)
    if symbols.min() < 0 or symbols.max() > 63 or symbols[-1] & 0x20:
        raise BadMask("counts is not a compressed RLE string", code="mask.counts")
    last = np.flatnonzero((symbols & 0x20) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    place = np.arange(symbols.size) - np.repeat(first, last - first + 1)
    if place.max() > 10:
        raise BadMask("counts has a run longer than 50 bits", code="mask.counts")
    deltas = np.add.reduceat((symbols & 0x1F) << (5 * place), first)
    deltas -= np.where(symbols[last] & 0x10, 1 << (5 * (place[last] + 1)), 0)
    return _undo_differences(deltas)


def _undo_differences(deltas: NDArray[np.int64]) -> NDArray[np.int64]:
    """From the fourth on, a run is stored as the difference to the run two before it."""
    runs = deltas.copy()
    runs[1::2] = np.cumsum(deltas[1::2])
    runs[2::2] = np.cumsum(deltas[2::2])
    return runs


def check(counts: bytes, size: Size) -> None:
    """Refuses counts that do not describe a mask of this size (pycocotools would read or write past its buffers).

    Raises:
        BadMask: with code `mask.counts` or `mask.size`.
    """
    _check_runs(run_lengths(counts), size)


def _check_runs(runs: NDArray[np.int64], size: Size) -> None:
    height, width = size
    if height < 0 or width < 0:
        raise BadMask(f"a mask size is not negative, got {height} x {width}", code="mask.size")
    if height * width > _MAX_PIXELS:
        raise BadMask(f"a mask of {height} x {width} has more than {_MAX_PIXELS} pixels", code="mask.size")
    if runs.size and not 0 <= runs.min() <= runs.max() <= _MAX_PIXELS:
        raise BadMask("a run length is negative or longer than any mask", code="mask.counts")
    if int(runs.sum()) != height * width:
        raise BadMask(
            f"runs add up to {int(runs.sum())}, a mask of {height} x {width} has {height * width} pixels", code="mask.size"
        )


def _coco(counts: bytes, size: Size) -> dict[str, object]:
    return {"size": [size[0], size[1]], "counts": counts}


def area(counts: bytes, size: Size) -> int:
    """Number of foreground pixels."""
    return int(coco.area(_coco(counts, size))) if counts else 0


def box_xywh(counts: bytes, size: Size) -> tuple[int, int, int, int]:
    """Smallest box around the foreground as (x, y, width, height) in whole pixels; (0, 0, 0, 0) for an empty mask."""
    if not counts:
        return 0, 0, 0, 0
    x, y, width, height = (int(v) for v in coco.toBbox(_coco(counts, size)))
    return x, y, width, height


def merge(parts: Iterable[bytes], size: Size, *, intersect: bool = False) -> bytes:
    """Union (or intersection) of masks of one size."""
    parts = list(parts)
    rles = [_coco(part, size) for part in parts]
    if not rles or size[0] * size[1] == 0:
        return encode(np.zeros(size, np.uint8))
    if size[0] * size[1] > _MAX_LIBRARY_PIXELS:
        unite = np.logical_and if intersect else np.logical_or
        return encode(reduce(unite, (decode(part, size) for part in parts)))
    return bytes(coco.merge(rles, intersect=int(intersect))["counts"])


def iou(one: bytes, other: bytes, size: Size) -> float:
    """Intersection over union; 0.0 when both masks are empty."""
    if not one or not other:
        return 0.0
    return float(coco.iou([_coco(one, size)], [_coco(other, size)], [0])[0, 0])


def from_polygons(polygons: Sequence[Sequence[float]], size: Size) -> bytes:
    """COCO polygons, each [x0, y0, x1, y1, ...] in pixels, rasterised by the COCO rule and united.

    Raises:
        BadMask: a polygon with fewer than three corners, with a coordinate that is not a finite number, or of an outline
            so long that no picture has it; code `mask.size` on more than 50 megapixels.
    """
    outlines = [_outline(polygon) for polygon in polygons]
    _check_runs(np.array([size[0] * size[1]]), size)
    if size[0] * size[1] > _MAX_LIBRARY_PIXELS:
        raise BadMask(f"polygons are not drawn on more than {_MAX_LIBRARY_PIXELS} pixels, here are {size}", code="mask.size")
    if not outlines or size[0] * size[1] == 0:
        return encode(np.zeros(size, np.uint8))
    rles = coco.frPyObjects(outlines, size[0], size[1])
    return bytes(coco.merge(rles)["counts"])


def _outline(polygon: Sequence[float]) -> list[float]:
    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadMask("a polygon is a flat list of numbers", code="mask.polygon") from error
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
        raise BadMask("a polygon is at least three finite x, y pairs", code="mask.polygon")
    steps = np.abs(np.diff(corners.reshape(-1, 2), axis=0, append=corners[None, :2])).max(axis=1)
    if steps.sum() > _MAX_OUTLINE_PX or np.abs(corners).max() > _MAX_OUTLINE_PX:
        raise BadMask(f"a polygon has an outline of more than {_MAX_OUTLINE_PX} pixels", code="mask.polygon")
    flat: list[float] = corners.tolist()
    return flat
