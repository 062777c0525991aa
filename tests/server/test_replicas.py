"""Servers that share their work: behind a real nginx, with a real PostgreSQL, and one of them killed."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from tests.postgres import PASSWORD, Postgres
from tests.replicas import Clicking, Replicas, headers, outcome, running

FRAMES = 40
BOX = [10, 10, 50, 50]
VIDEO_CONFIG = (
    '<View><Video name="video" value="$video" framerate="25"/><VideoRectangle name="box" toName="video" smart="true"/>'
    '<Labels name="label" toName="video"><Label value="Ring"/></Labels></View>'
)

pytestmark = pytest.mark.slow


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path, EVALUATION_SEED, (64, 64), FRAMES, Fraction(25))


@pytest.fixture
def shared(nginx: Path, tmp_path: Path, postgres: Postgres) -> Iterator[tuple[Replicas, str]]:
    """Two servers with one database, and its address."""
    address = postgres.database()
    with running(nginx, tmp_path, LOCARA_SERVER__STORE=address) as replicas:
        yield replicas, address
        said = "".join(one.said() for one in replicas.servers) + replicas.access.read_text()
    assert PASSWORD not in said


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)


def test_a_replica_that_is_killed_costs_no_click(nginx: Path, tmp_path: Path) -> None:
    clicking = Clicking(tmp_path, 8)
    with running(nginx, tmp_path) as replicas:
        found = outcome(clicking, replicas, 120, kill_at=40)
        assert (found.clicks, found.wrong, found.sent_again) == (120, 0, 0)
        # those that were under way when it was killed, and those that ask whether it is there again
        assert found.again <= 8 + 2
        assert len(found.served) == 2
        # pictures that the dead one had encoded are taken from the shared folder
        assert found.encodes < 8
        places: dict[int, set[str]] = {}
        for user in range(8):
            for _ in range(2):
                replicas.post("/predict", json.loads(clicking.body(user, 5, 5)))
                places.setdefault(user, set()).add(replicas.places()[-1][-1])
        assert all(len(found) == 1 for found in places.values())


def test_a_session_on_a_video_goes_on_elsewhere_with_the_same_masks(shared: tuple[Replicas, str], clip: Path) -> None:
    replicas, _ = shared
    at = opened(replicas, clip)
    shown = replicas.post(f"{at}/prompt", {"frame": 3, "box": BOX, "label": "ring"})
    assert shown[0] == 200, shown
    status, events = replicas.ask("POST", f"{at}/propagate", b"{}")
    assert (status, b"event: done" in events) == (200, True)
    before = replicas.ask("GET", f"{at}/result")
    state = replicas.ask("GET", at)
    until(lambda: len(replicas.places()) == 5)
    (place,) = {place[-1] for place in replicas.places()[1:]}
    replicas.kill([place in one.url for one in replicas.servers].index(True))
    after = replicas.ask("GET", f"{at}/result")
    assert (before[0], after[0]) == (200, 200)
    assert json.loads(after[1])["annotations"] == json.loads(before[1])["annotations"]
    assert json.loads(replicas.ask("GET", at)[1]) == json.loads(state[1])
    assert replicas.post(f"{at}/prompt", {"frame": 30, "box": BOX})[1]["objects"][0]["object"] == 2
    assert replicas.ask("DELETE", at)[0] == 200
    assert replicas.ask("GET", at)[0] in {400, 404}


def test_a_run_that_is_killed_is_gone_on_with_elsewhere(shared: tuple[Replicas, str], tmp_path: Path) -> None:
    replicas, _ = shared
    clip = write_clip(tmp_path, EVALUATION_SEED + 1, (240, 320), 100, Fraction(25))
    whole, broken = opened(replicas, clip, "whole"), opened(replicas, clip, "broken")
    box = [40, 40, 160, 160]
    for at in (whole, broken):
        assert replicas.post(f"{at}/prompt", {"frame": 0, "box": box})[0] == 200
    assert b"event: done" in replicas.ask("POST", f"{whole}/propagate", b"{}")[1]
    expected = json.loads(replicas.ask("GET", f"{whole}/result")[1])["annotations"]
    until(lambda: len(replicas.places()) == 6)
    (place,) = {place[-1] for line, place in zip(lines(replicas), replicas.places(), strict=True) if f"{broken}/prompt" in line}
    seen = first_frames(
        replicas.port,
        f"{broken}/propagate",
        20,
        lambda: replicas.kill([place in one.url for one in replicas.servers].index(True)),
    )
    assert seen < 99
    status, events = replicas.ask("POST", f"{broken}/propagate", b"{}")
    assert (status, b"event: done" in events) == (200, True)
    assert json.loads(replicas.ask("GET", f"{broken}/result")[1])["annotations"] == expected


def lines(replicas: Replicas) -> list[str]:
    return replicas.access.read_text().splitlines()


def first_frames(port: int, path: str, count: int, then: Callable[[], None]) -> int:
    """Listens to a run, calls `then` after so many frames, and gives how many there were until the stream broke off."""
    seen = 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", path, b"{}", headers())
        with suppress(http.client.IncompleteRead, ConnectionError):
            for line in connection.getresponse():
                seen += line.startswith(b"event: frame")
                if seen == count and line.startswith(b"event: frame"):
                    then()
    finally:
        connection.close()
    return seen


def opened(replicas: Replicas, clip: Path, name: str = "clip") -> str:
    status, made = replicas.post("/v1/video/sessions", {"video": str(clip), "name": name})
    assert status == 200, made
    return f"/v1/video/sessions/{made['session']}"
