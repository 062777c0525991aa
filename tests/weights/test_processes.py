"""Several processes, and processes that die: one download, nothing lost, nothing corrupt."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from locara_label.errors import BadWeights, LocaraError
from locara_label.weights.catalogue import Row
from locara_label.weights.hub import Hub, _trust
from locara_label.weights.store import Progress, Store
from tests.weights.hub_server import HubServer
from tests.weights.sample_models import REPO, OpenStore, content, make_row

KILLS = 50
CLEAN = multiprocessing.get_context("forkserver")
CLEAN.set_forkserver_preload(["tests.weights.test_processes", "httpx2", "filelock"])

# read once in the server that the processes are forked from, like the imports
_trust(False)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills processes by signal")


def pull(root: Path, endpoint: str) -> None:
    Store(root, Hub(endpoint, pause_s=0.001)).pull(make_row())


def start(store: Store) -> multiprocessing.Process:
    process = CLEAN.Process(target=pull, args=(store.root, store.hub.endpoint))
    process.start()
    return process


def wait_for(condition, limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_eight_processes_download_once(store: Store, hub: HubServer, row: Row, weights: bytes):
    hub.faults.chunk_pause_s = 0.0005
    processes = [start(store) for _ in range(8)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(hub.bodies("model.safetensors")) == 1
    assert len(hub.bodies("config.json")) == 1
    assert hub.sent == sum(len(data) for data in hub.files.values())
    assert (store.folder(row) / "model.safetensors").read_bytes() == weights


def test_eight_threads_download_once(store: Store, hub: HubServer, row: Row):
    hub.faults.chunk_pause_s = 0.0005
    threads = [threading.Thread(target=store.pull, args=(row,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub.bodies("model.safetensors")) == 1
    assert store.verify(row).is_sound


@pytest.mark.slow
def test_fifty_kills_lose_nothing_that_was_kept(store: Store, hub: HubServer, row: Row):
    """Each killed run keeps its part; the next one asks for what comes after it and not for a byte before."""
    hub.files[f"{REPO}/model.safetensors"] = data = content(6 << 20)
    hub.faults.chunk_pause_s = 0.001
    part = store.root / "models" / "tiny" / "model.safetensors.part"
    luck, kept = random.Random(16), [0]
    for kill in range(KILLS):
        process = start(store)
        goal = kept[-1] + luck.randrange(1, len(data) // KILLS)
        wait_for(lambda goal=goal: size(part) >= goal)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kept.append(size(part))
        assert kept[-1] >= goal, f"kill {kill}"
    assert store.state(row).kind == "not_downloaded"
    hub.faults.chunk_pause_s = 0.0
    assert (store.pull(row) / "model.safetensors").read_bytes() == data
    starts = [request.start for request in hub.bodies("model.safetensors")]
    assert starts == kept
    # what the server sent and no run kept sat in the sockets of the killed ones
    assert hub.sent - sum(len(body) for body in hub.files.values()) <= 16 << 20


def test_a_download_is_seen_from_other_processes(store: Store, hub: HubServer, row: Row):
    hub.faults.chunk_pause_s = 0.005
    process = start(store)
    other = Store(store.root, Hub("http://nowhere.invalid", offline=True))
    wait_for(lambda: (other.state(row).fraction or 0) > 0.1)
    state = other.state(row)
    assert state.kind == "downloading"
    assert str(state).startswith("downloading (")
    hub.faults.chunk_pause_s = 0.0
    process.join(30)
    assert other.state(row).kind == "ready"


def test_who_waits_sees_the_progress_of_the_one_who_downloads(store: Store, hub: HubServer, row: Row):
    hub.faults.chunk_pause_s = 0.008
    process = start(store)
    part = store.root / "models" / "tiny" / "model.safetensors.part"
    wait_for(part.exists)
    seen: list[Progress] = []
    store.pull(row, progress=seen.append)
    process.join(30)
    assert len(hub.bodies("model.safetensors")) == 1
    assert seen
    assert all(0 < step.done <= step.total for step in seen)


def test_the_state_can_be_asked_for_during_a_pull(store: Store, row: Row):
    seen = []
    store.pull(row, progress=lambda _: seen.append(store.state(row)))
    assert {state.kind for state in seen} == {"downloading"}


def test_states_of_loading(store: Store, row: Row):
    store.pull(row)
    store.states.loading(row.name)
    assert store.state(row).kind == "loading"
    store.states.ready(row.name)
    assert store.state(row).kind == "ready"
    store.states.failed(row.name, BadWeights("a tensor is missing"))
    assert store.state(row).to_json() == {"state": "error", "fraction": None, "reason": "a tensor is missing", "retry": False}
    assert str(store.state(row)) == "error (a tensor is missing)"
    store.states.forget(row.name)
    assert store.state(row).kind == "ready"


def test_a_failure_is_told_to_other_processes_until_a_pull_succeeds(
    store: Store, hub: HubServer, row: Row, open_store: OpenStore
):
    assert store.state(row).kind == "not_downloaded"
    hub.faults.flip_bit = True
    with pytest.raises(LocaraError):
        store.pull(row)
    other = open_store(offline=True)
    assert other.state(row).kind == "error"
    assert other.state(row).retry
    hub.faults.flip_bit = False
    store.pull(row)
    assert other.state(row).kind == "ready"
