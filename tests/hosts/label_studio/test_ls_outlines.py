"""Outlines along pixel edges: filled again they give every pixel back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from locara_label.errors import BadMask
from locara_label.hosts.label_studio.outlines import Points, parts, simplified
from locara_label.hosts.label_studio.shapes import fill_polygon
from locara_label.types import Mask

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Everything that cannot be reached from outside over edges of background pixels."""
    outside = np.pad(np.zeros_like(mask), 1, constant_values=True)
    free = ~np.pad(mask, 1)
    while True:
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown &= free
        if np.array_equal(grown, outside):
            return ~outside[1:-1, 1:-1]
        outside = grown


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_parts_are_exact_and_outlines_fill_them(array: NDArray[np.bool_]) -> None:
    found, left_out = parts(Mask.from_array(array), 0)
    total, filled = np.zeros(array.shape, int), np.zeros(array.shape, bool)
    for part in found:
        own, inside = part.mask.to_array(), fill_polygon(part.outline, array.shape).to_array()
        assert part.holes == bool((inside & ~own).any())
        total += own
        filled |= inside
    assert left_out == 0
    assert np.array_equal(total, array)
    assert np.array_equal(filled, without_holes(array))


def test_small_parts_are_left_out_and_counted() -> None:
    array = np.zeros((10, 20), bool)
    array[0, ::4] = True
    array[4:8, 4:9] = True
    found, left_out = parts(Mask.from_array(array), 1, most=2)
    assert (len(found), left_out) == (2, 4)
    assert [part.mask.area for part in found] == [20, 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=3, max_size=40), st.floats(0.1, 5))
def test_no_left_out_corner_is_further_than_the_tolerance(corners: list[tuple[int, int]], tolerance: float) -> None:
    loop: Points = np.array(corners, np.float64)
    kept = simplified(loop, tolerance)
    edges = np.stack([kept, np.roll(kept, -1, axis=0)], axis=1)
    for corner in loop:
        assert min(distance(corner, *edge) for edge in edges) <= tolerance + 1e-9


def distance(point: Points, start: Points, end: Points) -> float:
    chord = end - start
    along = np.clip((point - start) @ chord / max(chord @ chord, 1e-12), 0, 1)
    return float(np.hypot(*(point - start - along * chord)))


def test_noise_is_refused() -> None:
    noise = np.random.default_rng(0).random((2000, 2000)) < 0.5
    with pytest.raises(BadMask) as caught:
        parts(Mask.from_array(noise), 1)
    assert caught.value.code == "mask.ragged"
