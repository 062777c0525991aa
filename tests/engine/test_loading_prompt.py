"""Loading of prompt models, as far as no weights are needed; with weights see tests/parity/test_sam2_parity.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from locara_label.engine.loading import find_row, is_prompt_model, load, load_prompt_model
from locara_label.errors import BadOption, BadWeights, NotDownloaded, UnknownModel
from locara_label.runtime.skeleton import open_skeleton
from locara_label.settings import Settings
from locara_label.weights import catalogue
from locara_label.weights.store import MINI as BUNDLED


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", device="cpu", threads=2)


def test_the_kinds_of_names() -> None:
    assert is_prompt_model("sam2.1-hiera-tiny")
    assert is_prompt_model("sam2.1-hiera-large-onnx-fp16")
    assert is_prompt_model("sam2-mini")
    assert is_prompt_model("classic")
    assert not is_prompt_model("mini")
    assert not is_prompt_model("segformer-mini")
    with pytest.raises(UnknownModel, match=r"sam2\.1-hiera-tiny"):
        is_prompt_model("sam2.1-hiera-tinyy")


@pytest.mark.parametrize("name", ["sam2.1-hiera-tiny", "sam2.1-hiera-tiny-onnx", "sam2-mini", "classic"])
def test_load_names_the_other_function(own: Settings, name: str) -> None:
    with pytest.raises(BadOption, match="load_prompt_model") as raised:
        load(name, settings=own)
    assert raised.value.code == "option.model"


def test_load_prompt_model_names_the_other_function(own: Settings) -> None:
    with pytest.raises(BadOption, match="`load`") as raised:
        load_prompt_model("segformer-mini", settings=own)
    assert raised.value.code == "option.model"


def test_the_mini_of_the_task() -> None:
    assert find_row("mini", "prompt").name == "sam2-mini"
    with pytest.raises(BadOption) as raised:
        find_row("sam2.1-hiera-tiny", "semantic")
    assert raised.value.code == "option.task"


@pytest.mark.parametrize("name", ["sam2.1-hiera-tiny", "sam2.1-hiera-tiny-onnx"])
def test_not_downloaded(own: Settings, name: str) -> None:
    with pytest.raises(NotDownloaded, match=f"models pull {name}"):
        load_prompt_model(name, settings=own)
    assert own.store().state(catalogue.find(name)).kind == "not_downloaded"


@pytest.mark.parametrize("name", ["sam2.1-hiera-tiny", "sam2.1-hiera-tiny-onnx"])
def test_an_empty_folder(own: Settings, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotDownloaded):
        load_prompt_model(name, tmp_path, settings=own)


def test_weights_of_something_else(own: Settings, tmp_path: Path) -> None:
    save_file({"one": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(BadWeights) as raised:
        load_prompt_model("sam2.1-hiera-tiny", tmp_path, settings=own)
    assert raised.value.code == "weights.mismatch"
    assert raised.value.extra == ("one",)
    assert any(name.startswith("vision_encoder.") for name in raised.value.missing)


@pytest.mark.parametrize(
    "row", [row for row in catalogue.rows() if row.family == "sam2" and row.graphs], ids=lambda row: row.name
)
def test_graphs_are_shipped(row: catalogue.Row) -> None:
    encoder, decoder = (open_skeleton(name) for name in row.graphs)
    side = 256 if row.bundled else 1024
    assert encoder.fixed_size == decoder.fixed_size == (side, side)
    known = [graph.unused | {part.tensor for part in graph.initializers} for graph in (encoder, decoder)]
    assert known[0] == known[1]


def test_the_mini(own: Settings) -> None:
    model = load_prompt_model("mini", settings=own)
    assert model.name == "sam2-mini"
    assert model.refines
    config = json.loads((BUNDLED / "sam2" / "config.json").read_text())
    assert config["prompt_encoder_config"]["image_size"] == 256
