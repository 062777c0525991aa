"""Builds the weightless graphs of `locara_label/graphs/`.

    python -m tools.build_graphs                    every graph
    python -m tools.build_graphs segformer-b0 ...   these
    python -m tools.build_graphs --check NAME ...   rebuild and compare with the shipped bytes

A graph is a zip of `graph.onnx`, which has no weights at all, and `tensors.json`, which says for every weight which bytes of
which tensor of the official file it is. The link is found by content: the architecture is filled with random numbers, written
with `save_pretrained` (which gives the official names) and exported with unfolded weights; equal bytes are the same tensor.
Where labels shape the weights, a graph is exported twice, with two numbers of labels: dimensions that differ become symbols, the
rest must be equal.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from onnx import numpy_helper
from safetensors import safe_open

from tools.architectures import ARCHITECTURES, Architecture, NotTrained, randomise, unite
from tools.folding import fold

GRAPHS = Path(__file__).parent.parent / "locara_label" / "graphs"
OPSET, DYNAMO_OPSET = 17, 20
MAX_INLINE = 512
"""Floats of a constant; more would be weights."""
LABELS = (11, 17)
DTYPES = {onnx.TensorProto.FLOAT: "F32"}


@dataclass(frozen=True)
class Reference:
    """Bytes of one tensor of the official file; `offset` is in bytes from the tensor's start."""

    tensor: str
    offset: int
    dtype: str
    shape: tuple[int, ...]


def export(architecture: Architecture, labels: int, folder: Path) -> tuple[onnx.ModelProto, dict[str, bytes]]:
    """The unfolded graph of a randomised model, and the contents of the file that `save_pretrained` writes for it."""
    torch.manual_seed(0)
    model = architecture.build(labels).eval()
    randomise(model, seed=labels)
    unite(model, architecture.twins)
    model.save_pretrained(folder)
    example, path = architecture.example(), folder / "export.onnx"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            architecture.part(model),
            tuple(example.values()),
            str(path),
            input_names=list(example),
            output_names=list(architecture.outputs),
            **_exporter(architecture),
        )
    graph = onnx.load(str(path))
    strip(graph)
    if not architecture.dynamic:
        fold(graph, {name: tensor.numpy() for name, tensor in example.items()})
    return graph, _stored(folder)


def _exporter(architecture: Architecture) -> dict[str, Any]:
    if architecture.dynamo:
        return {"dynamo": True, "opset_version": DYNAMO_OPSET, "optimize": False, "external_data": False, "verbose": False}
    axes = {name: dict(sizes) for name, sizes in architecture.dynamic.items()}
    return {"dynamo": False, "opset_version": OPSET, "do_constant_folding": False, "dynamic_axes": axes}


def _stored(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            found.update({name: file.get_tensor(name).tobytes() for name in file.keys()})  # noqa: SIM118 - not a mapping
    return found


def bind(model: onnx.ModelProto, stored: dict[str, bytes]) -> dict[str, Reference]:
    """Takes every float initializer out of the graph that equals bytes of the stored file; small integers stay inline."""
    by_content = {sha256(content).digest(): name for name, content in stored.items()}
    found = {}
    used = {name for node in model.graph.node for name in node.input}
    for tensor in list(model.graph.initializer):
        if tensor.name not in used:  # the newer exporter keeps those of the whole model
            model.graph.initializer.remove(tensor)
            continue
        if tensor.data_type not in DTYPES:
            continue
        reference = _find(tensor, by_content, stored)
        if reference is not None:
            found[tensor.name] = reference
            model.graph.initializer.remove(tensor)
    return found


def _find(tensor: onnx.TensorProto, by_content: dict[bytes, str], stored: dict[str, bytes]) -> Reference | None:
    content = numpy_helper.to_array(tensor).tobytes()
    dtype, shape = DTYPES[tensor.data_type], tuple(tensor.dims)
    name = by_content.get(sha256(content).digest())
    if name is not None:
        return Reference(name, 0, dtype, shape)
    if len(content) < 64:
        return None
    parts = ((name, whole.find(content)) for name, whole in stored.items())
    return next((Reference(name, at, dtype, shape) for name, at in parts if at >= 0), None)


def strip(model: onnx.ModelProto) -> None:
    """Removes what only describes the export; double precision becomes single (GridSample has no double kernel)."""
    model.producer_version = ""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    _single_precision(model.graph)


def _single_precision(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _single_precision(attribute.g)
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == onnx.TensorProto.DOUBLE:
                attribute.t.CopyFrom(
                    numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype("float32"), attribute.t.name)
                )
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.DOUBLE:
                attribute.i = onnx.TensorProto.FLOAT


def spell_out(model: onnx.ModelProto) -> None:
    """Turns large constants of one number into the formula that they were."""
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if value is None or math.prod(value.dims) <= MAX_INLINE or np.ptp(numbers := numpy_helper.to_array(value)) != 0:
            continue
        shape = f"{node.output[0]}_shape"
        sizes = onnx.helper.make_tensor(shape, onnx.TensorProto.INT64, [len(value.dims)], list(value.dims))
        model.graph.initializer.append(sizes)
        fill = numpy_helper.from_array(numbers.reshape(-1)[:1])
        node.CopyFrom(onnx.helper.make_node("ConstantOfShape", [shape], [node.output[0]], value=fill))


def rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)


