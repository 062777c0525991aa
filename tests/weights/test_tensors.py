from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from locara_label.errors import BadWeights, NotDownloaded
from locara_label.weights.tensors import INDEX, SAFETENSORS, TORCH, Tensors, open_tensors
from tests.weights import torch_files
from tests.weights.torch_files import Tensor, storage, tensor

RNG = np.random.default_rng(0)
ARRAYS = {
    "weight": RNG.normal(size=(3, 4)).astype("f4"),
    "half": RNG.normal(size=(5,)).astype("f2"),
    "double": RNG.normal(size=(2, 2)),
    "steps": np.array(7, "i8"),
    "flags": np.array([True, False]),
    "bytes": np.arange(6, dtype="u1").reshape(2, 3),
    "nothing": np.zeros((0, 4), "f4"),
}
MUTATIONS = 500


def _same(found: Tensors, wanted: dict[str, np.ndarray]) -> None:
    assert set(found) == set(wanted)
    assert len(found) == len(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


def _bfloat16(array: np.ndarray) -> np.ndarray:
    """The upper halves, as they are stored."""
    return (array.astype("<f4").view("<u4") >> 16).astype("<u2")


def _safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _row(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def _refused(folder: Path, code: str) -> BadWeights:
    with pytest.raises(BadWeights) as raised:
        open_tensors(folder)
    assert raised.value.code == code, raised.value
    assert str(folder) in str(raised.value)
    return raised.value


# safetensors


def test_safetensors(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / SAFETENSORS, {"format": "pt"})
    found = open_tensors(tmp_path)
    _same(found, ARRAYS)
    assert not found["weight"].flags.writeable
    assert not found["weight"].flags.owndata


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    wanted = np.array([1.5, -2.0, 3.140625, np.inf], "f4")
    (tmp_path / SAFETENSORS).write_bytes(_safetensors(_row("BF16", (4,)), _bfloat16(wanted).tobytes()))
    _same(open_tensors(tmp_path), {"w": wanted})


def test_identity_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / SAFETENSORS
    save_file(ARRAYS, path)
    first = open_tensors(tmp_path).identity
    assert open_tensors(tmp_path).identity == first
    os.utime(path, (1, 1))
    assert open_tensors(tmp_path).identity != first


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotDownloaded, match="neither"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 8, b"\xff" * 100, (1 << 40).to_bytes(8, "little") + b"{}"])
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SAFETENSORS).write_bytes(content)
    _refused(tmp_path, "weights.truncated")


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
    _refused(tmp_path, "weights.header")


@pytest.mark.parametrize("offsets", [(0, 9), (8, 0), (-8, 0), (1 << 70, (1 << 70) + 8), (4, 12)])
def test_data_outside_the_file(tmp_path: Path, offsets: tuple[int, int]) -> None:
    (tmp_path / SAFETENSORS).write_bytes(_safetensors(_row(offsets=offsets), bytes(8)))
    _refused(tmp_path, "weights.truncated")


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
    _same(open_tensors(tmp_path), {name: ARRAYS[name] for names in parts.values() for name in names})
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002" in str(_refused(tmp_path, "weights.shard_missing"))


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/etc/passwd", "sub/a.safetensors", "..", "", "a.bin", 3, None, [], {}, ["a.safetensors"]]
)
def test_shards_elsewhere(tmp_path: Path, shard: Any) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(ARRAYS, tmp_path / SAFETENSORS)
    _index(folder, {"weight": shard})
    _refused(folder, "weights.index")


@pytest.mark.parametrize("shard", ["x" * 300 + ".safetensors", "a\0b.safetensors", "\ud800.safetensors"])
def test_shards_that_cannot_be(tmp_path: Path, shard: str) -> None:
    _index(tmp_path, {"weight": shard})
    _refused(tmp_path, "weights.shard_missing")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": 3}', b"\xff", b"[" * 50_000])
def test_an_index_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / INDEX).write_bytes(content)
    _refused(tmp_path, "weights.index")


