"""Masks without specks and small holes, as `remove_small_regions` of the Segment Anything paper's code."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadOption
from locara_label.types import Mask


def despeckle(mask: Mask, min_area: int) -> Mask:
    """The mask without parts and holes smaller than `min_area` pixels; every other pixel stays as it is.

    Pixels that touch at a corner are of one part or hole. Holes are filled first. Where all parts are small the largest stays,
    so that a mask that shows something never becomes empty.

    Raises:
        BadOption: `min_area` is negative or not a whole number.
    """
    if not isinstance(min_area, int) or isinstance(min_area, bool) or min_area < 0:
        raise BadOption(f"min_area is a whole number of pixels from 0, got {min_area!r}", code="option.min_area")
    if min_area <= 1 or not mask.area:
        return mask
    inside = mask.to_array()
    whole = inside | _small(~inside, min_area, keep_largest=False)
    return Mask.from_array(whole & ~_small(whole, min_area, keep_largest=True))


def _small(region: NDArray[np.bool_], min_area: int, *, keep_largest: bool) -> NDArray[np.bool_]:
    """The connected parts of a region that are smaller than an area."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(region).view(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    small = areas < min_area
    if keep_largest:
        small[int(areas.argmax())] = False
    small[0] = False
    found: NDArray[np.bool_] = small[parts]
    return found
