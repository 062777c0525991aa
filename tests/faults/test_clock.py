"""Clocks that jump: whatever waits, expires or is given up goes by a clock that does not."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import locara_label
from locara_label import images
from locara_label.models.classic import Classic
from locara_label.server.models import Models
from locara_label.server.service import Service
from locara_label.settings import load as load_settings
from tests.faults.stopping import SIZE
from tests.server.running import Client, serving

PACKAGE = Path(locara_label.__file__).parent
WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
DAY_S = 86_400.0
WRITTEN_DOWN = {
    "hosts/fiftyone/bulk.py",
    "hosts/fiftyone/documents.py",
    "hosts/fiftyone/fields.py",
    "server/recording.py",
    "server/video_sharing.py",
    "weights/store.py",
}
"""Files that take the time of the day to write down when something was."""
SHARED = {"engine/embeddings.py", "runtime/optimised.py"}
"""Files that compare it with what another process or machine wrote down; a jump costs what is in a cache."""


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {ast.unparse(function) for function in called} & WALL


def test_the_time_of_the_day_is_only_written_down() -> None:
    found = {path.relative_to(PACKAGE).as_posix(): calls(path) for path in PACKAGE.rglob("*.py")}
    assert {name for name, wall in found.items() if wall} <= WRITTEN_DOWN | SHARED


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time of the day off by so many seconds, for everything in this process."""
    real = time.time, time.time_ns

    def jump(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real[0]() + seconds)
        monkeypatch.setattr(time, "time_ns", lambda: real[1]() + int(seconds * 1e9))

    return jump


@pytest.mark.parametrize("jump", [-10 * DAY_S, -3600.0, 3600.0, 1000 * DAY_S])
def test_a_server_goes_on_when_the_clock_jumps(tmp_path: Path, jumping: Callable[[float], None], jump: float) -> None:
    picture = tmp_path / "a.png"
    images.write_png(picture, np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8))
    folders = {"cache_dir": tmp_path / "cache", "data_dir": tmp_path / "data"}
    settings = load_settings(**folders, capabilities={"folders": [str(tmp_path)]}, server={"click_s": 20})

    def clicked(client: Client) -> int:
        return client.post("/v1/mask_from_prompt", {"image": str(picture), "points": [[50, 50]]}).status

    with serving(Service(settings, Models(Classic()))) as client:
        assert clicked(client) == 200
        jumping(jump)
        assert [clicked(client) for _ in range(3)] == [200] * 3
        page = client.get("/metrics").body.decode()
    assert "locara_encodes 1.0" in page  # nothing expired
