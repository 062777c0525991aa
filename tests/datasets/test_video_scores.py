"""J and F against slow code that follows their definitions word by word."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from masklet_samples import CUP, square

from locara_label import geometry
from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.datasets.video_scores import Score, contour, evaluate, region
from locara_label.errors import BadDataset
from locara_label.types import Mask

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

quick = settings(deadline=None, max_examples=60)
pairs = hnp.array_shapes(min_dims=2, max_dims=2, max_side=14).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


def slow_boundary(pixels):
    """Pixels that differ from the next to the right, below or both; the last row looks right only, the last column down only."""
    height, width = pixels.shape
    found = set()
    for y in range(height):
        for x in range(width):
            steps = [(0, 1), (1, 0), (1, 1)]
            near = [(y + dy, x + dx) for dy, dx in steps if y + dy < height and x + dx < width]
            if any(pixels[y, x] != pixels[other] for other in near):
                found.add((y, x))
    return found


def slow_f(one, two, tolerance=0.008):
    radius = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*one.shape))
    lines = slow_boundary(one), slow_boundary(two)

    def share(line, other):
        near = [any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in other) for y, x in line]
        return sum(near) / len(near)

    if not lines[0] or not lines[1]:
        return float(bool(lines[0]) == bool(lines[1]))
    precision, recall = share(*lines), share(*lines[::-1])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@quick
@given(pairs, st.sampled_from([0.008, 0.2, 1, 2, 3]))
def test_f_is_that_of_the_definition(pair, tolerance):
    one, two = pair
    found = contour(Mask.from_array(one), Mask.from_array(two), tolerance)
    assert found == pytest.approx(slow_f(one, two, tolerance), abs=1e-12)


def test_f_at_the_tolerance_of_davis():
    """Squares that are apart by as much as 0.008 of the diagonal allows, and by one pixel more."""
    size = (96, 128)  # a diagonal of 160 px: 1.28 px, rounded up to 2
    true = np.zeros(size, bool)
    true[20:60, 30:90] = True
    for shift, whole in ((2, True), (3, False)):
        moved = np.roll(true, shift, axis=1)
        found = contour(Mask.from_array(moved), Mask.from_array(true))
        assert (found == 1.0) is whole
        assert found == pytest.approx(slow_f(moved, true), abs=1e-12)


@quick
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(0, 4))
def test_dilation_reaches_as_far_as_the_radius(pixels, radius):
    points = np.argwhere(pixels)
    grid = np.argwhere(np.ones_like(pixels))
    near = (((grid[:, None] - points[None]) ** 2).sum(axis=2) <= radius**2).any(axis=1)
    np.testing.assert_array_equal(geometry.dilate_disk(pixels, radius), near.reshape(pixels.shape))


@quick
@given(pairs)
def test_j_is_that_of_the_definition(pair):
    one, two = pair
    union = (one | two).sum()
    expected = (one & two).sum() / union if union else 1.0
    assert region(Mask.from_array(one), Mask.from_array(two)) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [region, contour])
def test_absence(measure):
    there = square(1, 1)
    assert measure(None, None) == 1.0
    assert measure(there, None) == measure(None, there) == 0.0
    assert measure(there, there) == 1.0


def video(*rows, frames=(0, 1, 2)):
    masklets = tuple(Masklet(number, CUP, masks) for number, masks in rows)
    return MaskletVideo("v", 8, 6, 9, frames, masklets)


def test_the_mean_is_over_frames_then_objects():
    here, there = square(0, 0), square(4, 3)
    true = video((1, (here, here, here)), (2, (None, there, there)))
    found = video((2, (None, there, None)), (1, (here, there, here)), (9, (here, here, here)))
    score = evaluate(found, true)
    assert score.objects == {1: Score(2 / 3, 2 / 3), 2: Score(2 / 3, 2 / 3)}
    assert score.mean.j_and_f == pytest.approx(2 / 3)
    assert evaluate(found, true, skip=(0, 2)).objects == {1: Score(0.0, 0.0), 2: Score(1.0, 1.0)}


def test_frames_that_were_not_found_count_as_absent():
    here = square(0, 0)
    true = video((1, (here, here, None)))
    assert evaluate(video((1, (here,)), frames=(0,)), true).mean == Score(2 / 3, 2 / 3)
    assert evaluate(video(), true).mean == Score(1 / 3, 1 / 3)


def test_frames_are_matched_by_number():
    here, there = square(0, 0), square(4, 3)
    found = video((1, (there, here, there)), frames=(1, 4, 7))
    assert evaluate(found, video((1, (here,)), frames=(4,))).mean == Score(1.0, 1.0)


def test_what_cannot_be_scored():
    one = video((1, (square(0, 0),)), frames=(0,))
    for found, true, skip, code in (
        (one, video(), (), "video.empty"),
        (one, one, (0,), "video.empty"),
        (MaskletVideo("v", 6, 8, 9, (), ()), one, (), "video.size"),
    ):
        with pytest.raises(BadDataset) as caught:
            evaluate(found, true, skip)
        assert caught.value.code == code
