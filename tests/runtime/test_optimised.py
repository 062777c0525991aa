from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from locara_label.errors import InferenceFailed
from locara_label.runtime import session as sessions
from locara_label.runtime.optimised import MODEL, WEIGHTS, Cache
from locara_label.runtime.session import Options, Session, open_session
from locara_label.runtime.skeleton import BoundGraph, bind
from tests.runtime.small_graphs import linear_skeleton, linear_tensors

CPU = ("CPUExecutionProvider",)
X = {"x": np.random.default_rng(1).normal(size=(4, 6)).astype("f4")}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "sessions")


def _graph(labels: int = 400) -> BoundGraph:
    return bind(linear_skeleton(), linear_tensors(labels))


def _open(cache: Cache, identity: str = "one", labels: int = 400) -> Session:
    return open_session(_graph(labels), Options("cpu", cache=cache), identity)


def _right(session: Session) -> bool:
    plain = open_session(_graph(), Options("cpu")).run(X)
    return all(np.allclose(session.run(X)[name], value, atol=1e-5) for name, value in plain.items())


def _forbid_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    def fresh(*_: object) -> Session:
        raise AssertionError("the session was made anew")

    monkeypatch.setattr(sessions, "_fresh", fresh)


def test_the_second_load_uses_the_entry(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.find("one", CPU) is None
    first = _open(cache)
    found = cache.find("one", CPU)
    assert found is not None
    assert {path.name for path in found.parent.iterdir()} == {MODEL, WEIGHTS}
    assert [path.name for path in cache.root.iterdir()] == [found.parent.name]
    _forbid_fresh(monkeypatch)
    second = _open(cache)
    assert second.symbols == first.symbols == {"labels": 400}
    for name, value in first.run(X).items():
        np.testing.assert_array_equal(second.run(X)[name], value)


def test_no_identity_no_entry(cache: Cache) -> None:
    assert _right(_open(cache, identity=""))
    assert not cache.root.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [(MODEL, b""), (MODEL, b"rubbish" * 100), (WEIGHTS, b""), (WEIGHTS, b"short"), (WEIGHTS, None)],
)
def test_a_damaged_entry_is_made_again(cache: Cache, name: str, content: bytes | None) -> None:
    _open(cache)
    model = cache.find("one", CPU)
    assert model is not None
    damaged = model.with_name(name)
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    assert _right(_open(cache))
    assert model.with_name(name).stat().st_size > 100
    assert _right(_open(cache))


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert _right(_open(Cache(tmp_path / "file")))
    assert _right(_open(Cache(tmp_path / "file" / "below")))


def test_an_entry_that_cannot_be_written(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Cache.begin

    def begin_and_lose(self: Cache, identity: str, asked: tuple[str, ...], settings: object) -> object:
        slot = begin(self, identity, asked, settings)
        assert slot is not None
        (slot.folder / MODEL).mkdir()
        return slot

    monkeypatch.setattr(Cache, "begin", begin_and_lose)
    assert _right(_open(cache))
    assert list(cache.root.iterdir()) == []


def test_a_model_that_fails_leaves_nothing(cache: Cache) -> None:
    with pytest.raises(InferenceFailed):
        open_session(b"not a model", Options("cpu", cache=cache), "one")
    assert list(cache.root.iterdir()) == []


def test_entries_of_other_providers_and_identities_are_others(cache: Cache) -> None:
    _open(cache)
    assert cache.find("two", CPU) is None
    assert cache.find("one", ("CUDAExecutionProvider", *CPU)) is None


def test_trim_takes_what_was_not_used_for_longest(cache: Cache) -> None:
    for age, name in enumerate(["new", "middle", "old"]):
        _open(cache, name)
        folder = cache.find(name, CPU)
        assert folder is not None
        os.utime(folder.parent, (1e9 - age, 1e9 - age))
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in cache.root.iterdir()}
    small = Cache(cache.root, max_bytes=sum(sizes.values()) - 1)
    small.trim()
    assert small.find("old", CPU) is None
    assert small.find("new", CPU) is not None
    assert small.find("middle", CPU) is not None
    Cache(cache.root, max_bytes=0).trim()
    assert list(cache.root.iterdir()) == []


def test_trim_leaves_what_another_process_is_writing(cache: Cache) -> None:
    _open(cache)
    slots = [cache.begin(name, CPU, sessions._session_options(Options())) for name in ("theirs", "dead")]
    alive, dead = (slot.folder for slot in slots if slot is not None)
    (alive / MODEL).write_bytes(b"half")
    os.utime(dead, (1e9, 1e9))
    Cache(cache.root, max_bytes=0).trim()
    assert list(cache.root.iterdir()) == [alive]
    assert (alive / MODEL).read_bytes() == b"half"


def test_use_makes_an_entry_young(cache: Cache) -> None:
    _open(cache)
    model = cache.find("one", CPU)
    assert model is not None
    os.utime(model.parent, (1e9, 1e9))
    cache.find("one", CPU)
    assert model.parent.stat().st_mtime > 1e9 + 1


def test_another_process_was_first(cache: Cache) -> None:
    slot = cache.begin("one", CPU, sessions._session_options(Options()))
    assert slot is not None
    (slot.folder / MODEL).write_bytes(b"mine")
    slot.target.mkdir()
    (slot.target / MODEL).write_bytes(b"theirs")
    slot.finish()
    assert (slot.target / MODEL).read_bytes() == b"theirs"
    assert not slot.folder.exists()
