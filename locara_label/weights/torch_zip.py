"""Reads torch zip checkpoints (`pytorch_model.bin`) without unpickling.

A checkpoint is a zip of stored (not compressed) members: `*/data.pkl` describes the tensors, `*/data/KEY` holds the bytes of
one storage. The description is a pickle. It is not loaded: its opcodes are read one by one and a small stack machine follows
only those that a state dict needs. It knows a few names, calls nothing, and refuses everything else.
Sources: the documentation of `torch.save` (serialization notes) and of Python's `pickletools`.
"""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from locara_label.errors import BadWeights
from locara_label.weights.stored import BFLOAT16, Stored

STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"), "DoubleStorage": np.dtype("<f8"), "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": BFLOAT16, "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("i1"), "ByteStorage": np.dtype("u1"), "BoolStorage": np.dtype("?"),
}  # fmt: skip
KNOWN = {
    "collections OrderedDict": "dict",
    "torch._utils _rebuild_tensor_v2": "tensor",
    "torch._utils _rebuild_parameter": "parameter",
    **{f"torch {name}": name for name in STORAGES},
}
MAX_DESCRIPTION = 64 << 20


@dataclass(frozen=True)
class _Name:
    """A name that the description mentions; what it stands for is never imported."""

    name: str


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype[Any]
    key: str


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Refused(Exception):
    """The description needs something that a state dict does not."""


DAMAGED = (
    zipfile.BadZipFile, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error, NotImplementedError, EOFError,
    RuntimeError, OverflowError, OSError, Warning,  # pickletools warns of escapes that it does not know
)  # fmt: skip


def read(path: Path, content: memoryview) -> dict[str, Stored]:
    """The tensors of a checkpoint.

    Raises:
        BadWeights: not a torch zip file, damaged, or a description that asks for more than tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            folder, description = _description(archive, members)
        state = _Machine(description).run()
        return {name: _stored(tensor, folder, members, content) for name, tensor in _tensors(state).items()}
    except _Refused as error:
        raise BadWeights(f"{path} asks for more than tensors: {error}", code="weights.pickle") from error
    except DAMAGED as error:
        text = "is not a torch zip checkpoint (older checkpoints are plain pickles, which are never loaded)"
        raise BadWeights(f"{path} {text}: {error}", code="weights.torch") from error


def _description(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> tuple[str, bytes]:
    name = next((name for name in members if name.endswith("data.pkl")), None)
    if name is None or members[name].file_size > MAX_DESCRIPTION:
        raise zipfile.BadZipFile("no description of tensors of a sensible size")
    _check_stored(members[name])
    folder = name.removesuffix("data.pkl")
    if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
        raise zipfile.BadZipFile("its numbers are big-endian")
    return folder, archive.read(name)


def _check_stored(info: zipfile.ZipInfo) -> None:
    if info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{info.filename} is compressed")


def _tensors(state: Any) -> dict[str, _Tensor]:
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise _Refused("it is not a dictionary of tensors")
    return {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, _Tensor)}


def _stored(tensor: _Tensor, folder: str, members: dict[str, zipfile.ZipInfo], content: memoryview) -> Stored:
    info = members[f"{folder}data/{tensor.storage.key}"]
    _check_stored(info)
    if min((*tensor.shape, *tensor.strides, tensor.offset), default=0) < 0:
        raise zipfile.BadZipFile(f"a tensor of {info.filename} has a negative size")
    name_length, extra_length = struct.unpack_from("<HH", content, info.header_offset + 26)
    start = info.header_offset + 30 + name_length + extra_length
    data = content[start : start + info.file_size][tensor.offset * tensor.storage.dtype.itemsize :]
    strides = None if tensor.strides == _contiguous(tensor.shape) else tensor.strides
    stored = Stored(data, tensor.storage.dtype, tensor.shape, strides)
    if not stored.is_sensible or stored.bytes_needed > len(data):
        raise zipfile.BadZipFile(f"a tensor lies outside {info.filename}")
    return stored


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for dim in reversed(shape):
        strides.append(step)
        step *= dim
    return tuple(reversed(strides))


class _Machine:
    """Follows the opcodes of a description; every opcode that is not in a table is refused."""

    def __init__(self, description: bytes) -> None:
        self.opcodes = pickletools.genops(io.BytesIO(description))
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for opcode, argument, _ in self.opcodes:
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise _Refused("it has no end")

    def step(self, name: str, argument: Any) -> None:
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in ACTIONS:
            ACTIONS[name](self, argument)
        elif name not in {"PROTO", "FRAME"}:
            raise _Refused(f"opcode {name}")

    def since_mark(self) -> list[Any]:
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def last(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) < count:
            raise IndexError("its stack is empty")
        del self.stack[-count:]
        return items

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def name(self, argument: str) -> None:
        if argument not in KNOWN:
            raise _Refused(f"the name {argument.replace(' ', '.')}")
        self.stack.append(_Name(KNOWN[argument]))

    def remember(self, argument: Any) -> None:
        self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]

    def recall(self, argument: int) -> None:
        self.stack.append(self.memo[argument])

    def tuple_since_mark(self, _: Any) -> None:
        self.stack.append(tuple(self.since_mark()))

    def set_items(self, _: Any) -> None:
        items = self.since_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    def set_item(self, _: Any) -> None:
        key, value = self.last(2)
        self.stack[-1][_key(key)] = value

    def append(self, _: Any) -> None:
        (value,) = self.last(1)
        self.stack[-1].append(value)

    def extend(self, _: Any) -> None:
        items = self.since_mark()
        self.stack[-1].extend(items)

    def build(self, _: Any) -> None:
        self.last(1)  # attributes of an OrderedDict (`_metadata`): not needed

    def persistent(self, _: Any) -> None:
        (reference,) = self.last(1)
        kind, storage, key, *_ = reference
        if kind != "storage" or not isinstance(storage, _Name) or storage.name not in STORAGES or not isinstance(key, str):
            raise _Refused("a reference to something that is not a storage")
        self.stack.append(_Storage(STORAGES[storage.name], key))

    def reduce(self, _: Any) -> None:
        target, arguments = self.last(2)
        name = target.name if isinstance(target, _Name) else None
        if name == "dict":
            self.stack.append({_key(key): value for key, value in arguments[0]} if arguments else {})
        elif name == "tensor":
            self.stack.append(_tensor(*arguments[:4]))
        elif name == "parameter":
            self.stack.append(arguments[0])
        else:
            raise _Refused("a call")


def _key(key: Any) -> str | int | float:
    """Only these: to hash tuples of tuples may take forever."""
    if not isinstance(key, (str, int, float)):
        raise _Refused("a key that is not a name")
    return key


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or not all(isinstance(number, int) for number in (offset, *shape, *strides)):
        raise _Refused("a tensor without a storage")
    if len(shape) != len(strides):
        raise _Refused("a tensor whose strides do not match its shape")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


VALUES = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
}
ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "GLOBAL": _Machine.name,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": lambda machine, _: machine.stack.append(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.stack.append(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.stack.append(tuple(machine.last(3))),
    "SETITEMS": _Machine.set_items,
    "SETITEM": _Machine.set_item,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.reduce,
}
