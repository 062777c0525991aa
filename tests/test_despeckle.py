import numpy as np
import pytest

from locara_label.despeckle import despeckle
from locara_label.errors import BadOption
from locara_label.types import Mask


def picture():
    """A square with a hole of 4 and one of 9 pixels, a speck of 2 and one of 5."""
    inside = np.zeros((40, 50), bool)
    inside[5:25, 5:25] = True
    inside[8:10, 8:10] = False
    inside[15:18, 15:18] = False
    inside[30, 30:32] = True
    inside[35, 40:45] = True
    return inside


@pytest.mark.parametrize(("min_area", "hole", "large_hole", "speck", "large_speck"), [
    (2, False, False, True, True),
    (3, False, False, False, True),
    (5, True, False, False, True),
    (10, True, True, False, False),
])  # fmt: skip
def test_specks_and_holes_below_the_area_go(min_area, hole, large_hole, speck, large_speck):
    expected = picture()
    expected[8:10, 8:10], expected[15:18, 15:18] = hole, large_hole
    expected[30, 30:32], expected[35, 40:45] = speck, large_speck
    np.testing.assert_array_equal(despeckle(Mask.from_array(picture()), min_area).to_array(), expected)


def test_ground_at_the_border_counts_as_a_hole():
    full = np.ones((6, 6), bool)
    full[0, 0] = False
    assert despeckle(Mask.from_array(full), 2).area == 36


def test_corners_touch():
    diagonal = np.eye(6, dtype=bool)
    assert despeckle(Mask.from_array(diagonal), 6).area == 6


def test_of_specks_alone_the_largest_stays():
    inside = np.zeros((9, 9), bool)
    inside[1, 1:3] = inside[5, 5:8] = True
    cleared = despeckle(Mask.from_array(inside), 5).to_array()
    assert cleared.sum() == 3
    assert cleared[5, 5:8].all()


def test_empty_and_zero_change_nothing():
    mask, empty = Mask.from_array(picture()), Mask.from_array(np.zeros((3, 4), bool))
    assert despeckle(mask, 0) == mask
    assert despeckle(empty, 100) == empty


@pytest.mark.parametrize("min_area", [-1, 1.5, True, None])
def test_nonsense(min_area):
    with pytest.raises(BadOption, match="min_area"):
        despeckle(Mask.from_array(picture()), min_area)
