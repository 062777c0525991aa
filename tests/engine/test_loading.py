from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from fixtures.scenes import EVALUATION_SEED, LABELS, SHAPES, make_scene
from locara_label.engine.loading import MINI, load
from locara_label.errors import BadOption, BadWeights, DeviceUnavailable, NotDownloaded, UnknownModel
from locara_label.models.base import SegmentationModel
from locara_label.runtime import session as sessions
from locara_label.settings import Settings
from locara_label.weights import catalogue
from locara_label.weights.states import States
from locara_label.weights.store import MINI as BUNDLED

ONNX = "segformer-b0-finetuned-ade-512-512-onnx"
B0 = "segformer-b0-finetuned-ade-512-512"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(cache_dir=tmp_path_factory.mktemp("cache"), device="cpu", threads=2)


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """A cache of its own."""
    return Settings(cache_dir=tmp_path / "cache", device="cpu", threads=2)


@pytest.fixture
def mini_folder(tmp_path: Path) -> Path:
    """A copy of the small SegFormer's published files, to be changed."""
    return Path(shutil.copytree(BUNDLED / "segformer", tmp_path / "weights"))


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _model(settings: Settings, task: str) -> SegmentationModel:
    return load("mini", task=task, settings=settings)


def test_mini_semantic_finds_what_is_there(settings: Settings) -> None:
    model = _model(settings, "semantic")
    shared = np.zeros((len(LABELS), 2), int)
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + 20):
        scene = make_scene(seed, (192, 256))
        drawn = np.full(scene.labels.shape, -1)
        for instance in model.segment(scene.image):
            assert instance.label == LABELS[instance.label_index]
            assert instance.is_stuff == (instance.label not in SHAPES)
            drawn[instance.mask.to_array()] = instance.label_index
        assert (drawn >= 0).all()
        for index in range(len(LABELS)):
            found, wanted = drawn == index, scene.labels == index
            shared[index] += (found & wanted).sum(), (found | wanted).sum()
    present = shared[:, 1] > 0
    assert (shared[present, 0] / shared[present, 1]).mean() > 0.7


