"""Torch zip checkpoints written without torch: stand-ins with torch's names go through Python's own pickler."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

KINDS = {
    "<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage", "<i4": "IntStorage",
    "<i2": "ShortStorage", "|i1": "CharStorage", "|u1": "ByteStorage", "|b1": "BoolStorage",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Storage:
    """Flat bytes; `kind` is torch's name of the storage's class."""

    key: str
    kind: str
    content: bytes
    count: int


@dataclass(frozen=True, eq=False)
class Tensor:
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    is_parameter: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild = sys.modules["torch._utils"]
        arguments = (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())
        if self.is_parameter:
            inner = Tensor(self.storage, self.offset, self.shape, self.strides)
            return rebuild._rebuild_parameter, (inner, True, OrderedDict())
        return rebuild._rebuild_tensor_v2, arguments


def storage(key: str, array: np.ndarray, kind: str | None = None) -> Storage:
    return Storage(key, kind or KINDS[array.dtype.str], array.tobytes(), array.size)


def tensor(key: str, array: np.ndarray, kind: str | None = None) -> Tensor:
    """A contiguous tensor with a storage of its own."""
    strides = tuple(step // array.itemsize for step in array.copy().strides)
    return Tensor(storage(key, np.ascontiguousarray(array), kind), 0, array.shape, strides)


def _stand_ins() -> dict[str, ModuleType]:
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in (*KINDS.values(), "BFloat16Storage", "ComplexFloatStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = lambda *_: None  # noqa: E731
        function.__module__, function.__qualname__, function.__name__ = "torch._utils", name, name
        setattr(utils, name, function)
    torch._utils = utils
    return {"torch": torch, "torch._utils": utils}


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            return "storage", getattr(sys.modules["torch"], value.kind), value.key, "cpu", value.count
        return None


def describe(state: Any, protocol: int = 2) -> bytes:
    """The description `data.pkl`."""
    buffer = io.BytesIO()
    with patch.dict(sys.modules, _stand_ins()):
        _Pickler(buffer, protocol).dump(state)
    return buffer.getvalue()


def write(path: Path, state: Any, *, compress: int = zipfile.ZIP_STORED, protocol: int = 2) -> Path:
    inner = state.get("state_dict", state)
    storages = {value.storage.key: value.storage.content for value in inner.values() if isinstance(value, Tensor)}
    return write_raw(path, describe(state, protocol), storages, compress=compress)


def write_raw(path: Path, description: bytes, storages: Mapping[str, bytes], *, compress: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("archive/data.pkl", description)
        archive.writestr("archive/byteorder", b"little")
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", b"3\n")
    return path
