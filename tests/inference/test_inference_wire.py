"""Lines, arrays and errors between two processes."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from locara_label import children, errors
from locara_label.engine.sources import Published, Source, Weightless
from locara_label.inference import wire
from locara_label.inference.wire import Arena, Lines
from locara_label.runtime.optimised import Cache
from locara_label.runtime.session import Options


@pytest.fixture
def arenas() -> list[Arena]:
    memory = children.anonymous_memory()
    children.seal(memory, growing=True)
    return [Arena(memory), Arena(os.dup(memory))]


ARRAYS = {
    "floats": np.arange(7, dtype=np.float32).reshape(7, 1),
    "halves": np.ones((2, 3), np.float16),
    "numbers": np.array([[1, -2]], np.int64),
    "bits": np.array([True, False]),
    "nothing": np.zeros((0, 4), np.float32),
    "one": np.array(5.0),
}


def test_arrays_come_over(arenas: list[Arena]) -> None:
    one, other = arenas
    found = other.views(json.loads(json.dumps(one.put(ARRAYS.items()))))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_either_side_makes_it_larger(arenas: list[Arena]) -> None:
    one, other = arenas
    small = other.views(one.put([("x", np.ones(3))]))["x"].copy()
    large = np.random.default_rng(0).random((300, 1000))
    np.testing.assert_array_equal(one.views(other.put([("x", large)]))["x"], large)
    np.testing.assert_array_equal(other.views(one.put([("y", large.T)]))["y"], large.T)
    assert small.tolist() == [1, 1, 1]
    for arena in arenas:
        arena.close()


@pytest.mark.parametrize(
    "place",
    [
        ["x", "<f4", [4], 1 << 40],
        ["x", "<f4", [1 << 40], 0],
        ["x", "<f4", [4], -8],
        ["x", "<f4", [-4], 0],
        ["x", "O", [4], 0],
        ["x", "nonsense", [4], 0],
        ["x", "<f4", None, 0],
        ["x", "<f4"],
    ],
)
def test_what_does_not_lie_there_is_refused(arenas: list[Arena], place: list[object]) -> None:
    arenas[0].put(ARRAYS.items())
    with pytest.raises((ValueError, TypeError)):
        arenas[1].views([place])


def test_the_other_side_cannot_take_it_away(arenas: list[Arena]) -> None:
    arenas[0].put(ARRAYS.items())
    if not hasattr(os, "memfd_create"):
        pytest.skip("this system has no such memory")
    with pytest.raises(PermissionError):
        os.ftruncate(arenas[1]._memory, 0)


def test_lines() -> None:
    here, there = socket.socketpair()
    one, other = Lines(here), Lines(there)
    one.send({"a": [1, "\n"]})
    assert other.receive() == {"a": [1, "\n"]}
    here.sendall(b"[1]\n")
    with pytest.raises(ValueError, match="not an object"):
        other.receive()
    here.sendall(b'{"cut')
    one.close()
    assert other.receive() is None
    other.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        other.send({})


@pytest.mark.parametrize(
    "error",
    [
        errors.InferenceFailed("no", code="run.load"),
        errors.BadWeights("no", code="weights.mismatch", missing=["a"]),
        errors.QueueFull("full", retry_after_s=2),
        errors.NotDownloaded("no"),
        errors.DeadlineExceeded("late"),
    ],
)
def test_errors_come_over(error: errors.LocaraError) -> None:
    found = wire.error_of(json.loads(json.dumps(wire.error_to_json(error))))
    assert type(found) is type(error)
    assert (str(found), found.to_json()) == (str(error), error.to_json())
    assert vars(found) == json.loads(json.dumps(vars(error)))


def test_foreign_errors_are_failures_of_the_model() -> None:
    found = wire.error_of(wire.error_to_json(KeyError("x")))
    assert isinstance(found, errors.InferenceFailed)
    assert str(found) == "the model failed: KeyError: 'x'"
    told = {"kind": "Sequence", "message": "m", "state": {}}
    assert type(wire.error_of(told)) is errors.InferenceFailed


@pytest.mark.parametrize("source", [Weightless(("a", "b"), Path("/w")), Published((Path("/a.onnx"), Path("/b.onnx")))])
def test_sources_come_over(source: Source) -> None:
    assert wire.source_of(json.loads(json.dumps(wire.source_to_json(source)))) == source


@pytest.mark.parametrize("options", [Options(), Options("cpu", 2, spinning=False, cache=Cache(Path("/c"), 5))])
def test_options_come_over(options: Options) -> None:
    assert wire.options_of(json.loads(json.dumps(wire.options_to_json(options)))) == options