def weightless(architecture: Architecture, labels: int) -> tuple[bytes, dict[str, Reference], list[str]]:
    """The graph without weights, its references by initializer name, and the stored float tensors that it does not use."""
    with tempfile.TemporaryDirectory() as folder:
        model, stored = export(architecture, labels, Path(folder))
    references = bind(model, {name: content for name, content in stored.items() if name not in architecture.twins})
    spell_out(model)
    refuse_weights(model)
    names = {old: f"{new.tensor}@{new.offset}" if new.offset else new.tensor for old, new in references.items()}
    rename(model, names)
    used = {reference.tensor for reference in references.values()}
    return (
        model.SerializeToString(deterministic=True),
        {names[old]: reference for old, reference in references.items()},
        sorted(set(stored) - used),
    )


def refuse_weights(model: onnx.ModelProto) -> None:
    """Ends the program where many floats stay in a graph that should have none."""
    constants = (a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute if a.name == "value")
    for tensor in (*model.graph.initializer, *constants):
        if tensor.data_type in DTYPES and math.prod(tensor.dims) > MAX_INLINE:
            raise SystemExit(f"{tensor.name} {list(tensor.dims)} stays in the graph and is no tensor of the file")


def build(name: str) -> bytes:
    """The bytes of one shipped graph.

    Raises:
        NotTrained: it belongs to a mini model that is not there.
    """
    architecture = ARCHITECTURES[name]()
    graph, references, unused = weightless(architecture, LABELS[0])
    other = references
    if architecture.has_labels:
        other_graph, other, _ = weightless(architecture, LABELS[1])
        if graph != other_graph or references.keys() != other.keys():
            raise SystemExit(f"{name}: the graph depends on the number of labels")
    table = {
        "format": 1,
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
        "fixed_size": list(architecture.fixed_size) if architecture.fixed_size else None,
        "unused": unused,
        "tensors": {key: _row(key, reference, other[key].shape) for key, reference in sorted(references.items())},
    }
    return pack({"graph.onnx": graph, "tensors.json": json.dumps(table, separators=(",", ":")).encode()})


def _row(key: str, reference: Reference, other: tuple[int, ...]) -> dict[str, Any]:
    row: dict[str, Any] = {"shape": [_symbol(a, b) for a, b in zip(reference.shape, other, strict=True)]}
    if reference.offset:
        row |= {"tensor": reference.tensor, "offset": reference.offset}
    return row if reference.dtype == "F32" else row | {"dtype": reference.dtype, "key": key}


def _symbol(one: int, other: int) -> int | str:
    """A dimension of the two exports: the same number, or labels (classes are labels + 1, the last being "no object")."""
    if one == other:
        return one
    extra = one - LABELS[0]
    if other - LABELS[1] != extra or extra not in (0, 1):
        raise SystemExit(f"dimensions of {one} and {other} do not come from the number of labels")
    return f"labels+{extra}" if extra else "labels"


def pack(members: dict[str, bytes]) -> bytes:
    """A zip whose bytes depend on nothing but its members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[], metavar="NAME", help=", ".join(ARCHITECTURES))
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the bytes differ")
    options = parser.parse_args()
    for name in options.names or ARCHITECTURES:
        try:
            content, path = build(name), GRAPHS / f"{name}.zip"
        except NotTrained as error:
            print(f"{name}: skipped, {error}", flush=True)
            continue
        same = path.exists() and path.read_bytes() == content
        print(f"{name}: {len(content) / 1000:.0f} KB{'' if same else ', differs from the shipped bytes'}", flush=True)
        if options.check and not same:
            sys.exit(1)
        if not options.check:
            path.write_bytes(content)


if __name__ == "__main__":
    main()
