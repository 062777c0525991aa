from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locara_label.atomic import part_path
from locara_label.engine import embeddings
from locara_label.engine.embeddings import Budget, Embeddings, SharedFolder
from locara_label.types import Embedding


def embedding(model: str = "m", values: int = 100) -> Embedding:
    return Embedding(model, "p", (3, 4), (np.arange(values, dtype=np.float32), np.ones((2, 2), np.float16)))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_kept_comes_back() -> None:
    kept, value = Embeddings(), embedding()
    kept.put(("m", "a"), value)
    assert kept.get(("m", "a")) is value
    assert kept.get(("m", "b")) is None
    assert (len(kept), kept.nbytes) == (1, value.nbytes)


def test_the_least_recently_used_goes_first() -> None:
    kept = Embeddings(Budget(bytes=3 * embedding().nbytes))
    for name in "abc":
        kept.put(("m", name), embedding())
    kept.get(("m", "a"))
    kept.put(("m", "d"), embedding())
    assert [name for name in "abcd" if kept.get(("m", name))] == ["a", "c", "d"]
    assert kept.nbytes == 3 * embedding().nbytes


def test_the_same_picture_again_counts_once() -> None:
    kept = Embeddings()
    for _ in range(2):
        kept.put(("m", "a"), embedding())
    assert kept.nbytes == embedding().nbytes


def test_what_nobody_uses_expires() -> None:
    clock = Clock()
    kept = Embeddings(Budget(age_s=10), clock=clock)
    kept.put(("m", "a"), embedding())
    kept.put(("m", "b"), embedding())
    clock.now = 8
    assert kept.get(("m", "a"))
    clock.now = 15
    assert kept.get(("m", "b")) is None
    assert kept.get(("m", "a"))
    assert len(kept) == 1


def test_a_folder_keeps_arrays_exactly(tmp_path: Path) -> None:
    value = embedding()
    Embeddings(folder=tmp_path).put(("m", "a"), value)
    found = Embeddings(folder=tmp_path).get(("m", "a"))
    assert found is not None
    assert (found.model, found.picture, found.size) == ("m", "p", (3, 4))
    for one, other in zip(found.arrays, value.arrays, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_a_damaged_or_foreign_file_is_a_miss(tmp_path: Path) -> None:
    Embeddings(folder=tmp_path).put(("m", "a"), embedding())
    (file,) = tmp_path.glob("*.npz")
    whole = file.read_bytes()
    for content in (b"", whole[:-30], whole[: len(whole) // 2], b"x" * 1000, np.arange(3).tobytes()):
        file.write_bytes(content)
        assert Embeddings(folder=tmp_path).get(("m", "a")) is None
    Embeddings(folder=tmp_path).put(("m", "a"), embedding("other"))
    assert Embeddings(folder=tmp_path).get(("m", "a")) is None


def test_a_file_counts_only_for_its_picture_and_with_its_seal(tmp_path: Path) -> None:
    ours = Embeddings(folder=tmp_path, secret=b"user:password")
    ours.put(("m", "a"), embedding())
    (one,) = tmp_path.glob("*.npz")
    ours.put(("m", "b"), embedding(values=5))
    (other,) = set(tmp_path.glob("*.npz")) - {one}
    assert Embeddings(folder=tmp_path).get(("m", "a")) is None
    assert Embeddings(folder=tmp_path, secret=b"user:password").get(("m", "a")) is not None
    one.write_bytes(other.read_bytes())
    assert Embeddings(folder=tmp_path, secret=b"user:password").get(("m", "a")) is None
    assert Embeddings(folder=tmp_path, secret=b"user:password").get(("m", "b")) is not None


@pytest.mark.parametrize("at", [0, 20, 60, 500, -1])
def test_one_changed_byte_is_a_miss(tmp_path: Path, at: int) -> None:
    Embeddings(folder=tmp_path).put(("m", "a"), embedding())
    (file,) = tmp_path.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    assert Embeddings(folder=tmp_path).get(("m", "a")) is None
    Embeddings(folder=tmp_path).put(("m", "a"), embedding())
    assert Embeddings(folder=tmp_path).get(("m", "a")) is not None


def sealed(folder: SharedFolder, **arrays: Any) -> None:
    """A file of somebody who knows the secret."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    key, content = ("m", "a"), buffer.getvalue()
    folder._path(key).write_bytes(embeddings._MAGIC + folder._seal(key, content) + content)


@pytest.mark.parametrize(
    "array", [np.array([1, np.nan]), np.array(["text"]), np.zeros(1, complex), np.zeros(1 << 20), np.array([print], object)]
)
def test_what_no_model_makes_is_a_miss_even_with_a_seal(tmp_path: Path, array: Any) -> None:
    folder = SharedFolder(tmp_path, Budget())
    sealed(folder, head=np.array(["m", "p", "3", "4"]), array_0=np.arange(3.0))
    assert folder.get(("m", "a")) is not None
    sealed(folder, head=np.array(["m", "p", "3", "4"]), array_0=array)
    assert folder.get(("m", "a")) is None


def test_only_the_owner_may_read_and_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    kept = Embeddings(Budget(age_s=600), folder)
    kept.put(("m", "a"), embedding())
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    left = part_path(file)
    left.write_bytes(b"half")
    kept.put(("m", "b"), embedding())
    assert left.exists()
    os.utime(left, (time.time() - 3600,) * 2)
    kept.put(("m", "c"), embedding())
    assert not left.exists()


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    folder = Embeddings(folder=tmp_path)
    folder.put(("m", "a"), embedding())
    (file,) = tmp_path.glob("*.npz")
    with file.open("wb") as stream:
        np.savez(stream, head=np.array(["m", "p", "3", "4"]), array_0=np.array([print], object))
    assert Embeddings(folder=tmp_path).get(("m", "a")) is None


def test_old_files_and_those_beyond_the_budget_go(tmp_path: Path) -> None:
    Embeddings(folder=tmp_path).put(("m", "a"), embedding())
    (file,) = tmp_path.glob("*.npz")
    size = file.stat().st_size
    os.utime(file, (time.time() - 3600,) * 2)
    kept = Embeddings(Budget(bytes=2 * size + 10), tmp_path)
    assert kept.get(("m", "a")) is None
    for name in "bcd":
        kept.put(("m", name), embedding())
    assert len(list(tmp_path.iterdir())) == 2
    assert not file.exists()


@pytest.mark.parametrize("jump_s", [-86_400, 365 * 86_400])
def test_a_clock_that_was_set_costs_what_was_there_and_nothing_else(tmp_path: Path, jump_s: float) -> None:
    """Or files of a time that is still to come would fill the folder until then."""
    one, other = Embeddings(folder=tmp_path), Embeddings(folder=tmp_path)
    for name in "ab":
        one.put(("m", name), embedding())
    for file in tmp_path.iterdir():
        size = file.stat().st_size
        os.utime(file, (time.time() - jump_s,) * 2)
    assert other.get(("m", "a")) is None
    Embeddings(Budget(bytes=2 * size + 10), tmp_path).put(("m", "c"), embedding())
    assert other.get(("m", "c")) is not None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    kept = Embeddings(folder=blocked / "below")
    kept.put(("m", "a"), embedding())
    assert kept.get(("m", "a")) is not None
