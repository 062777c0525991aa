"""The catalogue as shipped."""

from __future__ import annotations

import re

import pytest

from locara_label.errors import BadOption, UnknownModel
from locara_label.weights.catalogue import PUBLISHED_VIDEO_PARTS, Row, find, labels, rows
from locara_label.weights.plan import check_path

NAMES = [row.name for row in rows()]


@pytest.mark.parametrize("row", rows(), ids=NAMES)
def test_each_row_is_usable(row: Row):
    assert find(row.name) is row
    for file in (*row.files, *row.weights):
        assert check_path(file.path) == file.path
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert row.revision or file.sha256 is None, "a digest without its commit would break with the next commit"
    assert row.revision is None or re.fullmatch("[0-9a-f]{40}", row.revision)
    assert row.labels is None or labels(row.labels)
    if row.bundled is None:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.repo)
        assert row.weights
        assert row.about_bytes
        assert (row.graph is None) != (row.onnx is None)
    else:
        assert not row.weights
        assert not row.licence.must_accept


@pytest.mark.parametrize("row", [row for row in rows() if row.revision], ids=lambda row: row.name)
def test_pinned_rows_cannot_slip_to_other_weights(row: Row):
    assert len(row.weights) == 1
    assert row.weights[0].sha256
    assert row.weights[0].size


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES) == 71


def test_graphs_of_a_row():
    assert find("segformer-b0-finetuned-ade-512-512").graphs == ("segformer-b0",)
    assert find("mask2former-swin-large-coco-instance").graphs == ("mask2former-swin-large-q200",)
    assert find("sam2.1-hiera-tiny").graphs == ("sam2.1-hiera-tiny-encoder", "sam2.1-hiera-tiny-decoder")
    assert find("sam2.1-hiera-tiny-onnx").graphs == ()
    parts = ("image", "text", "detector")
    assert find("grounding-dino-base").graphs == tuple(f"grounding-dino-base-{part}" for part in parts)


@pytest.mark.parametrize("row", [row for row in rows() if row.family == "sam2"], ids=lambda row: row.name)
def test_prompt_rows(row: Row):
    assert row.task == "prompt"
    assert not row.licence.must_accept
    assert (row.onnx is None) == (row.onnx_decoder is None)
    if row.onnx_decoder:
        paths = {file.path: file for file in row.files}
        assert row.weights[0].path == row.onnx
        assert paths[row.onnx_decoder].required
        assert not paths[f"{row.onnx}_data"].required
        assert not paths[f"{row.onnx_decoder}_data"].required


@pytest.mark.parametrize("row", [row for row in rows() if row.family == "sam2-video"], ids=lambda row: row.name)
def test_published_video_rows(row: Row):
    assert row.task == "video"
    wanted = {"constants.json", *(f"onnx/{part}.onnx" for part in PUBLISHED_VIDEO_PARTS)}
    assert {file.path for file in (*row.files, *row.weights) if file.required} == wanted
    assert row.weights[0].path == row.onnx == f"onnx/{PUBLISHED_VIDEO_PARTS[0]}.onnx"


def test_restricted_weights_must_be_accepted():
    for row in rows():
        if row.bundled is None:
            assert row.licence.must_accept == (row.family in {"segformer", "mask2former"})
            assert row.licence.url.startswith("https://")


def test_unknown_names_get_suggestions():
    with pytest.raises(UnknownModel, match="segformer-b0-finetuned-ade-512-512"):
        find("segformer-b0")
    with pytest.raises(UnknownModel, match="mask2former-swin-tiny-coco-panoptic"):
        find("mask2former-swin-tiny-coco-panoptik")
    with pytest.raises(UnknownModel, match="models list"):
        find("zzzzzz")
    with pytest.raises(UnknownModel, match="models list"):
        find("")


@pytest.mark.parametrize(
    ("name", "count", "stuff"),
    [("ade20k", 150, 50), ("cityscapes", 19, 11), ("cityscapes_instance", 8, 0), ("coco", 80, 0), ("coco_panoptic", 133, 53)],
)
def test_label_sets(name: str, count: int, stuff: int):
    found = labels(name)
    assert [label.index for label in found] == list(range(count))
    assert len({label.name for label in found}) == count
    assert sum(label.is_stuff for label in found) == stuff


def test_some_labels_are_where_they_belong():
    ade, coco, panoptic, city = (labels(name) for name in ("ade20k", "coco", "coco_panoptic", "cityscapes"))
    assert [ade[i].name for i in (0, 2, 12, 20, 149)] == ["wall", "sky", "person", "car", "flag"]
    assert ade[2].is_stuff
    assert not ade[20].is_stuff
    assert [coco[i].name for i in (0, 16, 79)] == ["person", "dog", "toothbrush"]
    assert panoptic[:80] == coco
    assert [panoptic[i].name for i in (80, 119, 132)] == ["banner", "sky-other-merged", "rug-merged"]
    assert [city[i].name for i in (0, 10, 13, 18)] == ["road", "sky", "car", "bicycle"]
    assert tuple(label.name for label in labels("cityscapes_instance")) == tuple(label.name for label in city[11:])


def test_an_unknown_label_set():
    with pytest.raises(BadOption, match="ade20k, cityscapes"):
        labels("imagenet")