# torch zip


def test_torch_zip(tmp_path: Path) -> None:
    state = OrderedDict((name, tensor(str(index), array)) for index, (name, array) in enumerate(ARRAYS.items()))
    torch_files.write(tmp_path / TORCH, state)
    _same(open_tensors(tmp_path), ARRAYS)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_zip_with_other_contents(tmp_path: Path, protocol: int) -> None:
    plain = tensor("0", ARRAYS["weight"])
    parameter = Tensor(plain.storage, 0, (3, 4), (4, 1), is_parameter=True)
    state = {
        "state_dict": {"weight": parameter, "epoch": 3, "note": "text", 5: plain},
        "lr": 0.1,
        "betas": [0.9, (1, True, None)],
    }
    path = torch_files.write(tmp_path / TORCH, state, protocol=protocol)
    if protocol < 4:  # torch writes protocol 2; newer ones name things in another way, which is refused and not misread
        _same(open_tensors(tmp_path), {"weight": ARRAYS["weight"]})
    else:
        assert path.is_file()
        _refused(tmp_path, "weights.pickle")


def test_strides_halves_and_shared_storages(tmp_path: Path) -> None:
    shared = storage("0", np.arange(24, dtype="f4"))
    wide = np.arange(24, dtype="f4")
    state = {
        "all": Tensor(shared, 0, (2, 3, 4), (12, 4, 1)),
        "transposed": Tensor(shared, 0, (4, 6), (1, 4)),
        "part": Tensor(shared, 20, (2, 2), (2, 1)),
        "every_other": Tensor(shared, 1, (5,), (2,)),
        "channels_last": Tensor(shared, 0, (1, 3, 2, 4), (24, 1, 12, 3)),
        "scalar": Tensor(shared, 23, (), ()),
        "bfloat": tensor("1", _bfloat16(wide[:4]), "BFloat16Storage"),
        "bfloat_t": Tensor(storage("2", _bfloat16(wide[:6]), "BFloat16Storage"), 0, (3, 2), (1, 3)),
        "half_t": Tensor(storage("3", wide[:6].astype("f2")), 0, (3, 2), (1, 3)),
    }
    torch_files.write(tmp_path / TORCH, state)
    wanted = {
        "all": wide.reshape(2, 3, 4),
        "transposed": wide.reshape(6, 4).T,
        "part": wide[20:].reshape(2, 2),
        "every_other": wide[1:11:2],
        "channels_last": np.lib.stride_tricks.as_strided(wide, (1, 3, 2, 4), (96, 4, 48, 12)),
        "scalar": np.array(23, "f4"),
        "bfloat": wide[:4],
        "bfloat_t": wide[:6].reshape(2, 3).T,
        "half_t": wide[:6].astype("f2").reshape(2, 3).T,
    }
    found = open_tensors(tmp_path)
    _same(found, wanted)
    assert np.shares_memory(found["all"], found["part"])


class _Attack:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize("place", ["value", "key", "list", "root"])
def test_a_pickle_that_attacks_is_refused_and_not_run(tmp_path: Path, protocol: int, place: str) -> None:
    witness = tmp_path / "witness"
    attack = _Attack(os.system, f"touch {witness}")
    fine = tensor("0", ARRAYS["weight"])
    state = {"value": {"w": fine, "x": attack}, "key": {"w": fine, attack: 1}, "list": {"w": fine, "x": [attack]}, "root": attack}
    description = torch_files.describe(state[place], protocol)
    torch_files.write_raw(tmp_path / TORCH, description, {"0": fine.storage.content})
    _refused(tmp_path, "weights.pickle")
    assert not witness.exists()


