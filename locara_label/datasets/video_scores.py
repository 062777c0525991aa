"""How well masklets follow the true ones: J (region), F (boundary) and their mean, as the DAVIS 2017 challenge defines them.

Source of the measures: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016,
and the evaluation code of DAVIS 2017. An object that is rightly absent counts as 1, one that is wrongly there or missing as 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry
from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.errors import BadDataset
from locara_label.types import Mask

Bools = NDArray[np.bool_]

TOLERANCE = 0.008
"""How far boundaries may be apart, as a part of the picture's diagonal; rounded up to whole pixels."""


@dataclass(frozen=True, slots=True)
class Score:
    """Means in 0..1.

    Attributes:
        j: region similarity, intersection over union.
        f: boundary accuracy, harmonic mean of precision and recall.
    """

    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        return (self.j + self.f) / 2


@dataclass(frozen=True, slots=True)
class VideoScore:
    """The score of a video.

    Attributes:
        objects: means over the frames, by track id.
        mean: over the objects.
    """

    objects: Mapping[int, Score]
    mean: Score


def region(found: Mask | None, true: Mask | None) -> float:
    """Intersection over union; 1.0 where both are absent. Masks are of one size."""
    if found is None or not found.area:
        return float(true is None or not true.area)
    return 0.0 if true is None else found.iou(true)


def contour(found: Mask | None, true: Mask | None, tolerance: float = TOLERANCE) -> float:
    """Harmonic mean of the parts of either boundary that the other comes near to. Masks are of one size.

    A mask that fills the picture has no boundary, as one that is absent.

    Args:
        found: None where the object is absent.
        true: likewise.
        tolerance: below 1 a part of the picture's diagonal, from 1 up in pixels.
    """
    size = next((mask.size for mask in (found, true) if mask is not None), None)
    if size is None:
        return 1.0
    lines = [np.zeros(size, bool) if mask is None else geometry.boundary(mask.to_array()) for mask in (found, true)]
    radius = int(tolerance if tolerance >= 1 else np.ceil(tolerance * np.hypot(*size)))
    return _harmonic(*_cropped(lines[0], lines[1], radius), radius)


def evaluate(found: MaskletVideo, true: MaskletVideo, skip: Collection[int] = ()) -> VideoScore:
    """Scores the objects of `true` in its annotated frames. One that `found` lacks, or has in no such frame, is absent there.

    Args:
        found: objects are the same as those of `true` where their track ids are.
        true: with at least one object and frame.
        skip: frames left out. DAVIS leaves out the first, where the object is given, and the last.

    Raises:
        BadDataset: `video.size`, or `video.empty` when there is nothing to score.
    """
    if found.size != true.size:
        raise BadDataset(f"masklets of {found.size} and {true.size} (height, width) cannot be compared", code="video.size")
    frames = [frame for frame in true.frames if frame not in set(skip)]
    if not frames or not true.masklets:
        raise BadDataset(f"video {true.name!r:.120} has no object or no frame to score", code="video.empty")
    theirs = {masklet.track_id: _by_frame(masklet, found) for masklet in found.masklets}
    objects = {
        masklet.track_id: _score(theirs.get(masklet.track_id, {}), _by_frame(masklet, true), frames) for masklet in true.masklets
    }
    return VideoScore(objects, _mean(list(objects.values())))


def _by_frame(masklet: Masklet, video: MaskletVideo) -> dict[int, Mask | None]:
    return dict(zip(video.frames, masklet.masks, strict=True))


def _score(found: Mapping[int, Mask | None], true: Mapping[int, Mask | None], frames: list[int]) -> Score:
    pairs = [(found.get(frame), true[frame]) for frame in frames]
    return _mean([Score(region(*pair), contour(*pair)) for pair in pairs])


def _mean(scores: list[Score]) -> Score:
    return Score(sum(score.j for score in scores) / len(scores), sum(score.f for score in scores) / len(scores))


def _cropped(one: Bools, two: Bools, margin: int) -> tuple[Bools, Bools]:
    """Both without the rows and columns too far from any boundary to matter, as dilation takes long."""
    there = np.nonzero(one | two)
    window = tuple(slice(max(int(line.min()) - margin, 0), int(line.max()) + margin + 1) for line in there if line.size)
    return one[window], two[window]


def _harmonic(found: Bools, true: Bools, radius: int) -> float:
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    precision = float(geometry.dilate_disk(true, radius)[found].mean())
    recall = float(geometry.dilate_disk(found, radius)[true].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
