"""Arrays to write as weights, and what reading them has to give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from locara_label.errors import BadWeights
from locara_label.weights.tensors import Tensors, open_tensors

RNG = np.random.default_rng(0)


ARRAYS = {
    "weight": RNG.normal(size=(3, 4)).astype("f4"),
    "half": RNG.normal(size=(5,)).astype("f2"),
    "double": RNG.normal(size=(2, 2)),
    "steps": np.array(7, "i8"),
    "flags": np.array([True, False]),
    "bytes": np.arange(6, dtype="u1").reshape(2, 3),
    "nothing": np.zeros((0, 4), "f4"),
}


def check_same(found: Tensors, wanted: dict[str, np.ndarray]) -> None:
    assert set(found) == set(wanted)
    assert len(found) == len(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


def bfloat16_bits(array: np.ndarray) -> np.ndarray:
    """The upper halves, as they are stored."""
    return (array.astype("<f4").view("<u4") >> 16).astype("<u2")


def refused(folder: Path, code: str) -> BadWeights:
    with pytest.raises(BadWeights) as raised:
        open_tensors(folder)
    assert raised.value.code == code, raised.value
    assert str(folder) in str(raised.value)
    return raised.value
