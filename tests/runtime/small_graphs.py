"""Small ONNX graphs made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from locara_label.runtime.skeleton import Initializer, Skeleton

FLOAT = TensorProto.FLOAT


def model(nodes: list[Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], kept: tuple[Any, ...] = ()) -> bytes:
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        list(kept),
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def doubling() -> bytes:
    return model([helper.make_node("Add", ["x", "x"], ["y"])], {"x": ["n"]}, {"y": ["n"]})


def endless(rounds: int = 1_000_000) -> bytes:
    """A loop of matrix products that takes minutes."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "state"], ["squared"]),
            helper.make_node("Tanh", ["squared"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", FLOAT, None)],
    )
    kept = (
        helper.make_tensor("rounds", TensorProto.INT64, [], [rounds]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
    )
    loop = helper.make_node("Loop", ["rounds", "true", "x"], ["y"], body=body)
    return model([loop], {"x": ["n", "n"]}, {"y": ["n", "n"]}, kept)


def half_normalised() -> bytes:
    """y = (x - mean) / deviation in float16, spelt out behind a cast: sound, but ONNX Runtime 1.31 trips when it fuses it."""
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Cast", ["x"], "half", {"to": TensorProto.FLOAT16}),
        ("ReduceMean", ["half"], "mean", {"axes": [-1]}),
        ("Sub", ["half", "mean"], "centred", {}),
        ("Pow", ["centred", "two"], "squares", {}),
        ("ReduceMean", ["squares"], "variance", {"axes": [-1]}),
        ("Add", ["variance", "epsilon"], "positive", {}),
        ("Sqrt", ["positive"], "deviation", {}),
        ("Div", ["centred", "deviation"], "normal", {}),
        ("Mul", ["normal", "ones"], "scaled", {}),
        ("Add", ["scaled", "zeros"], "shifted", {}),
        ("Cast", ["shifted"], "y", {"to": FLOAT}),
    ]
    nodes = [helper.make_node(kind, inputs, [output], **attributes) for kind, inputs, output, attributes in steps]
    kept = {"two": np.float16(2), "epsilon": np.float16(1e-5), "ones": np.ones(8, np.float16), "zeros": np.zeros(8, np.float16)}
    return model(nodes, {"x": [2, 8]}, {"y": [2, 8]}, tuple(numpy_helper.from_array(np.asarray(v), k) for k, v in kept.items()))


def linear_skeleton() -> Skeleton:
    """y = x @ weight + bias, z = y * half, where half is the second part of the tensor `halves`; 6 inputs, some labels."""
    nodes = [
        helper.make_node("MatMul", ["x", "head.weight"], ["product"]),
        helper.make_node("Add", ["product", "head.bias"], ["y"]),
        helper.make_node("MatMul", ["x", "halves@24"], ["z"]),
    ]
    graph = model(nodes, {"x": ["n", 6]}, {"y": ["n", "labels"], "z": ["n"]})
    rows = (
        Initializer("head.bias", "head.bias", 0, ("labels+1",)),
        Initializer("head.weight", "head.weight", 0, (6, "labels+1")),
        Initializer("halves@24", "halves", 24, (6,)),
    )
    return Skeleton("linear", graph, rows, frozenset({"counter"}), None)


def linear_tensors(labels: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "head.bias": rng.normal(size=labels + 1).astype("f4"),
        "head.weight": rng.normal(size=(6, labels + 1)).astype("f4"),
        "halves": rng.normal(size=(2, 6)).astype("f4"),
        "counter": np.zeros((), "i8"),
    }
