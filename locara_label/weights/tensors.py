"""Tensors of weights files, memory-mapped: safetensors, sharded safetensors, and torch zip checkpoints. No pickle is executed."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadWeights, NotDownloaded
from locara_label.weights import torch_zip
from locara_label.weights.stored import BFLOAT16, Stored

SAFETENSORS, INDEX, TORCH = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
MAX_HEADER = 100 << 20
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": BFLOAT16,
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip


@dataclass(frozen=True)
class Tensors(Mapping[str, NDArray[Any]]):
    """Official names to arrays over the memory-mapped files; bfloat16 is widened to float32 when a tensor is taken out.

    Attributes:
        identity: changes whenever a file changes (path, size and time of change of every file).
    """

    stored: dict[str, Stored]
    identity: str

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.stored[name].array()

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def open_tensors(folder: Path) -> Tensors:
    """The tensors of a folder in the hub's layout: `model.safetensors`, else its shards, else `pytorch_model.bin`.

    Raises:
        NotDownloaded: the folder holds none of them.
        BadWeights: a file is damaged, lies about its contents, is of a kind that would need a pickle to run, or cannot be read.
    """
    with _readable(folder):
        files = _files(folder)
        stored: dict[str, Stored] = {}
        for path in files:
            stored.update(_read(path))
        facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return Tensors(stored, sha256(repr(facts).encode()).hexdigest())


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except NotDownloaded:  # an OSError by descent
        raise
    except OSError as error:
        place = error.filename or folder
        raise BadWeights(f"{place} cannot be read: {error.strerror or error}", code="weights.unreadable") from error


def _files(folder: Path) -> list[Path]:
    if (folder / SAFETENSORS).is_file():
        return [folder / SAFETENSORS]
    if (folder / INDEX).is_file():
        return _shards(folder)
    if (folder / TORCH).is_file():
        return [folder / TORCH]
    raise NotDownloaded(f"{folder} has neither {SAFETENSORS} nor {INDEX} nor {TORCH}")


def _shards(folder: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadWeights(f"{folder / INDEX} is not an index of shards: {error}", code="weights.index") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise BadWeights(f"{folder / INDEX} names the shard {name!r}, which is not a file beside it", code="weights.index")
    missing = [name for name in names if not _is_file(folder / name)]
    if missing:
        raise BadWeights(f"{folder} lacks the shards {', '.join(missing)}", code="weights.shard_missing")
    return [folder / name for name in names]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _read(path: Path) -> dict[str, Stored]:
    with path.open("rb") as file:
        if path.stat().st_size < 8:
            raise BadWeights(f"{path} is too short to be weights", code="weights.truncated")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return torch_zip.read(path, content) if path.name == TORCH else _read_safetensors(path, content)


def _read_safetensors(path: Path, content: memoryview) -> dict[str, Stored]:
    """Format: 8 bytes of header length (little endian), a JSON header, the data. Source: the safetensors format description."""
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER, len(content) - 8):
        raise BadWeights(f"{path} is cut off or not a safetensors file", code="weights.truncated")
    try:
        header = json.loads(bytes(content[8 : 8 + length]))
        rows = {str(name): row for name, row in header.items() if name != "__metadata__"}
        return {name: _stored(path, name, row, content[8 + length :]) for name, row in rows.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadWeights(f"{path} has a damaged header: {error}", code="weights.header") from error


def _stored(path: Path, name: str, row: dict[str, Any], data: memoryview) -> Stored:
    start, end = (_whole(offset) for offset in row["data_offsets"])
    shape, dtype = tuple(_whole(dim) for dim in row["shape"]), DTYPES[row["dtype"]]
    if not 0 <= start <= end <= len(data):
        raise BadWeights(f"{path} is cut off: the data of {name} lie outside the file", code="weights.truncated")
    tensor = Stored(data[start:end], dtype, shape)
    if not tensor.is_sensible or tensor.bytes_needed != end - start:
        raise BadWeights(f"{path} lies about {name}: {end - start} bytes for shape {list(shape)}", code="weights.header")
    return tensor


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"{number!r} is not a whole number")
    return number
