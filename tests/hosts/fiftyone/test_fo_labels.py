"""Labels to masks and back, hostile ones included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locara_label.errors import BadMask, BadOption, BadPrompt
from locara_label.hosts.fiftyone.labels import (
    Region,
    box_of,
    from_segmentation,
    mask_targets,
    to_detection,
    to_region,
    to_segmentation,
)
from locara_label.hosts.fiftyone.prompts import prompts_of
from locara_label.hosts.fiftyone.samples import size_of
from locara_label.types import Box, Label, Mask, Point

SIZE = (40, 50)


def filled(box: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> Mask:
    canvas = np.zeros(size, bool)
    canvas[box[1] : box[3], box[0] : box[2]] = True
    return Mask.from_array(canvas)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_mask_comes_back(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 700)), data.draw(st.integers(1, 700))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    mask = filled((x, y, data.draw(st.integers(x + 1, width)), data.draw(st.integers(y + 1, height))), (height, width))
    found = to_region(to_detection(Region("a", mask)), (height, width))
    assert found is not None
    assert found.mask == mask
    theirs = to_detection(Region("a", mask)).to_segmentation(frame_size=(width, height)).mask
    assert ((theirs > 0) == mask.to_array()).all()


@pytest.mark.parametrize("shift", [-0.4, 0.0, 0.4])
def test_boxes_of_others_are_rounded(shift: float) -> None:
    box = [(10 + shift) / 50, (20 + shift) / 40, 5 / 50, 6 / 40]
    found = to_region(fo.Detection(label="a", bounding_box=box, mask=np.ones((6, 5), np.uint8) * 255), SIZE)
    assert found is not None
    assert found.mask == filled((10, 20, 15, 26))


def test_a_box_beyond_the_border_loses_no_pixel() -> None:
    found = to_region(fo.Detection(label="a", bounding_box=[0.95, 0.9, 0.1, 0.15], mask=np.ones((6, 5), bool)), SIZE)
    assert found is not None
    assert found.mask.area == 30


@pytest.mark.parametrize(
    ("box", "shape", "code"),
    [
        ([0.1, 0.1, 0.5, 0.5], (3, 3), "mask.size"),
        ([0.0, 0.0, 1.0, 1.0], (41, 50), "mask.size"),
        ([float("nan"), 0.1, 0.5, 0.5], (20, 25), "mask.box"),
        ([0.1, 0.1, -0.5, 0.5], (20, 25), "mask.box"),
        ([0.1, 0.1, 0.5], (20, 25), "mask.box"),
        ([1e9, 0.1, 0.5, 0.5], (20, 25), "mask.box"),
    ],
)
def test_masks_that_do_not_fit_are_refused(box: list[float], shape: tuple[int, int], code: str) -> None:
    detection = fo.Detection(label="a", bounding_box=box, mask=np.ones(shape, bool))
    with pytest.raises(BadMask) as raised:
        to_region(detection, SIZE)
    assert raised.value.code == code


def test_an_empty_mask_is_no_detection() -> None:
    with pytest.raises(BadMask, match="empty"):
        to_detection(Region("a", Mask.from_array(np.zeros(SIZE, bool))))
    with pytest.raises(BadMask, match="empty"):
        to_region(fo.Detection(label="a", bounding_box=[0, 0, 0.1, 0.1], mask=np.zeros((4, 5), bool)), SIZE)


def test_a_bare_box_has_no_mask() -> None:
    assert to_region(fo.Detection(label="a", bounding_box=[0, 0, 0.1, 0.1]), SIZE) is None


def test_masks_on_disk(tmp_path: Path) -> None:
    detection = to_detection(Region("a", filled((3, 4, 30, 31))))
    detection.export_mask(str(tmp_path / "mask.png"), update=True)
    assert detection.mask is None
    found = to_region(detection, SIZE)
    assert found is not None
    assert found.mask == filled((3, 4, 30, 31))


def test_segmentations_keep_the_first_and_their_names() -> None:
    targets = mask_targets([Label(0, "wall"), Label(1, "floor")])
    assert targets == {1: "wall", 2: "floor"}
    first, second = Region("floor", filled((0, 0, 10, 10))), Region("wall", filled((5, 5, 20, 20)))
    written = to_segmentation([first, second], SIZE, targets)
    found = {region.label: region.mask for region in from_segmentation(written, SIZE, targets)}
    assert found["floor"] == first.mask
    assert found["wall"].area == 15 * 15 - 25
    assert [region.label for region in from_segmentation(written, SIZE, {})] == ["1", "2"]
    with pytest.raises(BadMask, match="no value"):
        to_segmentation([Region("roof", first.mask)], SIZE, targets)


def test_colored_segmentations() -> None:
    colors = np.zeros((*SIZE, 3), np.uint8)
    colors[:10, :10] = (0x49, 0x9C, 0xEF)
    (found,) = from_segmentation(fo.Segmentation(mask=colors), SIZE, {"#499CEF": "cat"})
    assert (found.label, found.mask) == ("cat", filled((0, 0, 10, 10)))
    with pytest.raises(BadMask, match="picture"):
        from_segmentation(fo.Segmentation(mask=colors), (41, 50), {})


def test_boxes_are_cut_to_the_picture() -> None:
    assert box_of(fo.Detection(bounding_box=[-0.1, 0.5, 0.3, 0.6]), SIZE) == Box(0, 20, 10, 40)
    with pytest.raises(BadMask, match="no area"):
        box_of(fo.Detection(bounding_box=[1.2, 0.5, 0.3, 0.6]), SIZE)


def test_key_points_are_clicks() -> None:
    points = [(0.5, 0.5), (float("nan"), float("nan")), (0.1, 0.2)]
    keypoint = fo.Keypoint(label="cup", points=points, sam_labels=[1, 1, 0], index=4)
    (shown,) = prompts_of(fo.Keypoints(keypoints=[keypoint]), SIZE)
    assert (shown.label, shown.index) == ("cup", 4)
    assert shown.prompt.points == (Point(25, 20), Point(5, 8, positive=False))


@pytest.mark.parametrize("marks", [[1], [1, 2], [1, 0, 1]])
def test_marks_that_do_not_fit_are_refused(marks: list[int]) -> None:
    with pytest.raises(BadPrompt):
        prompts_of(fo.Keypoint(points=[(0.5, 0.5), (0.1, 0.2)], sam_labels=marks), SIZE)


def test_other_labels_show_nothing() -> None:
    assert prompts_of(None, SIZE) == []
    with pytest.raises(BadOption, match="Classification"):
        prompts_of(fo.Classification(label="a"), SIZE)


def test_sizes_of_turned_pictures(tmp_path: Path) -> None:
    """FiftyOne's metadata and ours agree, so that masks are upright for both."""
    from fixtures.make_pictures import oriented

    path = tmp_path / "turned.jpg"
    path.write_bytes(oriented("JPEG", 6))
    sample: Any = fo.Sample(filepath=str(path))
    ours = size_of(sample)
    sample.compute_metadata()
    assert (sample.metadata.height, sample.metadata.width) == ours
