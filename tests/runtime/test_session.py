from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from locara_label.errors import Cancelled, DeadlineExceeded, InferenceFailed
from locara_label.runtime.optimised import Cache
from locara_label.runtime.session import Options, Session, Stop, finite, open_session
from tests.runtime.small_graphs import doubling, endless, half_normalised

MATRIX = {"x": np.full((64, 64), 0.01, "f4")}
FAST_S = 2.0


@pytest.fixture(scope="module")
def slow() -> Session:
    return open_session(endless(), Options("cpu", threads=1))


@pytest.fixture(scope="module")
def quick() -> Session:
    return open_session(doubling(), Options("cpu", threads=1, spinning=False))


def test_runs(quick: Session) -> None:
    assert quick.run({"x": np.array([1, 2], "f4")})["y"].tolist() == [2, 4]
    assert (quick.inputs, quick.outputs, quick.provider) == (("x",), ("y",), "CPUExecutionProvider")
    assert (quick.input_shapes, quick.input_types, quick.symbols) == ({"x": ("n",)}, {"x": "tensor(float)"}, {})


def test_deadline(slow: Session) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="its deadline"):
        slow.run(MATRIX, deadline_s=0.1)
    assert 0.1 <= time.monotonic() - started < FAST_S


@pytest.mark.parametrize("deadline_s", [0, -1.0])
def test_deadline_passed_already(quick: Session, deadline_s: float) -> None:
    with pytest.raises(DeadlineExceeded, match="had passed"):
        quick.run({"x": np.zeros(1, "f4")}, deadline_s=deadline_s)


@pytest.mark.parametrize("deadline_s", [60.0, 1e30, float("inf")])
def test_a_deadline_that_is_far_away(quick: Session, deadline_s: float) -> None:
    before = threading.active_count()
    assert quick.run({"x": np.ones(1, "f4")}, deadline_s=deadline_s)["y"].tolist() == [2]
    for _ in range(100):
        if threading.active_count() <= before:
            return
        time.sleep(0.01)
    pytest.fail("the timer of a finished run stays")


def test_cancel_from_another_thread(slow: Session) -> None:
    stop = Stop()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Cancelled, match="was cancelled after"):
        slow.run(MATRIX, stop=stop, deadline_s=60)
    assert time.monotonic() - started < FAST_S
    timer.join()


def test_one_stop_ends_many_runs(slow: Session) -> None:
    stop = Stop()

    def run(_: int) -> type[BaseException] | None:
        try:
            slow.run(MATRIX, stop=stop)
        except Cancelled as error:
            return type(error)
        return None

    with ThreadPoolExecutor(4) as pool:
        runs = pool.map(run, range(4))
        time.sleep(0.1)
        stop.set()
        assert list(runs) == [Cancelled] * 4


def test_stop_set_before(quick: Session) -> None:
    stop = Stop()
    assert not stop.is_set
    stop.set()
    assert stop.is_set
    with pytest.raises(Cancelled, match="before it started"):
        quick.run({"x": np.zeros(1, "f4")}, stop=stop)


def test_the_session_works_after_a_cancelled_run(slow: Session, quick: Session) -> None:
    stop = Stop()
    assert quick.run({"x": np.ones(1, "f4")}, stop=stop)["y"].tolist() == [2]
    assert quick.run({"x": np.ones(1, "f4")}, stop=stop)["y"].tolist() == [2]


@pytest.mark.parametrize(
    "feed", [{}, {"x": np.zeros((1, 1), "f4")}, {"x": np.zeros(1, "f8")}, {"y": np.zeros(1, "f4")}, {"x": None}]
)
def test_a_feed_that_does_not_fit(quick: Session, feed: dict) -> None:
    with pytest.raises(InferenceFailed, match="the model failed"):
        quick.run(feed)


def test_an_error_without_words() -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    value = SimpleNamespace(name="x", shape=[1], type="tensor(float)")
    raw = SimpleNamespace(
        get_inputs=lambda: [value], get_outputs=lambda: [value], get_providers=lambda: ["CPUExecutionProvider"], run=fail
    )
    with pytest.raises(InferenceFailed, match="RuntimeError"):
        Session(raw).run({})


@pytest.mark.parametrize("content", [b"", b"not a model", doubling()[:-10]])
def test_a_model_that_is_none(content: bytes) -> None:
    with pytest.raises(InferenceFailed) as raised:
        open_session(content, Options("cpu"))
    assert raised.value.code == "run.load"


@pytest.mark.parametrize("kept", [False, True], ids=["without a cache", "with a cache"])
def test_a_sound_model_that_the_optimiser_refuses(tmp_path: Path, caplog: pytest.LogCaptureFixture, *, kept: bool) -> None:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(half_normalised(), settings, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        expected = str(error).splitlines()[0]
    else:
        pytest.skip("this ONNX Runtime fuses it")
    path = tmp_path / "model.onnx"
    path.write_bytes(half_normalised())
    session = open_session(path, Options("cpu", cache=Cache(tmp_path / "cache") if kept else None), "half")
    assert expected[:200] in caplog.text
    x = np.random.default_rng(0).normal(size=(2, 8)).astype("f4")
    wanted = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(session.run({"x": x})["y"], wanted, atol=1e-2)


def test_threads_share_a_session(quick: Session) -> None:
    def run(number: int) -> bool:
        x = np.full(1000, number, "f4")
        return bool((quick.run({"x": x}, deadline_s=60)["y"] == 2 * x).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(200)))


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [1.0, np.nan, 2.0]])
def test_numbers_that_are_not_finite(bad: list[float]) -> None:
    with pytest.raises(InferenceFailed) as raised:
        finite(np.array(bad, "f4"))
    assert raised.value.code == "run.not_finite"


def test_finite_numbers_pass_in_place() -> None:
    largest = np.full(1000, np.finfo("f4").max, "f4")
    assert finite(largest) is largest
    assert finite(np.ones(2, "f8")).dtype == np.float32
    assert finite(np.zeros((0, 3), "f4")).shape == (0, 3)
