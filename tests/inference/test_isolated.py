"""Models in a process of their own: the same results, coded errors, and no death but its own."""

from __future__ import annotations

import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import settings as environment
from locara_label.engine.loading import MINI, load, load_prompt_model
from locara_label.engine.sources import Published, Weightless, open_here
from locara_label.errors import Cancelled, DeadlineExceeded, InferenceFailed, LocaraError, NotDownloaded, UnknownModel
from locara_label.inference.isolated import Isolated
from locara_label.inference.process import Process
from locara_label.runtime.session import Options, Session, Stop
from locara_label.types import Box, Point, Prompt
from locara_label.weights.store import MINI as BUNDLED
from tests.runtime.small_graphs import doubling, endless

SIZE = (96, 128)
MATRIX = {"x": np.full((64, 64), 0.01, "f4")}
IMAGE = make_scene(EVALUATION_SEED, SIZE).image


@pytest.fixture
def isolated() -> Iterator[Isolated]:
    made = Isolated()
    yield made
    made.close()


@dataclass(frozen=True)
class Sessions:
    """Of graphs that take no time, two or three seconds, and minutes."""

    quick: Session
    longer: Session
    endless: Session

    def works(self) -> bool:
        return self.quick.run({"x": np.array([1, 2], "f4")})["y"].tolist() == [2, 4]


@pytest.fixture
def sessions(isolated: Isolated, tmp_path: Path) -> Sessions:
    graphs = {"quick": doubling(), "longer": endless(100_000), "endless": endless()}
    paths = [tmp_path / f"{name}.onnx" for name in graphs]
    for path, graph in zip(paths, graphs.values(), strict=True):
        path.write_bytes(graph)
    opened, _ = isolated.open(Published(tuple(paths)), Options("cpu", 1, spinning=False))
    return Sessions(*opened)


def test_the_same_masks(isolated: Isolated) -> None:
    here, there = load("mini", task="semantic"), load("mini", task="semantic", opener=isolated.open)
    assert (there.provider, there.labels) == (here.provider, here.labels)
    assert there.segment(IMAGE) == here.segment(IMAGE)
    assert isolated.deaths == 0


def test_the_same_answers_to_prompts(isolated: Isolated) -> None:
    here, there = load_prompt_model("mini"), load_prompt_model("mini", opener=isolated.open)
    prompts = [Prompt(box=Box(20, 20, 70, 70)), Prompt(points=(Point(40, 40),))]
    answers = [model.decode_many(model.encode(IMAGE), prompts) for model in (here, there)]
    assert [[one.mask for one in many] for many in answers[0]] == [[one.mask for one in many] for many in answers[1]]
    assert there.identity == here.identity


def test_a_source_is_described(isolated: Isolated) -> None:
    source, options = Weightless(("segformer-mini",), BUNDLED / "segformer"), Options("cpu")
    (there,), digest = isolated.open(source, options)
    (here,), expected = open_here(source, options)
    assert digest == expected
    for name in ("inputs", "outputs", "input_shapes", "input_types", "provider", "symbols"):
        assert getattr(there, name) == getattr(here, name)


def test_what_cannot_be_opened(isolated: Isolated, tmp_path: Path) -> None:
    with pytest.raises(NotDownloaded, match=r"none\.onnx is not there"):
        isolated.open(Published((tmp_path / "none.onnx",)), Options())
    with pytest.raises(UnknownModel, match="no graph"):
        isolated.open(Weightless(("nonsense",), tmp_path), Options())
    assert isolated.deaths == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_who_asks_after_a_death_is_answered(isolated: Isolated, number: int, caplog: pytest.LogCaptureFixture) -> None:
    model = load("mini", task="semantic", opener=isolated.open)
    expected = model.segment(IMAGE)
    with caplog.at_level(logging.ERROR):
        os.kill(isolated.pid or 0, number)
        assert model.segment(IMAGE) == expected
    assert isolated.deaths == 1
    assert [record.message for record in caplog.records] == [f"the process that runs models died: {signal.Signals(number).name}"]


def test_a_death_in_the_middle_of_a_run(isolated: Isolated, sessions: Sessions) -> None:
    """Tried once more, and whoever asked knows nothing of it."""
    threading.Timer(0.3, lambda: os.kill(isolated.pid or 0, signal.SIGSEGV)).start()
    assert sessions.longer.run(MATRIX)["y"].shape == (64, 64)
    assert isolated.deaths == 1