@pytest.mark.parametrize(
    "description",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.",
        b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00a\x85R.",
        b"\x80\x02(cos\nsystem\nX\x04\x00\x00\x00trueo.",
        b"\x80\x02(X\x04\x00\x00\x00trueios\nsystem\n.",
        b"\x80\x02}\x82\x01.",
        b"\x80\x02]K\x01a.",
        b"\x80\x02K\x05.",
        b"\x80\x02}",
        b"\x80\x02}K\x01\x85K\x01s.",
        b"\x80\x02(X\x07\x00\x00\x00storageK\x01X\x01\x00\x00\x000tQ.",
    ],
)
def test_descriptions_that_ask_for_more(tmp_path: Path, description: bytes) -> None:
    torch_files.write_raw(tmp_path / TORCH, description, {})
    _refused_any(tmp_path)


def _refused_any(folder: Path) -> None:
    with pytest.raises(BadWeights) as raised:
        open_tensors(folder)
    assert raised.value.code in {"weights.pickle", "weights.torch"}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("end", [b"K\x01s.", b"K\x00K\x00tR."])
def test_nested_tuples_take_no_time(tmp_path: Path, end: bytes) -> None:
    """A tuple of two equal tuples of two equal tuples ...: to hash, compare or print it takes 2 ** 200 steps."""
    nested = b"\x80\x02}K\x01\x85" + b"".join(b"q\x00h\x00\x86" for _ in range(200)) + end
    torch_files.write_raw(tmp_path / TORCH, nested, {})
    _refused_any(tmp_path)
    key = b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + nested[3:-4] + b"tQ."
    torch_files.write_raw(tmp_path / TORCH, key, {})
    _refused_any(tmp_path)


def test_plain_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / TORCH).write_bytes(pickle.dumps({"weight": [1, 2, 3]}))
    assert "plain pickles" in str(_refused(tmp_path, "weights.torch"))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(tmp_path: Path, method: int) -> None:
    torch_files.write(tmp_path / TORCH, {"w": tensor("0", np.zeros(1000, "f4"))}, compress=method)
    assert "compressed" in str(_refused(tmp_path, "weights.torch"))


def test_big_endian_is_refused(tmp_path: Path) -> None:
    path = torch_files.write(tmp_path / TORCH, {"w": tensor("0", np.zeros(2, "f4"))})
    content = path.read_bytes().replace(b"little", b"big   ")
    path.write_bytes(content)
    _refused(tmp_path, "weights.torch")


BIG = 1 << 62


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (2, 2), (2, 1)), (0, (5,), (1,)), (0, (2,), (4,)), (-1, (2,), (1,)), (4, (1,), (1,)), (0, (-2,), (1,)), (0, (2,), (-1,)),  # noqa: E501
        (BIG, (1,), (1,)), (0, (BIG,), (1,)), (0, (1,), (BIG,)), (0, (BIG,), (0,)), (0, (1 << 20,), (0,)), (0, (0, BIG), (1, 1)),
        (0, (1,) * 70, (1,) * 70), (10**30, (2,), (1,)), (0, (10**30, 0), (0, 0)),
    ],
)  # fmt: skip
def test_tensors_outside_their_storage(tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    torch_files.write(tmp_path / TORCH, {"w": Tensor(storage("0", np.zeros(4, "f4")), offset, shape, strides)})
    _refused_any(tmp_path)


@pytest.mark.parametrize(
    ("shape", "strides"), [((2, 2), (1,)), ((2.0,), (1,)), ("ab", (1, 1)), (None, None), ((2,), "a"), (3, 3)]
)
def test_tensors_of_a_strange_shape(tmp_path: Path, shape: Any, strides: Any) -> None:
    torch_files.write(tmp_path / TORCH, {"w": Tensor(storage("0", np.zeros(4, "f4")), 0, shape, strides)})
    _refused_any(tmp_path)


def test_a_storage_that_is_missing_or_unknown(tmp_path: Path) -> None:
    torch_files.write_raw(tmp_path / TORCH, torch_files.describe({"w": tensor("0", np.zeros(4, "f4"))}), {"1": bytes(16)})
    _refused(tmp_path, "weights.torch")
    torch_files.write(tmp_path / TORCH, {"w": tensor("0", np.zeros(4, "f4"), "ComplexFloatStorage")})
    _refused(tmp_path, "weights.pickle")


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
