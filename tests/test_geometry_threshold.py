"""Masks straight from low-resolution scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from locara_label import geometry, rle

SIDES = st.integers(1, 9)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 600))


def _plain(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The same arithmetic at every pixel of the picture, in one go."""
    (top, bottom, down), (left, right, across) = (_axis(low, high) for low, high in zip(logits.shape, size, strict=True))
    rows = logits[top] * (1 - down)[:, None] + logits[bottom] * down[:, None]
    return rows[:, left] * (1 - across) + rows[:, right] * across > 0


def _axis(low: int, high: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centres = np.arange(high, dtype="f4") + np.float32(0.5)
    source = np.maximum(centres * (np.float32(low) / np.float32(high)) - np.float32(0.5), np.float32(0))
    first = np.minimum(source.astype(int), low - 1)
    return first, np.minimum(first + 1, low - 1), np.clip(source - first.astype("f4"), 0, 1)


@given(st.data(), st.tuples(SIDES, SIDES), SIZES)
def test_byte_identical_to_the_plain_way(data: st.DataObject, low: tuple[int, int], size: tuple[int, int]) -> None:
    values = st.integers(-4, 4) if data.draw(st.booleans()) else st.floats(-30, 30, width=32)
    logits = data.draw(arrays.arrays(np.float32, low, elements=values))
    found = geometry.threshold_upsampled(logits, size)
    assert found.shape == size
    assert found.flags.f_contiguous
    assert rle.encode(found) == rle.encode(_plain(logits, size))


@pytest.mark.parametrize("size", [(700, 1300), (30, 20), (64, 64), (1, 1), (1000, 3)])
def test_agrees_with_opencv(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for shift in (-2.5, 0, 2.5):
        logits = rng.normal(shift, 1, (64, 64)).astype("f4")
        scores = geometry.upsample_logits(logits, size)
        differs = geometry.threshold_upsampled(logits, size) != (scores > 0)
        assert np.abs(scores[differs]).max(initial=0) < 1e-4
        assert differs.mean() < 1e-4


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_all_or_nothing(value: float) -> None:
    found = geometry.threshold_upsampled(np.full((4, 4), value, "f4"), (33, 21))
    assert found.all() == found.any() == (value > 0)


def test_a_small_object_far_in_a_large_picture() -> None:
    logits = np.full((256, 256), -5, "f4")
    logits[200:210, 30:35] = 5
    found = geometry.threshold_upsampled(logits, (3000, 4000))
    rows, columns = np.nonzero(found)
    assert abs(rows.min() - 200 * 3000 / 256) < 10
    assert abs(columns.max() + 1 - 35 * 4000 / 256) < 10
    assert found.sum() == (geometry.upsample_logits(logits, (3000, 4000)) > 0).sum()


def test_shrink_mask_gives_shares() -> None:
    mask = np.zeros((8, 12), bool)
    mask[:4, :6] = True
    mask[4:6, :3] = True
    shares = geometry.shrink_mask(mask, (2, 4))
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares, [[1, 1, 0, 0], [0.5, 0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (5, 7), (8, 12)])
def test_shrink_mask_of_all(size: tuple[int, int]) -> None:
    np.testing.assert_allclose(geometry.shrink_mask(np.ones((8, 12), bool), size), 1, atol=1e-5)
