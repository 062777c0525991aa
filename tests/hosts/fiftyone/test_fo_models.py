"""`apply_model` and `compute_embeddings` with our models, in a process without torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import locara_label
from locara_label import images
from locara_label.errors import BadOption
from locara_label.hosts.fiftyone import model
from locara_label.hosts.fiftyone.labels import from_segmentation
from tests.hosts.fiftyone.scenes_dataset import SIZE, add_scenes, bad_picture, masks_of


@pytest.fixture
def scenes(dataset: Any, tmp_path: Path) -> Any:
    add_scenes(dataset, tmp_path, 3)
    return dataset


@pytest.mark.parametrize("batch_size", [None, 2])
def test_instances_are_those_of_the_engine(scenes: Any, batch_size: int | None) -> None:
    scenes.apply_model(model("mini"), "pred", skip_failures=False, batch_size=batch_size)
    bare = locara_label.load("mini")
    for sample in scenes:
        truth = bare.segment(images.read(sample.filepath))
        assert masks_of(sample.pred) == [one.mask for one in truth]
        assert [one.label for one in sample.pred.detections] == [one.label for one in truth]
        assert [one.confidence for one in sample.pred.detections] == pytest.approx([one.score for one in truth])
    assert "torch" not in sys.modules


def test_label_maps(scenes: Any) -> None:
    segmenter = model("locara/segformer-mini", output="segmentation")
    scenes.apply_model(segmenter, "seg", skip_failures=False)
    bare = locara_label.load("segformer-mini")
    for sample in scenes:
        truth = {one.label: one.mask for one in bare.segment(images.read(sample.filepath))}
        assert {one.label: one.mask for one in from_segmentation(sample.seg, SIZE, segmenter.mask_targets)} == truth


def test_label_maps_on_disk(scenes: Any, tmp_path: Path) -> None:
    scenes.apply_model(
        model("segformer-mini", output="segmentation"), "seg", output_dir=str(tmp_path / "maps"), skip_failures=False
    )
    assert all(Path(path).is_file() for path in scenes.values("seg.mask_path"))


def test_filters(scenes: Any) -> None:
    scenes.apply_model(model("mini"), "all", skip_failures=False)
    scores, labels = scenes.values("all.detections.confidence", unwind=True), scenes.distinct("all.detections.label")
    middle = sorted(scores)[len(scores) // 2]
    scenes.apply_model(model("mini"), "sure", confidence_thresh=middle, skip_failures=False)
    assert scenes.count("sure.detections") == sum(score >= middle for score in scores)
    scenes.apply_model(model("mini"), "some", classes=labels[:1], skip_failures=False)
    assert scenes.distinct("some.detections.label") == labels[:1]
    scenes.apply_model(model("mini", classes=labels[1:]), "others", skip_failures=False)
    assert scenes.distinct("others.detections.label") == labels[1:]
    with pytest.raises(BadOption, match="unheard of"):
        model("mini", classes=["unheard of"])


@pytest.mark.parametrize("name", ["sam2-mini", "classic"])
def test_boxes_become_masks(scenes: Any, name: str) -> None:
    scenes.apply_model(model(name), "masks", prompt_field="truth", skip_failures=False, batch_size=2)
    ious = []
    for sample in scenes:
        assert [one.label for one in sample.masks.detections] == [one.label for one in sample.truth.detections]
        ious += [one.iou(other) for one, other in zip(masks_of(sample.masks), masks_of(sample.truth), strict=True)]
        assert all(0 <= one.predicted_iou <= 1 for one in sample.masks.detections)
    assert np.mean(ious) > 0.75


def test_clicks_become_masks(scenes: Any) -> None:
    for sample in scenes:
        masks = masks_of(sample.truth)
        rows, columns = np.nonzero(masks[0].to_array())
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        on = ((columns[middle] + 0.5) / SIZE[1], (rows[middle] + 0.5) / SIZE[0])
        sample["clicks"] = fo.Keypoints(keypoints=[fo.Keypoint(label="it", points=[on, (0.999, 0.001)], sam_labels=[1, 0])])
        sample.save()
    scenes.apply_model(model("sam2-mini"), "masks", prompt_field="clicks", skip_failures=False)
    assert scenes.values("masks.detections.label") == [["it"]] * 3


def test_words_become_masks(scenes: Any) -> None:
    scenes.apply_model(model("grounded-sam2", prompt="circle . star"), "words", skip_failures=False)
    scenes.apply_model(model("mini", prompt="circle . star"), "same", skip_failures=False)
    assert set(scenes.distinct("words.detections.label")) <= {"circle", "star"}
    assert scenes.values("words.detections.label") == scenes.values("same.detections.label")
    with pytest.raises(BadOption, match="prompt or classes"):
        model("grounded-sam2")


def test_embeddings(scenes: Any) -> None:
    found = scenes.compute_embeddings(model("sam2-mini"), batch_size=2)
    assert found.shape[0] == 3
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    scenes.compute_embeddings(model("sam2-mini"), embeddings_field="emb", skip_failures=False)
    assert np.array(scenes.values("emb")) == pytest.approx(found, abs=1e-5)
    assert not model("classic").has_embeddings


def test_a_bad_picture_costs_no_other(scenes: Any, tmp_path: Path) -> None:
    scenes.add_sample(fo.Sample(filepath=str(bad_picture(tmp_path / "bad.jpg"))))
    scenes.apply_model(model("mini"), "pred")
    assert [label is None for label in scenes.values("pred")] == [False, False, False, True]


def test_without_prompts_a_prompt_model_says_so(scenes: Any) -> None:
    with pytest.raises(BadOption, match="prompt_field"):
        scenes.apply_model(model("classic"), "masks", skip_failures=False)
    with pytest.raises(BadOption, match="segmentation"):
        model("classic", output="segmentation")
