"""Small ONNX graphs made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

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
