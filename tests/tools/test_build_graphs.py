"""The shipped graphs are what the tools build; needs torch and the versions that `tensors.json` names."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")
transformers = needed("transformers")

import onnxruntime as ort  # noqa: E402
from onnx import ModelProto, TensorProto, helper, numpy_helper  # noqa: E402

from tools import architectures, build_graphs  # noqa: E402
from tools.build_graphs import GRAPHS, build, pack, spell_out  # noqa: E402
from tools.folding import fold  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow]


def _made_here(name: str) -> bool:
    with zipfile.ZipFile(GRAPHS / f"{name}.zip") as archive:
        made_with = json.loads(archive.read("tensors.json"))["made_with"]
    return bool(made_with == {"torch": torch.__version__, "transformers": transformers.__version__})


def test_the_shipped_bytes() -> None:
    if not _made_here("segformer-b0"):
        pytest.skip("made with other versions")
    assert build("segformer-b0") == (GRAPHS / "segformer-b0.zip").read_bytes()


def test_building_is_deterministic() -> None:
    assert build("segformer-mini") == build("segformer-mini")


def test_pack() -> None:
    content = pack({"a": b"1", "b": b"2" * 1000})
    assert content == pack({"a": b"1", "b": b"2" * 1000})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a": b"1", "b": b"2" * 1000}


def _reshaping() -> ModelProto:
    """Flattens by computed shape, times a weight; a large range that follows from the shape is added."""
    nodes = [
        helper.make_node("Shape", ["pixel_values"], ["shape"]),
        helper.make_node("ReduceProd", ["shape"], ["count"], keepdims=1),
        helper.make_node("Reshape", ["pixel_values", "count"], ["flat"]),
        helper.make_node("Squeeze", ["count"], ["limit"]),
        helper.make_node("Range", ["zero", "limit", "one"], ["large"]),
        helper.make_node("Cast", ["large"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["flat", "weight"], ["scaled"]),
        helper.make_node("Add", ["scaled", "numbers"], ["y"]),
        helper.make_node("Shape", ["y"], ["unused"]),
    ]
    kept = [helper.make_tensor("zero", TensorProto.INT64, [], [0]), helper.make_tensor("one", TensorProto.INT64, [], [1])]
    kept.append(numpy_helper.from_array(np.full(1, 3, "f4"), "weight"))
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, 20, 20])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "reshaping", inputs, outputs, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: ModelProto, pixels: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"pixel_values": pixels})[0]


def test_fold() -> None:
    model, pixels = _reshaping(), np.random.default_rng(0).normal(size=(1, 3, 20, 20)).astype("f4")
    wanted = _run(model, pixels)
    fold(model, {"pixel_values": pixels})
    kinds = [node.op_type for node in model.graph.node]
    assert "Shape" not in kinds
    assert "ReduceProd" not in kinds
    assert "Range" in kinds
    assert {"Reshape", "Mul", "Add", "Constant"} <= set(kinds)
    assert len(model.SerializeToString()) < 2000
    np.testing.assert_array_equal(_run(model, pixels), wanted)
    other = pixels[:, :, ::-1].copy()
    np.testing.assert_array_equal(_run(model, other), _run(_reshaping(), other))


@pytest.mark.parametrize("part", architectures.SAM2_PARTS)
def test_the_shipped_bytes_of_the_prompted_mini(part: str) -> None:
    name = f"sam2-mini-{part}"
    if not _made_here(name):
        pytest.skip("made with other versions")
    assert build(name) == (GRAPHS / f"{name}.zip").read_bytes()


@pytest.mark.parametrize("name", [*(f"sam2.1-hiera-{variant}" for variant in architectures.HIERA), "sam2-mini"])
def test_the_graphs_of_a_model_know_the_same_file(name: str) -> None:
    paths = [GRAPHS / f"{name}-{part}.zip" for part in architectures.SAM2_PARTS]
    tables = []
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            tables.append(json.loads(archive.read("tensors.json")))
    known = [set(table["unused"]) | {row.get("tensor", key) for key, row in table["tensors"].items()} for table in tables]
    assert all(one == known[0] for one in known)
    twin = "prompt_encoder.shared_embedding.positional_embedding"
    assert all(twin in table["unused"] for table in tables)
    assert "shared_image_embedding.positional_embedding" in tables[1]["tensors"]
    assert all(isinstance(dim, int) for table in tables for row in table["tensors"].values() for dim in row["shape"])


def test_a_mini_that_is_not_trained_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(architectures, "MINI", tmp_path)
    monkeypatch.setattr(build_graphs, "GRAPHS", tmp_path)
    monkeypatch.setattr("sys.argv", ["build_graphs", "sam2-mini-encoder"])
    build_graphs.main()
    assert "sam2-mini-encoder: skipped" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def _adding(table: np.ndarray) -> ModelProto:
    nodes = [
        helper.make_node("Constant", [], ["table"], value=numpy_helper.from_array(table)),
        helper.make_node("Add", ["pixel_values", "table"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 1, 30, 30])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    return helper.make_model(
        helper.make_graph(nodes, "adding", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def test_a_constant_of_one_number_becomes_a_formula() -> None:
    model, pixels = _adding(np.full((30, 30), 3, "f4")), np.zeros((1, 1, 30, 30), "f4")
    spell_out(model)
    build_graphs.refuse_weights(model)
    assert [node.op_type for node in model.graph.node] == ["ConstantOfShape", "Add"]
    assert (_run(model, pixels) == 3).all()


def test_weights_do_not_stay_in_a_graph() -> None:
    model = _adding(np.arange(900, dtype="f4").reshape(30, 30))
    spell_out(model)
    with pytest.raises(SystemExit, match="stays in the graph"):
        build_graphs.refuse_weights(model)