def test_mini_panoptic_finds_the_shapes(settings: Settings) -> None:
    model = load("mini", settings=settings)
    assert [label.name for label in model.labels] == list(LABELS)
    assert model.name == MINI["panoptic"]
    hits = total = 0
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + 20):
        scene = make_scene(seed, (192, 256))
        found = model.segment(scene.image)
        covered = sum(instance.mask.to_array().astype(int) for instance in found)
        assert np.max(covered) <= 1
        for item in scene.objects:
            masks = [instance.mask.to_array() for instance in found if instance.label == item.shape]
            hits += any((mask & item.mask).sum() > 0.5 * (mask | item.mask).sum() for mask in masks)
            total += 1
    assert hits > 0.5 * total


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (37, 61)])
@pytest.mark.parametrize("task", ["semantic", "panoptic", "instance"])
def test_pictures_of_any_size(settings: Settings, task: str, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for instance in _model(settings, task).segment(image, 0.0):
        assert instance.mask.size == size
        assert instance.mask.area > 0


def test_no_mini_for_a_task(own: Settings) -> None:
    with pytest.raises(BadOption, match="'tracking'") as raised:
        load("mini", task="tracking", settings=own)
    assert raised.value.code == "option.task"


def test_a_task_that_is_not_the_models(own: Settings) -> None:
    with pytest.raises(BadOption, match="semantic model, not panoptic"):
        load("segformer-mini", task="panoptic", settings=own)


def test_an_unknown_name(own: Settings) -> None:
    with pytest.raises(UnknownModel):
        load("sam9", settings=own)


def test_cuda_without_cuda(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceUnavailable):
        load("segformer-mini", device="cuda", settings=own)
    with pytest.raises(BadOption, match="device is one of"):
        load("segformer-mini", device="tpu", settings=own)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is reported of models, in order."""
    found: list[str] = []
    for word in ("loading", "ready", "failed"):
        monkeypatch.setattr(States, word, lambda _self, name, *_, word=word: found.append(f"{name} {word}"))
    return found


def test_states_are_reported(own: Settings, told: list[str]) -> None:
    load("segformer-mini", settings=own)
    assert told == ["segformer-mini loading", "segformer-mini ready"]


def test_a_failure_is_reported(own: Settings, told: list[str]) -> None:
    with pytest.raises(NotDownloaded, match=f"locara-label models pull {B0}$|`locara-label models pull {B0}`"):
        load(B0, settings=own)
    assert told == [f"{B0} loading", f"{B0} failed"]


def test_no_folder(own: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotDownloaded, match="nowhere"):
        load(B0, tmp_path / "nowhere", settings=own)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotDownloaded, match=r"model\.safetensors"):
        load(B0, tmp_path / "empty", settings=own)
    with pytest.raises(NotDownloaded, match=r"model\.onnx"):
        load(ONNX, tmp_path / "empty", settings=own)


def test_weights_of_another_model(own: Settings) -> None:
    with pytest.raises(BadWeights, match="do not fit segformer-b0") as raised:
        load(B0, BUNDLED / "mask2former", settings=own)
    assert raised.value.code == "weights.mismatch"
    assert any(name.startswith("segformer.encoder") for name in raised.value.missing)
    assert raised.value.extra


def test_weights_with_a_tensor_less(own: Settings, mini_folder: Path) -> None:
    tensors = load_file(mini_folder / "model.safetensors")
    name = "decode_head.classifier.bias"
    tensors.pop(name)
    save_file(tensors, mini_folder / "model.safetensors")
    with pytest.raises(BadWeights) as raised:
        load("segformer-mini", mini_folder, settings=own)
    assert raised.value.missing == (name,)


def test_weights_in_half_precision(own: Settings, mini_folder: Path, settings: Settings) -> None:
    tensors = load_file(mini_folder / "model.safetensors")
    save_file({name: value.astype("f2") if value.dtype == np.float32 else value for name, value in tensors.items()},
              mini_folder / "model.safetensors")  # fmt: skip
    image = make_scene(EVALUATION_SEED, (128, 128)).image
    halved = load("segformer-mini", mini_folder, settings=own).segment_map(image)  # type: ignore[attr-defined]
    assert (halved == _model(settings, "semantic").segment_map(image)).mean() > 0.99  # type: ignore[attr-defined]


def test_labels_of_the_weights_own_config(own: Settings, mini_folder: Path) -> None:
    _change(mini_folder / "config.json", id2label={str(index): f"class {index}" for index in range(len(LABELS))})
    model = load("segformer-mini", mini_folder, settings=own)
    assert [label.name for label in model.labels] == [f"class {index}" for index in range(len(LABELS))]


def test_labels_of_the_catalogue_without_a_config(own: Settings, mini_folder: Path) -> None:
    (mini_folder / "config.json").unlink()
    assert [label.name for label in load("segformer-mini", mini_folder, settings=own).labels] == list(LABELS)


@pytest.mark.parametrize("labels", [{"0": "one"}, {"1": "one"}, {"a": "b"}, [], 3, None, "text"])
def test_labels_that_do_not_fit(own: Settings, mini_folder: Path, labels: Any) -> None:
    _change(mini_folder / "config.json", id2label=labels)
    with pytest.raises(BadWeights) as raised:
        load("segformer-mini", mini_folder, settings=own)
    assert raised.value.code == "weights.labels"


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (5 << 20)])
def test_configs_that_are_none(own: Settings, mini_folder: Path, name: str, content: bytes) -> None:
    (mini_folder / name).write_bytes(content)
    with pytest.raises(BadWeights, match=name) as raised:
        load("segformer-mini", mini_folder, settings=own)
    assert raised.value.code == "weights.config"


@pytest.mark.parametrize(
    "values",
    [
        {"size": {"height": -1, "width": 2}},
        {"size": []},
        {"resample": 3},
        {"image_std": [0, 1, 1]},
        {"image_mean": [1]},
        {"size": {}},
    ],
)
def test_preprocessors_that_cannot_be_used(own: Settings, mini_folder: Path, values: dict[str, Any]) -> None:
    _change(mini_folder / "preprocessor_config.json", **values)
    with pytest.raises(BadWeights) as raised:
        load("segformer-mini", mini_folder, settings=own)
    assert raised.value.code == "weights.processor"


def test_a_preprocessor_of_another_size_than_the_graph(own: Settings, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED / "mask2former", tmp_path / "weights"))
    _change(folder / "preprocessor_config.json", size={"height": 64, "width": 64})
    with pytest.raises(BadWeights) as raised:
        load("mask2former-mini", folder, settings=own)
    assert raised.value.code == "weights.input_size"


def _published(folder: Path, classes: int = 150) -> Path:
    """A file in the interface of the published one: the class is the quarter-size mean of red, in steps."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(size=(classes, 3, 1, 1)).astype("f4"), "weight")
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["small", "weight"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, "height", "width"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes, "h", "w"])]
    graph = helper.make_graph(nodes, "published", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "onnx" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())
    names = {str(label.index): label.name for label in catalogue.labels("ade20k")}
    (folder / "config.json").write_text(json.dumps({"id2label": names}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 512, "width": 512}}))
    return folder


def test_a_published_onnx_file(own: Settings, tmp_path: Path) -> None:
    model = load(ONNX, _published(tmp_path / "hub"), settings=own)
    image = make_scene(EVALUATION_SEED, (90, 120)).image
    assert model.logits(image).shape == (150, 128, 128)  # type: ignore[attr-defined]
    found = model.segment(image)
    assert sum(instance.mask.area for instance in found) == 90 * 120
    assert {instance.label for instance in found} <= {label.name for label in model.labels}
    assert len(model.labels) == 150


def test_a_published_onnx_file_with_other_classes_than_its_config(own: Settings, tmp_path: Path) -> None:
    model = load(ONNX, _published(tmp_path / "hub", classes=200), settings=own)
    with pytest.raises(BadWeights) as raised:
        model.segment(np.zeros((8, 8, 3), np.uint8))
    assert raised.value.code == "weights.labels"


@pytest.mark.parametrize("name", ["segformer-mini", ONNX])
def test_the_second_load_takes_the_optimised_session(
    own: Settings, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _published(tmp_path / "hub") if name == ONNX else None
    image = make_scene(EVALUATION_SEED, (64, 64)).image
    first = load(name, folder, settings=own).segment(image)
    assert len(list((own.cache_dir / "sessions").iterdir())) == 1

    def fresh(*_: object) -> None:
        raise AssertionError("the session was made anew")

    monkeypatch.setattr(sessions, "_fresh", fresh)
    assert load(name, folder, settings=own).segment(image) == first
