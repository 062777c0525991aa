"""Weightless graphs: an ONNX graph without initializers, and a table that says where in the official weights each one is.

A serialised protobuf message may be extended by appending bytes: the graph field of the appended part is merged into the graph
that is already there. So the headers of the initializers (name, shape, type, "external") are appended to the shipped bytes, and
the data itself is handed to ONNX Runtime as arrays over the memory-mapped weights file. Nothing is converted, nothing is copied.
Sources: the encoding guide of Protocol Buffers; TensorProto in onnx.proto (IR version 8).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadWeights, UnknownModel
from locara_label.runtime.protobuf import message, varint

FLOAT = 1
"""TensorProto.FLOAT."""
HALVES = (np.dtype(np.float16),)
SHOWN = 8


@dataclass(frozen=True)
class Initializer:
    """Where one initializer's data is: `offset` counts bytes from the start of the official tensor; `shape` may hold symbols."""

    name: str
    tensor: str
    offset: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Skeleton:
    """A weightless graph.

    Attributes:
        name: the architecture, e.g. "segformer-b0".
        graph: serialised ModelProto without the bound initializers.
        initializers: what has to be bound.
        unused: tensors of the official file that inference does not need.
        fixed_size: height and width of the input in pixels where the graph accepts only one.
    """

    name: str
    graph: bytes
    initializers: tuple[Initializer, ...]
    unused: frozenset[str]
    fixed_size: tuple[int, int] | None


@dataclass(frozen=True)
class BoundGraph:
    """A complete model: serialised ModelProto, its external initializers by name, and the values of the symbols ("labels")."""

    model: bytes
    arrays: dict[str, NDArray[np.float32]]
    symbols: dict[str, int]


def open_skeleton(name: str) -> Skeleton:
    """The shipped weightless graph of an architecture.

    Raises:
        UnknownModel: there is no such graph.
    """
    path = resources.files("locara_label.graphs") / f"{name}.zip"
    if not path.is_file():
        raise UnknownModel(f"no graph for the architecture {name!r} is shipped")
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        return _parse(name, archive.read("graph.onnx"), json.loads(archive.read("tensors.json")))


def _parse(name: str, graph: bytes, table: dict[str, Any]) -> Skeleton:
    rows = table["tensors"].items()
    return Skeleton(
        name,
        graph,
        tuple(Initializer(key, row.get("tensor", key), row.get("offset", 0), tuple(row["shape"])) for key, row in rows),
        frozenset(table["unused"]),
        tuple(table["fixed_size"]) if table["fixed_size"] else None,
    )


def bind(skeleton: Skeleton, tensors: Mapping[str, NDArray[Any]]) -> BoundGraph:
    """Joins a weightless graph and official tensors.

    Args:
        skeleton: the graph.
        tensors: official name to array; float32 arrays are used in place, float16 ones are widened.

    Raises:
        BadWeights: with code `weights.mismatch`, naming the missing, extra and mis-shaped tensors.
    """
    symbols: dict[str, int] = {}
    missing = sorted({i.tensor for i in skeleton.initializers if i.tensor not in tensors})
    misshaped = [_misfit(i, tensors[i.tensor], symbols) for i in skeleton.initializers if i.tensor in tensors]
    wrong = [sentence for sentence in misshaped if sentence]
    if missing or wrong:
        known = skeleton.unused | {i.tensor for i in skeleton.initializers}
        raise _mismatch(skeleton.name, missing, sorted(set(tensors) - known), wrong)
    arrays = {i.name: _view(i, tensors[i.tensor], symbols) for i in skeleton.initializers}
    headers = b"".join(message(5, _header(name, array.shape)) for name, array in arrays.items())
    return BoundGraph(skeleton.graph + message(7, headers), arrays, symbols)


def _mismatch(name: str, missing: Sequence[str], extra: Sequence[str], wrong: Sequence[str]) -> BadWeights:
    parts = [("missing", missing), ("not known", extra), ("of another shape", wrong)]
    text = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in parts if names)
    return BadWeights(
        f"the weights do not fit {name}: {text}", code="weights.mismatch", missing=missing, extra=extra, misshaped=wrong
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _misfit(initializer: Initializer, array: NDArray[Any], symbols: dict[str, int]) -> str | None:
    """One sentence on why a tensor cannot be this initializer, or nothing; symbols are bound at their first use."""
    if array.dtype != np.float32 and array.dtype not in HALVES:
        return f"{initializer.tensor} has dtype {array.dtype}, expected float32"
    if initializer.offset or array.ndim != len(initializer.shape):
        fits = initializer.offset and _bytes_end(initializer, symbols) <= array.size * 4
        return None if fits else f"{initializer.tensor} has shape {list(array.shape)}, expected {list(initializer.shape)}"
    for wanted, found in zip(initializer.shape, array.shape, strict=True):
        if _resolve(wanted, symbols, found) != found:
            expected = [_resolve(dim, symbols) for dim in initializer.shape]
            return f"{initializer.tensor} has shape {list(array.shape)}, expected {expected}"
    return None


def _bytes_end(initializer: Initializer, symbols: dict[str, int]) -> int:
    return initializer.offset + 4 * int(np.prod([int(_resolve(dim, symbols)) for dim in initializer.shape]))


def _resolve(dim: int | str, symbols: dict[str, int], found: int | None = None) -> int | str:
    """A dimension as a number; a symbol that is not bound yet takes its value from `found`."""
    if isinstance(dim, int):
        return dim
    symbol, _, extra = dim.partition("+")
    if found is not None:
        symbols.setdefault(symbol, found - int(extra or 0))
    return symbols[symbol] + int(extra or 0) if symbol in symbols else dim


def _view(initializer: Initializer, array: NDArray[Any], symbols: dict[str, int]) -> NDArray[np.float32]:
    shape = tuple(int(_resolve(dim, symbols)) for dim in initializer.shape)
    flat = np.ascontiguousarray(array).reshape(-1)
    start = initializer.offset // 4
    part: NDArray[Any] = flat[start : start + int(np.prod(shape))]
    return part.astype(np.float32, copy=False).reshape(shape)


def _header(name: str, shape: tuple[int, ...]) -> bytes:
    """A TensorProto whose data lies elsewhere: dims = 1, data_type = 2, name = 8, external_data = 13, data_location = 14."""
    dims = b"".join(varint(1 << 3) + varint(dim) for dim in shape)
    location = message(1, b"location") + message(2, b"weights")
    return dims + varint(2 << 3) + varint(FLOAT) + message(8, name.encode()) + message(13, location) + varint(14 << 3) + b"\x01"
