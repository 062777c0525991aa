"""Pre-labels against what people made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

from locara_label.errors import BadOption
from locara_label.hosts.fiftyone.labels import Region, to_detection
from locara_label.hosts.fiftyone.prelabel import prelabel
from locara_label.hosts.fiftyone.progress import summed
from locara_label.hosts.fiftyone.review import compare, keep_copy, near_duplicates, without_masks
from locara_label.types import Mask
from tests.hosts.fiftyone.random_masks import write_picture
from tests.hosts.fiftyone.scenes_dataset import add_scenes

SIZE = (20, 30)


def box(x0: int, y0: int, x1: int, y1: int, label: str = "a") -> Region:
    canvas = np.zeros(SIZE, bool)
    canvas[y0:y1, x0:x1] = True
    return Region(label, Mask.from_array(canvas))


@pytest.fixture
def edited(dataset: Any, tmp_path: Path) -> Any:
    """Three pictures: kept as it was, drawn anew by half, and emptied."""
    before = [box(0, 0, 10, 10), box(10, 0, 20, 10, "b")]
    after = [before, [box(0, 0, 10, 5)], []]
    for number, found in enumerate(after):
        path = write_picture(tmp_path / f"{number}.png", SIZE, number)
        labels = {"pred": before, "final": found}
        fields = {name: fo.Detections(detections=[to_detection(one) for one in listed]) for name, listed in labels.items()}
        dataset.add_sample(fo.Sample(filepath=str(path), **fields))
    dataset.info["locara_label"] = {"pred": {"model": "m", "threshold": 0.4}}
    dataset.save()
    return dataset


def test_what_people_made_of_pre_labels(edited: Any) -> None:
    comparison, steps = compare(edited, "pred", "final")
    assert summed(steps).failed == ()
    rows = {row.label: row for row in comparison.rows()}
    assert (rows["a"].final, rows["a"].found, rows["a"].removed, rows["a"].untouched) == (2, 2, 1, 1)
    assert rows["a"].mean_iou == pytest.approx(0.75)
    assert (rows["b"].final, rows["b"].removed) == (1, 2)
    assert (rows[""].final, rows[""].removed, rows[""].model, rows[""].threshold) == (3, 3, "m", 0.4)
    assert edited.values("pred_iou") == pytest.approx([1.0, 0.5, 0.0])
    assert edited.values("final.detections.iou") == [[1.0, 1.0], [0.5], []]
    assert sum(comparison.histogram()[1]) == 3
    assert rows[""].to_json()["final"] == 3


def test_a_copy_is_kept_before_editing(dataset: Any, tmp_path: Path) -> None:
    add_scenes(dataset, tmp_path, 1)
    summed(prelabel(dataset, "mini", "pred"))
    keep_copy(dataset, "pred", "model_pred")
    comparison, steps = compare(dataset, "model_pred", "pred")
    summed(steps)
    total = comparison.rows()[0]
    assert (total.model, total.mean_iou, total.untouched) == ("mask2former-mini", 1.0, total.final)
    with pytest.raises(BadOption, match="copied"):
        keep_copy(dataset, "pred", "model_pred")


def test_missing_masks(edited: Any, tmp_path: Path) -> None:
    bare = fo.Detections(detections=[fo.Detection(label="a", bounding_box=[0, 0, 0.5, 0.5])])
    edited.add_sample(fo.Sample(filepath=str(write_picture(tmp_path / "bare.png", SIZE)), final=bare))
    edited.add_sample(fo.Sample(filepath=str(write_picture(tmp_path / "none.png", SIZE))))
    names = [Path(path).name for path in without_masks(edited, "final").values("filepath")]
    assert names == ["2.png", "bare.png", "none.png"]


def test_pictures_that_look_alike(edited: Any) -> None:
    ids = edited.values("id")
    found = near_duplicates(edited, np.array([[1, 0], [0, 1], [1, 0.01]]))
    assert found == {ids[0]: [ids[2]]}
    with pytest.raises(BadOption, match="as many embeddings"):
        near_duplicates(edited, np.zeros((2, 2)))
