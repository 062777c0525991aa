from __future__ import annotations

import numpy as np
import onnx
import pytest

from locara_label.errors import BadWeights, UnknownModel
from locara_label.runtime.session import Options, open_session
from locara_label.runtime.skeleton import bind, open_skeleton
from tests.runtime.small_graphs import linear_skeleton, linear_tensors


@pytest.mark.parametrize("labels", [1, 3, 150])
def test_bound_graphs_run(labels: int) -> None:
    tensors = linear_tensors(labels)
    bound = bind(linear_skeleton(), tensors)
    session = open_session(bound, Options("cpu"))
    x = np.random.default_rng(1).normal(size=(4, 6)).astype("f4")
    found = session.run({"x": x})
    np.testing.assert_allclose(found["y"], x @ tensors["head.weight"] + tensors["head.bias"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["z"], x @ tensors["halves"][1], rtol=1e-5, atol=1e-6)
    assert session.symbols == bound.symbols == {"labels": labels}
    assert (session.inputs, session.outputs) == (("x",), ("y", "z"))


def test_the_result_is_a_valid_model_without_data() -> None:
    bound = bind(linear_skeleton(), linear_tensors())
    graph = onnx.ModelProto.FromString(bound.model).graph
    assert {(t.name, tuple(t.dims), t.data_location) for t in graph.initializer} == {
        ("head.bias", (4,), 1),
        ("head.weight", (6, 4), 1),
        ("halves@24", (6,), 1),
    }
    assert not any(t.raw_data or t.float_data for t in graph.initializer)
    assert len(bound.model) < len(linear_skeleton().graph) + 300


def test_float32_is_used_in_place_and_float16_widened() -> None:
    tensors = linear_tensors()
    bound = bind(linear_skeleton(), tensors)
    assert np.shares_memory(bound.arrays["head.weight"], tensors["head.weight"])
    assert np.shares_memory(bound.arrays["halves@24"], tensors["halves"])
    halved = bind(linear_skeleton(), {name: array.astype("f2") for name, array in tensors.items()})
    for name, array in halved.arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, bound.arrays[name].astype("f2").astype("f4"))


def test_non_contiguous_tensors() -> None:
    tensors = linear_tensors()
    strided = tensors | {"head.weight": np.asfortranarray(tensors["head.weight"])}
    np.testing.assert_array_equal(bind(linear_skeleton(), strided).arrays["head.weight"], tensors["head.weight"])


def test_one_error_names_everything() -> None:
    tensors = linear_tensors()
    del tensors["head.bias"]
    tensors["head.weight"] = np.zeros((5, 4), "f4")
    tensors["stranger"] = np.zeros(1, "f4")
    with pytest.raises(BadWeights, match="linear") as raised:
        bind(linear_skeleton(), tensors)
    error = raised.value
    assert error.code == "weights.mismatch"
    assert (error.missing, error.extra) == (("head.bias",), ("stranger",))
    assert error.misshaped == ("head.weight has shape [5, 4], expected [6, 'labels+1']",)
    assert "head.bias" in str(error)
    assert "stranger" in str(error)


def test_extra_tensors_alone_are_no_error() -> None:
    assert bind(linear_skeleton(), linear_tensors() | {"stranger": np.zeros(1, "f4")}).symbols == {"labels": 3}


def test_symbols_must_agree() -> None:
    tensors = linear_tensors(3) | {"head.weight": np.zeros((6, 6), "f4")}
    with pytest.raises(BadWeights) as raised:
        bind(linear_skeleton(), tensors)
    assert raised.value.misshaped == ("head.weight has shape [6, 6], expected [6, 4]",)


@pytest.mark.parametrize("dtype", ["f8", "i4", "?", "u1"])
def test_wrong_dtype(dtype: str) -> None:
    tensors = linear_tensors()
    tensors["head.bias"] = tensors["head.bias"].astype(dtype)
    with pytest.raises(BadWeights, match="dtype") as raised:
        bind(linear_skeleton(), tensors)
    assert raised.value.misshaped[0].startswith("head.bias has dtype")


@pytest.mark.parametrize("shape", [(11,), (0,), (1, 6), ()])
def test_a_tensor_too_small_for_its_part(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadWeights) as raised:
        bind(linear_skeleton(), linear_tensors() | {"halves": np.zeros(shape, "f4")})
    assert raised.value.misshaped[0].startswith("halves has shape")


def test_another_number_of_dimensions() -> None:
    with pytest.raises(BadWeights):
        bind(linear_skeleton(), linear_tensors() | {"head.bias": np.zeros((4, 1), "f4")})


def test_long_lists_are_cut() -> None:
    extra = {f"stranger.{number:03}": np.zeros(1, "f4") for number in range(50)}
    with pytest.raises(BadWeights, match="and 42 more") as raised:
        bind(linear_skeleton(), extra)
    assert len(raised.value.extra) == 50


@pytest.mark.parametrize("name", ["segformer-b9", "", "../graphs/segformer-b0/x"])
def test_unknown_graph(name: str) -> None:
    with pytest.raises(UnknownModel):
        open_skeleton(name)


@pytest.mark.parametrize("name", ["segformer-b0", "segformer-mini", "mask2former-mini", "mask2former-swin-tiny-q100"])
def test_shipped_graphs_hold_no_weights(name: str) -> None:
    skeleton = open_skeleton(name)
    graph = onnx.ModelProto.FromString(skeleton.graph).graph
    kept = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in graph.initializer)
    assert kept < 64 << 10
    used = {name for node in graph.node for name in node.input}
    assert {initializer.name for initializer in skeleton.initializers} <= used
    assert (skeleton.fixed_size is None) == name.startswith("segformer")
