"""Resizing of pictures and of a model's scores, with the pixel conventions of the published models.

Every size is (height, width) in pixels. Scores are resized as in torch's `interpolate(mode="bilinear",
align_corners=False)`: pixel centres lie at half-integers, borders are held, and shrinking does not smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""Height and width in pixels."""

Floats = NDArray[np.float32]
_CHUNK_VALUES = 1 << 18
_BLOCK_COLUMNS = 32
"""What is in work at once fits a core's own cache; of 8 to 256 columns the fastest."""


def resize_bilinear(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] to [h, w, 3], smoothed when it shrinks.

    Equal to Pillow's bilinear filter, and done by it, since the image processors of SegFormer and Mask2Former use it.
    """
    from PIL import Image

    if image.shape[:2] == size:
        return image
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def resize_smoothed(plane: Floats, size: Size) -> Floats:
    """Float32 [H, W] to [h, w], smoothed when it shrinks: torch's bilinear interpolation with antialiasing, which is Pillow's."""
    from PIL import Image

    if plane.shape == size:
        return plane
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def normalise(image: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...], rescale: float = 1 / 255) -> Floats:
    """uint8 [H, W, 3] to float32 [1, 3, H, W]: (image * rescale - mean) / std for each channel."""
    height, width = image.shape[:2]
    planes = np.empty((1, 3, height, width), np.float32)
    for channel in range(3):
        np.multiply(image[:, :, channel], np.float32(rescale / std[channel]), out=planes[0, channel])
        planes[0, channel] -= np.float32(mean[channel] / std[channel])
    return planes


def upsample_logits(logits: Floats, size: Size) -> Floats:
    """Scores float32 [h, w] or [C, h, w] to [H, W] or [C, H, W], as in torch's bilinear interpolation (up or down)."""
    if logits.ndim == 2:
        return _resized(logits, size)
    out = np.empty((len(logits), *size), np.float32)
    for plane, target in zip(logits, out, strict=True):
        target[:] = _resized(plane, size)
    return out


