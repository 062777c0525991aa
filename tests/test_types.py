"""The values: exact masks with holes and parts, COCO in and out, errors for what does not fit."""

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from locara_label.errors import BadMask
from locara_label.types import Box, Instance, Label, Mask

MASKS = arrays.arrays(bool, st.tuples(st.integers(0, 15), st.integers(0, 15)))


def ring_and_dot() -> NDArray[np.bool_]:
    """A part with a hole, a part of one pixel within the hole, and one in the corner."""
    mask = np.zeros((20, 30), bool)
    mask[3:15, 4:20] = True
    mask[6:12, 8:16] = False
    mask[9, 12] = True
    mask[19, 29] = True
    return mask


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_a_mask_is_exact(array: NDArray[np.bool_]) -> None:
    mask = Mask.from_array(array)
    assert mask.size == array.shape
    assert np.array_equal(mask.to_array(), array)
    assert mask.area == array.sum()
    assert mask == Mask.from_array(np.asfortranarray(array).view(np.uint8))
    assert Mask.from_coco(json.loads(json.dumps(mask.to_coco()))) == mask
    assert pickle.loads(pickle.dumps(mask)) == mask


def test_holes_parts_and_single_pixels_are_kept() -> None:
    array = ring_and_dot()
    mask = Mask.from_coco(Mask.from_array(array).to_coco())
    assert np.array_equal(mask.to_array(), array)
    assert mask.area == 12 * 16 - 6 * 8 + 2
    assert mask.box == Box(4, 3, 30, 20)


@settings(max_examples=100, deadline=None)
@given(MASKS)
def test_the_box_is_the_smallest(array: NDArray[np.bool_]) -> None:
    box = Mask.from_array(array).box
    rows, columns = np.nonzero(array)
    if len(rows):
        assert box == Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    else:
        assert box == Box(0, 0, 0, 0)


def test_a_box_has_width_and_height() -> None:
    assert Box(2, 3, 10.5, 7).xywh == (2, 3, 8.5, 4)


def test_coco_forms_mean_the_same() -> None:
    mask = Mask.from_array(ring_and_dot())
    compressed = mask.to_coco()
    flat = ring_and_dot().ravel(order="F")
    edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    for form in (compressed, {"size": (20, 30), "counts": mask.counts}, {"size": [20, 30], "counts": runs}):
        assert Mask.from_coco(form) == mask


def test_polygons_need_a_size() -> None:
    square = [[2.0, 3.0, 10.0, 3.0, 10.0, 9.0, 2.0, 9.0]]
    mask = Mask.from_coco(square, (12, 14))
    assert mask.size == (12, 14)
    assert mask.area == 48
    assert Mask.from_coco([], (12, 14)).area == 0
    with pytest.raises(BadMask) as caught:
        Mask.from_coco(square)
    assert caught.value.code == "mask.kind"


@pytest.mark.parametrize(
    ("segmentation", "code"),
    [
        (None, "mask.kind"),
        ("6", "mask.kind"),
        (7, "mask.kind"),
        ({}, "mask.size"),
        ({"size": [2, 3]}, "mask.counts"),
        ({"size": [2, 3], "counts": None}, "mask.counts"),
        ({"size": [2, 3], "counts": 6}, "mask.counts"),
        ({"size": [2, 3], "counts": "\u20ac"}, "mask.size"),
        ({"size": [2, 3], "counts": "\ud800\x00"}, "mask.counts"),
        ({"size": [2, 3], "counts": "5"}, "mask.size"),
        ({"size": [2, 3], "counts": [7]}, "mask.size"),
        ({"size": [2, 3], "counts": [6, -1, 1]}, "mask.counts"),
        ({"size": [2, 3], "counts": [[6]]}, "mask.counts"),
        ({"size": [2], "counts": "6"}, "mask.size"),
        ({"size": [2, 3, 1], "counts": "6"}, "mask.size"),
        ({"size": [2.0, 3.0], "counts": "6"}, "mask.size"),
        ({"size": [-2, -3], "counts": "6"}, "mask.size"),
        ({"size": [1 << 25, 1], "counts": "6"}, "mask.size"),
        ({"size": [1 << 24, 1 << 24], "counts": [1 << 48]}, "mask.size"),
        ({"size": "23", "counts": "6"}, "mask.size"),
    ],
)
def test_what_is_no_segmentation(segmentation: object, code: str) -> None:
    with pytest.raises(BadMask) as caught:
        Mask.from_coco(segmentation)
    assert caught.value.code == code


@pytest.mark.parametrize("polygons", [[[1, 2]], [5, 6], [None], [[1, 2, 3, 4, 5, "six"]], [[[1, 2], [3, 4], [5, 6]]], [{}]])
def test_what_is_no_polygon(polygons: list[object]) -> None:
    with pytest.raises(BadMask) as caught:
        Mask.from_coco(polygons, (10, 10))
    assert caught.value.code == "mask.polygon"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1 << 30))
def test_set_operations_follow_the_pixels(height: int, width: int, seed: int) -> None:
    arrays_ = np.random.default_rng(seed).random((3, height, width)) < 0.5
    one, two, three = (Mask.from_array(array) for array in arrays_)
    assert one.union(two, three) == Mask.from_array(arrays_.any(axis=0))
    assert one.intersection(two, three) == Mask.from_array(arrays_.all(axis=0))
    assert one.union() == one.intersection() == one
    joint = (arrays_[0] | arrays_[1]).sum()
    assert one.iou(two) == pytest.approx((arrays_[0] & arrays_[1]).sum() / joint if joint else 0.0)
    assert one.iou(two) == pytest.approx(two.iou(one))


def test_masks_of_other_sizes_do_not_combine() -> None:
    one, other = Mask.from_array(np.ones((3, 4), bool)), Mask.from_array(np.ones((4, 3), bool))
    for call in (one.iou, one.union, one.intersection):
        with pytest.raises(BadMask) as caught:
            call(other)
        assert caught.value.code == "mask.size"


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (Box(4, 3, 20, 15), slice(3, 15), slice(4, 20)),
        (Box(4.2, 3.9, 19.1, 14.01), slice(3, 15), slice(4, 20)),
        (Box(-50, -50, 500, 500), slice(0, 20), slice(0, 30)),
        (Box(29, 19, 30, 20), slice(19, 20), slice(29, 30)),
    ],
)
def test_a_crop_has_the_pixels_of_its_box(box: Box, rows: slice, columns: slice) -> None:
    array = ring_and_dot()
    cropped = Mask.from_array(array).crop(box)
    assert np.array_equal(cropped.to_array(), array[rows, columns])


@pytest.mark.parametrize(
    "box", [Box(30, 0, 40, 5), Box(5, 5, 5, 9), Box(9, 9, 3, 3), Box(0, 0, math.nan, 3), Box(0, 0, math.inf, 3)]
)
def test_a_crop_outside_is_refused(box: Box) -> None:
    with pytest.raises(BadMask) as caught:
        Mask.from_array(ring_and_dot()).crop(box)
    assert caught.value.code == "mask.crop"


def test_values_are_frozen_and_hashable() -> None:
    mask = Mask.from_array(ring_and_dot())
    values = [Box(0, 0, 1, 1), mask, Label(1, "sky", is_stuff=True), Instance("sky", 1, 0.5, mask)]
    assert len(set(values)) == 4
    for value in values:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, 0)