def test_a_run_that_kills_every_process_fails_alone(isolated: Isolated, sessions: Sessions) -> None:
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.3):
            if isolated.pid is not None:
                os.kill(isolated.pid, signal.SIGSEGV)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(InferenceFailed, match="died of this, twice: SIGSEGV") as told:
        sessions.endless.run(MATRIX)
    over.set()
    killer.join()
    assert told.value.code == "run.worker_died"
    assert sessions.works()


def test_runs_are_stopped(isolated: Isolated, sessions: Sessions) -> None:
    stop = Stop()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Cancelled):
        sessions.endless.run(MATRIX, stop=stop)
    with pytest.raises(DeadlineExceeded):
        sessions.endless.run(MATRIX, deadline_s=0.3)
    assert sessions.works()
    assert isolated.deaths == 0


def test_a_run_that_cannot_be_stopped_ends_with_its_process(
    isolated: Isolated, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locara_label.inference.process.PATIENCE_S", 0.2)
    os.kill(isolated.pid or 0, signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        sessions.quick.run({"x": np.ones(3, "f4")}, deadline_s=0.2)
    assert sessions.works()
    assert isolated.deaths == 1


def test_many_at_once(sessions: Sessions) -> None:
    """More threads than connections, and each gets what is its own."""
    found: dict[int, list[float]] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            found[number] = sessions.quick.run({"x": np.full(number, number, "f4")})["y"].tolist()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [2.0 * number] * number for number in range(1, 25)}


def test_without_memory_it_starts_anew(isolated: Isolated) -> None:
    model = load("mini", task="semantic", opener=isolated.open)
    expected = model.segment(IMAGE)
    resource.prlimit(isolated.pid or 0, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    assert model.segment(np.ascontiguousarray(IMAGE.repeat(4, 0).repeat(4, 1))) is not None
    assert model.segment(IMAGE) == expected


def test_a_closed_one_answers_nobody(isolated: Isolated, sessions: Sessions) -> None:
    pid = isolated.pid or 0
    isolated.close()
    with pytest.raises(Cancelled, match="closing"):
        sessions.works()
    assert isolated.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_signals_of_the_group_are_its_owners(isolated: Isolated, sessions: Sessions) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(isolated.pid or 0, number)
    assert sessions.works()
    assert isolated.deaths == 0


OWNER = """
import sys, time
from locara_label.inference.process import Process
print(Process().pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_its_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        owner.kill()
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_it_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCARA_SERVER__API_KEY", "canary-1")
    monkeypatch.setenv("HF_TOKEN", "canary-2")
    process = Process()
    try:
        assert b"canary" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    finally:
        process.kill()


def test_answers_without_sense(isolated: Isolated, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locara_label.inference.wire.Arena.views", lambda *_: {}["outputs"])
    with pytest.raises(InferenceFailed, match="makes no sense"):
        sessions.works()
    monkeypatch.undo()
    assert sessions.works()


def test_no_process_can_be_started(isolated: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locara_label.children.sys.executable", "/nowhere/python")
    with pytest.raises(InferenceFailed, match="no process for models can be started") as told:
        load("mini", task="semantic", opener=isolated.open)
    assert told.value.code == "run.load"
    monkeypatch.undo()
    assert load("mini", task="semantic", opener=isolated.open).segment(IMAGE)


def test_settings_choose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from locara_label.server.opening import open_service

    for isolate in (True, False):
        settings = environment.load()
        server = settings.server.model_copy(update={"model": MINI["prompt"], "text_model": "none", "isolate": isolate})
        service = open_service(settings.model_copy(update={"server": server}))
        try:
            assert ("locara_inference_deaths" in service.metrics.page().decode()) is isolate
        finally:
            service.close()


def test_a_failed_start_leaves_no_process(tmp_path: Path) -> None:
    from locara_label.server.opening import open_service
    from tests.faults.load import children

    before = set(children(os.getpid()))
    server = environment.load().server.model_copy(update={"model": MINI["prompt"], "text_model": "nonsense"})
    with pytest.raises(LocaraError):
        open_service(environment.load().model_copy(update={"server": server}))
    assert set(children(os.getpid())) <= before
