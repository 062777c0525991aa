from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from locara_label import geometry
from locara_label.datasets.agreement import boundary_distance, match
from locara_label.types import Mask

SIZE = (20, 30)


@dataclass(frozen=True)
class Region:
    label: str
    mask: Mask


def box(x0: int, y0: int, x1: int, y1: int, label: str = "a") -> Region:
    canvas = np.zeros(SIZE, bool)
    canvas[y0:y1, x0:x1] = True
    return Region(label, Mask.from_array(canvas))


def test_partners_are_of_one_class_first_and_the_nearest() -> None:
    before = [box(0, 0, 10, 10, "a"), box(0, 0, 10, 8, "b"), box(20, 0, 30, 10, "c")]
    matched = match(before, [box(0, 0, 10, 10, "b"), box(0, 10, 5, 20, "d"), box(0, 0, 10, 10, "e")])
    assert matched.partners == [1, None, 0]
    assert matched.ious == [pytest.approx(0.8), 0.0, 1.0]
    assert (matched.relabeled, matched.removed) == ([2], [2])


def test_nothing_against_nothing() -> None:
    assert match([], []).partners == []
    assert match([], []).ious == []
    assert match([box(0, 0, 5, 5)], []).removed == [0]


def by_hand(one: np.ndarray, two: np.ndarray) -> float:
    lines = [np.argwhere(geometry.boundary(mask)).astype(float) for mask in (one, two)]
    apart = np.hypot(*(lines[0][:, None] - lines[1][None]).transpose(2, 0, 1))
    return float(np.concatenate([apart.min(axis=1), apart.min(axis=0)]).mean())


MASKS = arrays.arrays(bool, st.just((9, 13)))


@settings(max_examples=200, deadline=None)
@given(MASKS, MASKS)
def test_the_distance_is_the_mean_to_the_nearest(one: np.ndarray, two: np.ndarray) -> None:
    found = boundary_distance(Mask.from_array(one), Mask.from_array(two))
    if np.array_equal(one, two):
        assert found == 0.0
    elif geometry.boundary(one).any() and geometry.boundary(two).any():
        assert found == pytest.approx(by_hand(one, two), abs=1e-4)
    else:
        assert found is None


def test_a_half_plane_that_moves_is_as_far_off_as_it_moved() -> None:
    assert boundary_distance(box(0, 0, 10, 20).mask, box(0, 0, 13, 20).mask) == pytest.approx(3.0)
