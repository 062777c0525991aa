from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from locara_label.errors import BadWeights, NotDownloaded
from locara_label.weights.tensors import INDEX, SAFETENSORS, TORCH, open_tensors
from tests.weights import torch_files
from tests.weights.tensor_samples import ARRAYS, bfloat16_bits, check_same, refused
from tests.weights.torch_files import tensor

MUTATIONS = 500


def _safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _row(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


# safetensors


def test_safetensors(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / SAFETENSORS, {"format": "pt"})
    found = open_tensors(tmp_path)
    check_same(found, ARRAYS)
    assert not found["weight"].flags.writeable
    assert not found["weight"].flags.owndata


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    wanted = np.array([1.5, -2.0, 3.140625, np.inf], "f4")
    (tmp_path / SAFETENSORS).write_bytes(_safetensors(_row("BF16", (4,)), bfloat16_bits(wanted).tobytes()))
    check_same(open_tensors(tmp_path), {"w": wanted})


def test_identity_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / SAFETENSORS
    save_file(ARRAYS, path)
    first = open_tensors(tmp_path).identity
    assert open_tensors(tmp_path).identity == first
    os.utime(path, (1, 1))
    assert open_tensors(tmp_path).identity != first


def test_a_folder_that_no_disk_can_have(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="cannot be read: File name too long") as raised:
        open_tensors(tmp_path / ("x" * 300))
    assert raised.value.code == "weights.unreadable"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", [SAFETENSORS, INDEX, TORCH])
def test_no_permission(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch(mode=0)
    with pytest.raises(BadWeights, match="cannot be read: Permission denied") as raised:
        open_tensors(tmp_path)
    assert raised.value.code == "weights.unreadable"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotDownloaded, match="neither"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 8, b"\xff" * 100, (1 << 40).to_bytes(8, "little") + b"{}"])
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SAFETENSORS).write_bytes(content)
    refused(tmp_path, "weights.truncated")


@pytest.mark.parametrize(
    "header",
    [
        b"[]", b"{", b"null", b"\xff\xfe", b"[" * 50_000, b'{"w": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 8]}}',
        {"w": {}}, {"w": 3}, {"w": None}, _row("F8"), _row(["F32"]), _row(shape=3), _row(shape=[2.0]), _row(shape=["2"]),
        _row(shape=[True, 2]), _row(offsets=[0]), _row(offsets=[0, 4, 8]), _row(offsets=["0", "8"]), _row(offsets=None),
        _row(shape=[3]), _row(shape=[1]), _row(shape=[-1, -2]), _row(shape=[-2]), _row(shape=[1 << 62, 4]), _row("F16"),
        _row(shape=[0, 1 << 60], offsets=[0, 0]), _row(shape=[1] * 65 + [2]), _row(shape=[0] * 100, offsets=[0, 0]),
    ],
)  # fmt: skip
def test_headers_that_lie(tmp_path: Path, header: Any) -> None:
    (tmp_path / SAFETENSORS).write_bytes(_safetensors(header, bytes(8)))
    refused(tmp_path, "weights.header")


@pytest.mark.parametrize("offsets", [(0, 9), (8, 0), (-8, 0), (1 << 70, (1 << 70) + 8), (4, 12)])
def test_data_outside_the_file(tmp_path: Path, offsets: tuple[int, int]) -> None:
    (tmp_path / SAFETENSORS).write_bytes(_safetensors(_row(offsets=offsets), bytes(8)))
    refused(tmp_path, "weights.truncated")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = save(ARRAYS)
    for end in range(0, len(whole), 7):
        (tmp_path / SAFETENSORS).write_bytes(whole[:end])
        with pytest.raises(BadWeights):
            open_tensors(tmp_path)


# shards


def _index(folder: Path, names: dict[str, Any]) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))


def test_shards(tmp_path: Path) -> None:
    parts = {"model-00001-of-00002.safetensors": ["weight", "half"], "model-00002-of-00002.safetensors": ["double", "steps"]}
    for shard, names in parts.items():
        save_file({name: ARRAYS[name] for name in names}, tmp_path / shard)
    _index(tmp_path, {name: shard for shard, names in parts.items() for name in names})
    check_same(open_tensors(tmp_path), {name: ARRAYS[name] for names in parts.values() for name in names})
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002" in str(refused(tmp_path, "weights.shard_missing"))


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/etc/passwd", "sub/a.safetensors", "..", "", "a.bin", 3, None, [], {}, ["a.safetensors"]]
)
def test_shards_elsewhere(tmp_path: Path, shard: Any) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(ARRAYS, tmp_path / SAFETENSORS)
    _index(folder, {"weight": shard})
    refused(folder, "weights.index")


@pytest.mark.parametrize("shard", ["x" * 300 + ".safetensors", "a\0b.safetensors", "\ud800.safetensors"])
def test_shards_that_cannot_be(tmp_path: Path, shard: str) -> None:
    _index(tmp_path, {"weight": shard})
    refused(tmp_path, "weights.shard_missing")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": 3}', b"\xff", b"[" * 50_000])
def test_an_index_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / INDEX).write_bytes(content)
    refused(tmp_path, "weights.index")


# mutations


def _seeds() -> dict[str, tuple[str, bytes]]:
    index = {"metadata": {}, "weight_map": dict.fromkeys(ARRAYS, "model-1.safetensors")}
    return {"safetensors": (SAFETENSORS, save(ARRAYS)), "index": (INDEX, json.dumps(index).encode()), "torch": (TORCH, b"")}


def _mutated(rng: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at, kind = int(rng.integers(len(changed) or 1)), rng.integers(6)
        if kind <= 1 and changed:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 2 and changed:
            changed[at] = int(rng.choice([0, 1, 0x2E, 0x7F, 0x80, 0xFF]))
        elif kind == 3:
            changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 4:
            del changed[at : at + int(rng.integers(1, 9))]
        elif rng.integers(4) == 0:
            del changed[at:]
        else:
            other = int(rng.integers(len(changed) or 1))
            changed[at : at + 8] = changed[other : other + 8]
    return bytes(changed)


def _read_or_refuse(folder: Path) -> bool:
    try:
        found = open_tensors(folder)
        assert all(array.nbytes <= 1 << 20 for array in found.values())
    except BadWeights:
        return False
    return True


@pytest.mark.parametrize("kind", ["safetensors", "index", "torch"])
def test_mutations_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    name, content = _seeds()[kind]
    if kind == "torch":
        state = {name: tensor(str(index), array) for index, (name, array) in enumerate(ARRAYS.items())}
        content = torch_files.write(tmp_path / TORCH, state).read_bytes()
    save_file(ARRAYS, tmp_path / "model-1.safetensors")
    rng = np.random.default_rng(1)
    outcomes = set()
    for _ in range(MUTATIONS):
        (tmp_path / name).write_bytes(_mutated(rng, content))
        outcomes.add(_read_or_refuse(tmp_path))
    assert outcomes == {True, False}


def test_mutated_descriptions_are_read_or_refused(tmp_path: Path) -> None:
    """The zip stays whole, so that every mutation reaches the opcodes."""
    state = {name: tensor(str(index), array) for index, (name, array) in enumerate(ARRAYS.items())}
    description = torch_files.describe(state)
    storages = {value.storage.key: value.storage.content for value in state.values()}
    rng = np.random.default_rng(2)
    outcomes = set()
    for _ in range(MUTATIONS):
        torch_files.write_raw(tmp_path / TORCH, _mutated(rng, description), storages)
        outcomes.add(_read_or_refuse(tmp_path))
    assert outcomes == {True, False}
