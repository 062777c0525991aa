"""A weightless graph and official tensors as one plain ONNX file, with other names of inputs and outputs.

Only the headers are made anew; the tensors' bytes go out from where they are, memory-mapped, so a file of any size costs no
memory. Field numbers are those of onnx.proto (IR version 8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadWeights
from locara_label.runtime.protobuf import Field, fields, message, varint, written
from locara_label.runtime.skeleton import FLOAT, Skeleton, bind

MODEL_GRAPH = 7
NODE, INITIALIZER, INPUT, OUTPUT, VALUE = 1, 5, 11, 12, 13
INT64 = 7
Part = bytes | memoryview


@dataclass(frozen=True)
class OnnxFile:
    """A file in parts, in their order; `size` in bytes."""

    parts: Sequence[Part]
    size: int


def onnx_file(
    skeleton: Skeleton,
    tensors: Mapping[str, NDArray[Any]],
    names: Mapping[str, str],
    *,
    as_float: Sequence[str] = (),
    without: Sequence[str] = (),
) -> OnnxFile:
    """The whole model as ONNX.

    Args:
        skeleton: the graph.
        tensors: official name to array.
        names: of inputs and outputs: the graph's to those of the file; those left out stay as they are.
        as_float: inputs of the file that are floats though the graph takes int64.
        without: outputs of the graph that the file does not have.

    Raises:
        BadWeights: `weights.mismatch`, see `bind`; `weights.too_large`, an ONNX file holds 2 GiB.
    """
    arrays = bind(skeleton, tensors).arrays
    model = list(fields(skeleton.graph))
    graph = next(payload for number, _, payload in model if number == MODEL_GRAPH)
    # An input that is cast keeps its name in the file, so the graph's own value gets another one.
    inner = {name: f"{name}.int64" for name in as_float} | dict(names)
    parts: list[Part] = [_cast(name, inner[name]) for name in as_float]
    kept = (field for field in fields(graph) if field[0] != OUTPUT or _name(field) not in without)
    parts += [_renamed(field, inner, as_float) for field in kept]
    parts += [part for name, array in arrays.items() for part in _tensor(name, array)]
    rest = b"".join(written(field) for field in model if field[0] != MODEL_GRAPH)
    inside = sum(map(len, parts))
    head = rest + varint(MODEL_GRAPH << 3 | 2) + varint(inside)
    if len(head) + inside >= 1 << 31:
        raise BadWeights(f"{skeleton.name} has {inside} bytes, an ONNX file holds 2 GiB", code="weights.too_large")
    return OnnxFile([head, *parts], len(head) + inside)


def _renamed(field: Field, names: Mapping[str, str], as_float: Sequence[str]) -> bytes:
    """A field of the graph with other names of values."""
    number, wire, payload = field
    if number == NODE:
        payload = b"".join(written(_other_name(one, (1, 2), names)) for one in fields(payload))
    elif number in (INPUT, OUTPUT, VALUE):
        name = _name(field)
        if number == INPUT and name in as_float:
            payload = message(1, name.encode()) + message(2, message(1, varint(1 << 3) + varint(FLOAT)))
        else:
            payload = b"".join(written(_other_name(one, (1,), names)) for one in fields(payload))
    return written((number, wire, payload))


def _name(field: Field) -> str:
    """Of a ValueInfoProto."""
    return next(part for key, _, part in fields(field[2]) if key == 1).decode()


def _other_name(field: Field, numbers: Sequence[int], names: Mapping[str, str]) -> Field:
    number, wire, payload = field
    if number not in numbers or wire != 2:
        return field
    name = payload.decode()
    return number, wire, names.get(name, name).encode()


def _cast(given: str, wanted: str) -> bytes:
    """A node that makes int64 of floats: input = 1, output = 2, op_type = 4, attribute = 5 (name = 1, i = 3, type = 20)."""
    to = message(1, b"to") + varint(3 << 3) + varint(INT64) + varint(20 << 3) + varint(2)
    node = message(1, given.encode()) + message(2, wanted.encode()) + message(4, b"Cast") + message(5, to)
    return message(NODE, node)


def _tensor(name: str, array: NDArray[np.float32]) -> Iterator[Part]:
    """A TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9."""
    data = np.ascontiguousarray(array, "<f4").reshape(-1).view(np.uint8).data
    head = b"".join(varint(1 << 3) + varint(dim) for dim in array.shape)
    head += varint(2 << 3) + varint(FLOAT) + message(8, name.encode()) + varint(9 << 3 | 2) + varint(len(data))
    yield varint(INITIALIZER << 3 | 2) + varint(len(head) + len(data)) + head
    yield data
