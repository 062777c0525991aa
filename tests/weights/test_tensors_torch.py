"""Checkpoints of PyTorch: read without running them, or refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locara_label.errors import BadWeights
from locara_label.weights.tensors import TORCH, open_tensors
from tests.weights import torch_files
from tests.weights.tensor_samples import ARRAYS, bfloat16_bits, check_same, refused
from tests.weights.torch_files import Tensor, storage, tensor


def test_torch_zip(tmp_path: Path) -> None:
    state = OrderedDict((name, tensor(str(index), array)) for index, (name, array) in enumerate(ARRAYS.items()))
    torch_files.write(tmp_path / TORCH, state)
    check_same(open_tensors(tmp_path), ARRAYS)


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
        check_same(open_tensors(tmp_path), {"weight": ARRAYS["weight"]})
    else:
        assert path.is_file()
        refused(tmp_path, "weights.pickle")


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
        "bfloat": tensor("1", bfloat16_bits(wide[:4]), "BFloat16Storage"),
        "bfloat_t": Tensor(storage("2", bfloat16_bits(wide[:6]), "BFloat16Storage"), 0, (3, 2), (1, 3)),
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
    check_same(found, wanted)
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
    refused(tmp_path, "weights.pickle")
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
    assert "plain pickles" in str(refused(tmp_path, "weights.torch"))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(tmp_path: Path, method: int) -> None:
    torch_files.write(tmp_path / TORCH, {"w": tensor("0", np.zeros(1000, "f4"))}, compress=method)
    assert "compressed" in str(refused(tmp_path, "weights.torch"))


def test_big_endian_is_refused(tmp_path: Path) -> None:
    path = torch_files.write(tmp_path / TORCH, {"w": tensor("0", np.zeros(2, "f4"))})
    content = path.read_bytes().replace(b"little", b"big   ")
    path.write_bytes(content)
    refused(tmp_path, "weights.torch")


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
    refused(tmp_path, "weights.torch")
    torch_files.write(tmp_path / TORCH, {"w": tensor("0", np.zeros(4, "f4"), "ComplexFloatStorage")})
    refused(tmp_path, "weights.pickle")
