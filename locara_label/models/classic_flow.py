"""Where an object is on the next frame, by optical flow and by how likely each pixel's colour is in it.

Dense flow is that of Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016. Masks are bool [h, w]; `ratio` is
float32 [h, w], the logarithm of how much likelier a pixel's colour is in the object than around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from locara_label.models.base import Clock

Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Flows = tuple[Floats, Floats]
"""To the other frame and back, each float32 [h, w, 2] in pixels, x before y."""

_MIN_FLOW_PX = 16
_RETURN_PX, _RIGID = 1.5, 0.6  # of a pixel that is found again; share of pixels that one motion explains
_CERTAIN, _PRIOR = 4.0, 2.0  # most that a colour says, and that a place says within the object; logarithms
_DEEP_PX, _GROW_PX, _FIRM_PX = 10, 5, 2  # over which a place says it: inside, and outside while parts are hidden, or not
_LEAST_PX, _LOST = 8, 0.06  # pixels, and share of its area, of an object in sight
_BACK, _TOO_MUCH, _BACK_RATIO = 0.15, 1.6, 2.0  # shares of its area, and how sure its colours are, on its return
_REACH, _WIDENS, _FARTHEST = 0.2, 0.01, 0.3  # how far from its last place, in sides of the picture, more with every frame


@dataclass(frozen=True, eq=False)
class Place:
    """An object on a frame.

    Attributes:
        inside: what is in sight.
        body: the same, with what others hide of it.
        area: pixels of the whole object, as far as it was seen.
        away: frames for which it has been out of sight.
    """

    inside: Bools
    body: Bools
    area: float
    away: int = 0

    @property
    def lost(self) -> bool:
        """Too little is in sight."""
        return bool(self.inside.sum() < max(_LEAST_PX, _LOST * self.area))


def flows_between(before: Bytes, now: Bytes, clock: Clock) -> Flows:
    """Flow between two grey frames [h, w]; none between very small ones. Raises Cancelled, DeadlineExceeded."""
    none = np.zeros((*now.shape, 2), np.float32)
    if min(now.shape) < _MIN_FLOW_PX:
        return none, none
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there = np.asarray(flow.calc(before, now, none.copy()), np.float32)
    clock.check()
    return there, np.asarray(flow.calc(now, before, none.copy()), np.float32)


def carry(ratio: Floats, before: Place, flows: Flows) -> Place:
    """The object near where the flow carries it. It may grow while it is not all in sight."""
    motion = _motion(before.inside, flows)
    likely, area = _carried(before.inside, motion, flows), before.area
    if motion is not None:
        likely = likely | _carried(before.body, motion, flows)
        whole = before.inside.sum() > 0.8 * area  # parts tell little of a change of size
        area *= float(np.clip(np.linalg.det(motion[:, :2]), 0.9, 1.1)) if whole else 1
    inner = likely[2:-2, 2:-2]
    partly = likely.sum() > inner.sum() or likely.sum() < 0.95 * area
    depth = _distance(~likely) - _distance(likely)
    place = depth / np.where(depth > 0, _DEEP_PX, _GROW_PX if partly else _FIRM_PX)
    found = _largest(ratio.clip(-_CERTAIN, _CERTAIN) + _PRIOR * place.clip(-3, 1) > 0, 0.1)
    return Place(found, found if found.sum() > 0.9 * likely.sum() else likely, max(area, float(found.sum())))


def search(ratio: Floats, last: Place) -> Place | None:
    """The largest patch of the object's colours, of a likely size, near where it was last; None where there is none."""
    patches = cv2.medianBlur((ratio > _BACK_RATIO).view(np.uint8), 5)
    _, numbers, facts, _ = cv2.connectedComponentsWithStats(patches, connectivity=4)
    reach = min(_REACH + _WIDENS * last.away, _FARTHEST) * max(ratio.shape)
    close = np.unique(numbers[_distance(last.inside) < reach]) if last.inside.any() else range(len(facts))
    least, most = max(_LEAST_PX, _BACK * last.area), _TOO_MUCH * last.area or np.inf
    sizes = {int(number): int(facts[number, cv2.CC_STAT_AREA]) for number in close if number}
    fitting = [number for number, size in sizes.items() if least < size < most]
    if not fitting:
        return None
    best = max(fitting, key=lambda number: sizes[number])
    found = np.asarray(numbers == best)
    return Place(found, found, max(last.area, float(sizes[best])))


def _motion(inside: Bools, flows: Flows) -> Floats | None:
    """The one motion of most pixels, a similarity [2, 3]; None where there is none, or few lead back again."""
    places = np.argwhere(inside)[:, ::-1].astype(np.float32)
    source = places[:: len(places) // 1000 + 1]
    if len(source) < _LEAST_PX:
        return None
    target = source + flows[0][source[:, 1].astype(int), source[:, 0].astype(int)]
    back = cv2.remap(
        flows[1], target[:, None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(1e4, 1e4, 0, 0)
    )
    good = np.linalg.norm(target + back[:, 0] - source, axis=1) < _RETURN_PX
    if good.sum() < max(_LEAST_PX, 0.15 * len(source)):
        return None
    fit, fits = cv2.estimateAffinePartial2D(source[good], target[good], method=cv2.RANSAC, ransacReprojThreshold=1.0)
    return fit if fit is not None and fits.mean() > _RIGID else None


def _carried(mask: Bools, motion: Floats | None, flows: Flows) -> Bools:
    values, (height, width) = mask.astype(np.float32), mask.shape
    if motion is not None:
        return np.asarray(cv2.warpAffine(values, motion, (width, height)) > 0.5)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.asarray(cv2.remap(values, columns + flows[1][..., 0], rows + flows[1][..., 1], cv2.INTER_LINEAR) > 0.5)


def _largest(mask: Bools, share: float) -> Bools:
    """Without specks, and without parts below a share of the largest one."""
    _, numbers, facts, _ = cv2.connectedComponentsWithStats(cv2.medianBlur(mask.view(np.uint8), 5), connectivity=4)
    sizes = facts[:, cv2.CC_STAT_AREA].copy()
    sizes[0] = 0
    return np.asarray((sizes > share * sizes.max())[numbers])


def _distance(mask: Bools) -> Floats:
    """To the nearest pixel of a mask, in pixels, 0 within it; nowhere farther than the picture is large."""
    return np.asarray(cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5)).clip(0, sum(mask.shape))