def _resized(plane: Floats, size: Size) -> Floats:
    resized: Floats = cv2.resize(np.ascontiguousarray(plane), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return resized


def threshold_upsampled(logits: Floats, size: Size) -> NDArray[np.bool_]:
    """Where scores float32 [h, w], resized as in torch's bilinear interpolation, exceed zero: bool [H, W], column-major.

    No pixel can exceed zero unless one of its four neighbouring scores does, so only the rows and columns that see a positive
    score are interpolated, in blocks of columns: the scores are never held at full size.
    """
    mask = np.zeros(size[::-1], bool)
    positive = logits > 0
    rows, columns = _Neighbours.of(logits.shape[0], size[0]), _Neighbours.of(logits.shape[1], size[1])
    tall, wide = rows.reached(np.atleast_1d(positive.any(axis=1))), columns.reached(np.atleast_1d(positive.any(axis=0)))
    strips = np.ascontiguousarray(rows.mix(logits, tall).T)
    for start in range(wide.start, wide.stop, _BLOCK_COLUMNS):
        block = slice(start, min(start + _BLOCK_COLUMNS, wide.stop))
        np.greater(columns.mix(strips, block), 0, out=mask[block, tall])
    return mask.T


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """The two low-resolution values that each output position of an axis lies between, and the share of the second."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: Floats

    @classmethod
    def of(cls, low: int, high: int) -> _Neighbours:
        source = _source(low, high)
        first = np.minimum(source.astype(np.int64), low - 1)
        return cls(first, np.minimum(first + 1, low - 1), np.clip(source - first.astype(np.float32), 0, 1))

    def reached(self, values: NDArray[np.bool_]) -> slice:
        """The output positions from the first to the last that have a true neighbour."""
        found = np.flatnonzero(values[self.first] | values[self.second])
        return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)

    def mix(self, values: Floats, where: slice) -> Floats:
        """Interpolates float32 [low, n] along its first axis at some output positions."""
        share = self.weight[where, None]
        mixed: Floats = values[self.first[where]] * (1 - share)
        mixed += values[self.second[where]] * share
        return mixed


def box_ious(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of a box [4], given by its corners (x0, y0, x1, y1), with each of others [n, 4], all with area: float64 [n]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    total = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    ious: NDArray[np.float64] = shared / total
    return ious


def shrink_mask(mask: NDArray[np.bool_], size: Size) -> Floats:
    """The share of every cell that a mask covers, 0..1: bool [H, W] to float32 [h, w]."""
    shares: Floats = cv2.resize(np.ascontiguousarray(mask, np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return shares


def upsample_nearest(mask: NDArray[np.bool_], size: Size) -> NDArray[np.bool_]:
    """Bool [h, w] to [H, W] without new values, as torch's `interpolate(mode="nearest")`."""
    rows, columns = (_nearest(low, high) for low, high in zip(mask.shape, size, strict=True))
    return mask[rows[:, None], columns]


def _nearest(low: int, high: int) -> NDArray[np.int64]:
    scale = np.float32(low) / np.float32(high)
    return np.minimum((np.arange(high, dtype=np.float32) * scale).astype(np.int64), low - 1)


def argmax_upsampled(logits: Floats, size: Size) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Index of the best of C scores at each pixel, [H, W]; uint8 up to 256 channels, uint16 above. Ties: the lowest index.

    Equal to upsampling float32 [C, h, w] to `size` and taking the argmax, without ever holding C x H x W. Between four
    neighbouring scores the interpolation is a mean, so a channel that is best at all four is best everywhere between them,
    and where they disagree only channels whose highest corner reaches the best lowest corner can win. Only those are
    interpolated, in chunks of cells.
    """
    dtype = np.uint8 if len(logits) <= 256 else np.uint16
    best = _argmax(logits, dtype)
    rows, columns = _Axis.of(logits.shape[1], size[0]), _Axis.of(logits.shape[2], size[1])
    labels = np.repeat(np.repeat(best, columns.count, axis=1), rows.count, axis=0)
    row, column = np.nonzero(_unsettled(best) & (rows.count > 0)[:, None] & (columns.count > 0))
    patch = rows.position.shape[1] * columns.position.shape[1]
    chunk = max(1, _CHUNK_VALUES // max(patch, 4 * len(logits)))
    for start in range(0, len(row), chunk):
        _settle(labels, logits, (row[start : start + chunk], column[start : start + chunk]), (rows, columns))
    return labels


def _source(low: int, high: int) -> Floats:
    """Where the centres of `high` output pixels lie on an axis of `low` values."""
    scale = np.float32(low) / np.float32(high)
    centres: Floats = np.arange(high, dtype=np.float32) + np.float32(0.5)
    source: Floats = np.maximum(centres * scale - np.float32(0.5), np.float32(0))
    return source


@dataclass(frozen=True, slots=True)
class _Axis:
    """How output pixels lie between low-resolution neighbours along one axis of n values.

    Attributes:
        count: int64 [n], output pixels between neighbour i and i + 1.
        position: int64 [n, k], their positions; where a cell has fewer than k, its last one again.
        weight: float32 [n, k], the share of neighbour i + 1.
    """

    count: NDArray[np.int64]
    position: NDArray[np.int64]
    weight: Floats

    @classmethod
    def of(cls, low: int, high: int) -> _Axis:
        source = _source(low, high)
        cell = np.minimum(source.astype(np.int64), low - 1)
        count = np.bincount(cell, minlength=low)
        first = np.cumsum(count) - count
        within = np.minimum(np.arange(max(int(count.max()), 1)), np.maximum(count - 1, 0)[:, None])
        position = np.minimum(first[:, None] + within, high - 1)
        weight = np.clip(source[position] - np.arange(low, dtype=np.float32)[:, None], 0, 1)
        return cls(count, position, weight.astype(np.float32))


def _argmax(logits: Floats, dtype: Any) -> NDArray[Any]:
    """Argmax over the first axis; a running maximum reads memory in order, which numpy's own does not."""
    top = logits[0].copy()
    best = np.zeros(top.shape, dtype)
    for channel in range(1, len(logits)):
        better = logits[channel] > top
        np.copyto(best, channel, where=better, casting="unsafe")
        np.maximum(top, logits[channel], out=top)
    return best


def _unsettled(best: NDArray[Any]) -> NDArray[np.bool_]:
    """Cells [h, w] between (i, j) and (i + 1, j + 1) whose four corners disagree."""
    below, right = np.vstack([best[1:], best[-1:]]), np.hstack([best[:, 1:], best[:, -1:]])
    diagonal = np.vstack([right[1:], right[-1:]])
    differs: NDArray[np.bool_] = (best != below) | (best != right) | (best != diagonal)
    return differs


def _settle(
    labels: NDArray[Any], logits: Floats, cells: tuple[NDArray[np.int64], NDArray[np.int64]], axes: tuple[_Axis, _Axis]
) -> None:
    """Writes the labels of all pixels inside some cells."""
    corners = _corners(logits, cells)
    low, high = corners.min(axis=0), corners.max(axis=0)
    cell, channel = np.nonzero((high >= low.max(axis=0)).T)
    number = np.bincount(cell, minlength=len(cells[0]))
    order = np.argsort(-number, kind="stable")
    first = (np.cumsum(number) - number)[order]
    row, column = cells[0][order], cells[1][order]
    weights = axes[0].weight[row], axes[1].weight[column]
    winner = _contest(corners[:, :, order], (channel, first, number[order]), weights, labels.dtype)
    place = axes[0].position[row][:, :, None] * labels.shape[1] + axes[1].position[column][:, None, :]
    labels.reshape(-1)[place] = winner


def _corners(logits: Floats, cells: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Floats:
    """float32 [4, C, n]: top left, top right, bottom left, bottom right of n cells."""
    channels, height, width = logits.shape
    row, column = cells
    below, right = np.minimum(row + 1, height - 1), np.minimum(column + 1, width - 1)
    flat = logits.reshape(channels, -1)
    places = (row * width + column, row * width + right, below * width + column, below * width + right)
    return np.stack([flat.take(place, axis=1) for place in places])


def _contest(
    corners: Floats,
    candidates: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    weights: tuple[Floats, Floats],
    dtype: Any,
) -> NDArray[Any]:
    """Index of the winner at each pixel, [n, rows, columns].

    Args:
        corners: float32 [4, C, n].
        candidates: the channels that can win, cell after cell in rising order; where each of n cells starts in them; and how
            many each has, falling, so that those still in the contest at round k come first.
        weights: of the lower row [n, rows] and of the right column [n, columns].
        dtype: of the answer.
    """
    channel, first, number = candidates
    down, right = weights[0][:, :, None], weights[1][:, None, :]
    winner = np.empty((len(first), down.shape[1], right.shape[2]), dtype)
    top = np.empty(winner.shape, np.float32)
    for entry in range(int(number[0])):
        left = int(np.searchsorted(-number, -entry))
        contender = channel[first[:left] + entry]
        score = _interpolated(corners[:, contender, np.arange(left)], down[:left], right[:left])
        better = score > top[:left] if entry else np.ones(score.shape, bool)
        np.copyto(winner[:left], contender[:, None, None], where=better, casting="unsafe")
        np.copyto(top[:left], score, where=better)
    return winner


def _interpolated(corners: Floats, down: Floats, right: Floats) -> Floats:
    """Corners [4, n], weights [n, rows, 1] and [n, 1, columns] to [n, rows, columns]."""
    top_left, top_right, bottom_left, bottom_right = corners[:, :, None, None]
    near = top_left * (1 - down) + bottom_left * down
    far = top_right * (1 - down) + bottom_right * down
    score: Floats = near * (1 - right)
    score += far * right
    return score


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bool [H, W]: pixels that differ from the one to their right, below, or both (`seg2bmap` of the DAVIS 2017 code).

    The last row looks to the right only and the last column down only, so an edge of the picture is no boundary.
    """
    found = np.zeros(mask.shape, bool)
    found[:, :-1] |= mask[:, 1:] != mask[:, :-1]
    found[:-1] |= mask[1:] != mask[:-1]
    found[:-1, :-1] |= mask[1:, 1:] != mask[:-1, :-1]
    return found


def dilate_disk(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Bool [H, W]: pixels whose centre is at most so far from that of a foreground pixel."""
    across = np.arange(-radius_px, radius_px + 1)
    disk = (across[:, None] ** 2 + across**2 <= radius_px**2).astype(np.uint8)
    grown = cv2.dilate(np.ascontiguousarray(mask).view(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(grown, np.uint8).view(np.bool_)


def distance_px(mask: NDArray[np.bool_]) -> Floats:
    """Float32 [H, W]: how far the centre of each pixel is from that of the nearest foreground pixel, of which there is one."""
    away = np.ascontiguousarray(~mask).view(np.uint8)
    return np.asarray(cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
