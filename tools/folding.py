"""Replaces what a fixed input size makes constant (shapes, indices, slices) by its values, so that a session starts quickly.

Only small results become constants: a large table that follows from the size alone (positions, window masks) stays a formula
in the graph, which keeps the graph weightless.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from locara_label.runtime.providers import onnxruntime

MAX_ELEMENTS = 512


def fold(model: onnx.ModelProto, feed: Mapping[str, NDArray[np.generic]]) -> None:
    """Folds a complete model in place; every input of the later runs has the shape that it has in `feed`."""
    names = _independent(model.graph)
    values = _values(model, names, feed)
    small = {name: value for name, value in values.items() if value.size <= MAX_ELEMENTS}
    kept = [node for node in model.graph.node if not set(node.output) <= small.keys()]
    constants = [_constant(name, value) for name, value in small.items()]
    del model.graph.node[:]
    model.graph.node.extend(_needed([*constants, *kept], {output.name for output in model.graph.output}))


def _independent(graph: onnx.GraphProto) -> list[str]:
    """Results that do not depend on pixels or weights: constants, shapes, and what is computed from these alone."""
    found = {tensor.name for tensor in graph.initializer if tensor.data_type != onnx.TensorProto.FLOAT}
    names: list[str] = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if node.op_type in {"Shape", "Constant"} or all(name in found for name in inputs):
            found.update(node.output)
            names.extend(name for name in node.output if name)
    return names


def _values(model: onnx.ModelProto, names: list[str], feed: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    ort = onnxruntime()
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    session = ort.InferenceSession(probe.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def _constant(name: str, value: NDArray[np.generic]) -> onnx.NodeProto:
    return onnx.helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes, in their order, that lead to a wanted result."""
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(name for name in node.input if name)
            kept.append(node)
    return kept[::-1]
