"""Boxes of every frame to few keyframes, between which the editor draws straight lines.

From its keyframe up to the next one the editor lets a box slide in straight lines; before the first it shows nothing.
A keyframe with `enabled: false` is still shown on its own frame, and is the last of its span: after it nothing is shown up to the
next keyframe (VideoRegion.js and VideoRectangleRegion.js of 1.23.2: `isInLifespan`, `getShape`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from locara_label.types import Box

Corners = tuple[float, float, float, float]


class Key(NamedTuple):
    """A keyframe: its frame, and whether the box is shown after it."""

    frame: int
    enabled: bool


def keyframes(boxes: Mapping[int, Box], frame_count: int, tolerance_px: float, fixed: Collection[int] = ()) -> tuple[Key, ...]:
    """The frames to write so that what the editor shows is off by at most the tolerance, on each side of each box.

    Each keyframe reaches as far as it can, so there are few of them, though not always the fewest.

    Args:
        boxes: in pixels, by frame, from 1; a frame without a box shows nothing.
        frame_count: of the editor; a span that ends before has a last keyframe that is not enabled.
        tolerance_px: how far a side may lie off.
        fixed: frames that are keyframes in any case, where they have a box.
    """
    found: list[Key] = []
    for span in _spans(sorted(boxes)):
        corners = [_corners(boxes[frame]) for frame in span]
        kept = _kept(corners, tolerance_px, [frame in fixed for frame in span])
        found += [Key(span[at], enabled=True) for at in kept]
        if span[-1] < frame_count:
            found[-1] = Key(span[-1], enabled=False)
    return tuple(found)


def shown(keys: Iterable[tuple[Key, Box]], frame_count: int) -> dict[int, Box]:
    """What the editor shows of keyframes, by frame, from 1: the inverse of `keyframes`, within its tolerance."""
    ordered = sorted(keys, key=lambda one: one[0].frame)
    found: dict[int, Box] = {}
    for number, (key, box) in enumerate(ordered):
        found[key.frame] = box
        if key.enabled:
            end, to = (
                (ordered[number + 1][0].frame, ordered[number + 1][1]) if number + 1 < len(ordered) else (frame_count + 1, box)
            )
            for frame in range(key.frame + 1, end):
                found[frame] = _between(box, to, (frame - key.frame) / (end - key.frame))
    return found


def _spans(frames: Sequence[int]) -> Iterable[range]:
    """Runs of frames that follow each other."""
    start = 0
    for at in range(1, len(frames) + 1):
        if at == len(frames) or frames[at] != frames[at - 1] + 1:
            yield range(frames[start], frames[at - 1] + 1)
            start = at


def _kept(corners: Sequence[Corners], tolerance: float, fixed: Sequence[bool]) -> list[int]:
    """Places of a span that are written, the first and the last always."""
    kept = [0]
    while kept[-1] < len(corners) - 1:
        kept.append(_farthest(corners, kept[-1], tolerance, fixed))
    return kept


def _farthest(corners: Sequence[Corners], start: int, tolerance: float, fixed: Sequence[bool]) -> int:
    """The last place up to which a straight line from `start` stays within the tolerance of all that it passes.

    For each side it keeps the slopes that pass all places so far; a place can be reached where its own slope is among them.
    """
    low, high, best = [-math.inf] * 4, [math.inf] * 4, start + 1
    for place in range(start + 1, len(corners)):
        steps = place - start
        slopes = [(there - here) / steps for here, there in zip(corners[start], corners[place], strict=True)]
        if all(least <= slope <= most for least, slope, most in zip(low, slopes, high, strict=True)):
            best = place
        if fixed[place]:
            return best
        low = [max(least, slope - tolerance / steps) for least, slope in zip(low, slopes, strict=True)]
        high = [min(most, slope + tolerance / steps) for most, slope in zip(high, slopes, strict=True)]
        if any(least > most for least, most in zip(low, high, strict=True)):
            break
    return best


def _corners(box: Box) -> Corners:
    return box.x0, box.y0, box.x1, box.y1


def _between(one: Box, other: Box, share: float) -> Box:
    pairs = zip(_corners(one), _corners(other), strict=True)
    return Box(*(start + (end - start) * share for start, end in pairs))
