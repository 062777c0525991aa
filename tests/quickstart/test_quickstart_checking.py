"""Points that lie in their masks, whatever the mask."""

from __future__ import annotations

import numpy as np
import pytest

from locara_label.quickstart.checking import inner_point
from locara_label.types import Mask


@pytest.mark.parametrize("seed", range(20))
def test_inner_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = rng.random((13, 17)) < rng.choice([0.05, 0.5, 0.95])
    array[rng.integers(13), rng.integers(17)] = True
    x, y = inner_point(Mask.from_array(array))
    assert array[int(y), int(x)]


def test_inner_point_of_a_ring() -> None:
    rows, columns = np.indices((41, 41))
    distance = np.hypot(rows - 20, columns - 20)
    array = (distance < 20) & (distance > 12)
    x, y = inner_point(Mask.from_array(array))
    assert array[int(y), int(x)]
