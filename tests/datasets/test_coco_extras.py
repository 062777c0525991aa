from __future__ import annotations

import json

import numpy as np
import pytest

from locara_label.datasets import check, coco
from locara_label.datasets.coco import CocoWriter
from locara_label.datasets.records import Category, CocoImage
from locara_label.types import Instance, Mask

FULL, EMPTY = (Mask.from_array(np.full((4, 5), value)) for value in (True, False))


def write(path, instances, extras):
    with CocoWriter(path, [Category(1, "car")]) as writer:
        writer.add(CocoImage("a.png", 5, 4), instances, extras)
    return json.loads(path.read_text())["annotations"]


def test_fields_beside_those_of_coco(tmp_path):
    instances = [Instance("car", 0, 0.5, mask) for mask in (EMPTY, FULL)]
    (row,) = write(tmp_path / "a.json", instances, [{"phrase": "none"}, {"phrase": "red car", "mask_score": 0.25}])
    assert (row["phrase"], row["mask_score"], row["score"]) == ("red car", 0.25, 0.5)
    assert not list(check.problems(tmp_path / "a.json"))
    assert next(coco.read(tmp_path / "a.json").annotations()).mask == FULL


def test_fields_of_coco_are_never_replaced(tmp_path):
    (row,) = write(tmp_path / "a.json", [Instance("car", 0, 0.5, FULL)], [{"area": 7, "id": 7, "image_id": 7, "score": 0.1}])
    assert (row["area"], row["id"], row["image_id"], row["score"]) == (20, 1, 1, 0.5)


def test_one_mapping_for_each_instance(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        write(tmp_path / "a.json", [Instance("car", 0, 0.5, FULL)], [])
    assert not (tmp_path / "a.json").exists()
