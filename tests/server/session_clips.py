"""Sessions of a real server on real clips, and what they tell."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from held_video_model import HeldVideoModel
from running import Client
from watching import Told

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from locara_label.types import Mask

BASE = "/v1/video/sessions"
FRAMES, RATE = 20, Fraction(25)
BOX = [10, 10, 50, 50]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder, EVALUATION_SEED, (64, 64), FRAMES, RATE).rename(folder / "plain.mp4")
    write_clip(folder, EVALUATION_SEED, (64, 64), FRAMES, RATE, vfr=True).rename(folder / "vfr.mp4")
    whole = (folder / "plain.mp4").read_bytes()
    (folder / "broken.mp4").write_bytes(whole[:200] + b"\0" * 400 + whole[600:])
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "text.mp4").write_text("no video at all\n" * 50)
    (folder / "empty.mp4").write_bytes(b"")
    return folder


@pytest.fixture
def held() -> HeldVideoModel:
    return HeldVideoModel()


@pytest.fixture
def own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def kept(folder: Path) -> list[Path]:
    """Videos on the disk."""
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def serve(start: Callable[..., Client], clips: Path, own_temporary_files: Path) -> Callable[..., Client]:
    def served(model: Any = None, **more: Any) -> Client:
        load_video = None if model is None else lambda _: model
        grants = {"folders": [str(clips)], **more.pop("capabilities", {})}
        return start(prelabel=False, load_video=load_video, capabilities=grants, **more)

    return served


def opened(client: Client, video: Path | str, **more: Any) -> str:
    """The address of a new session."""
    reply = client.post(BASE, {"video": str(video), **more})
    assert reply.status == 200, reply.body
    return f"{BASE}/{reply.json()['session']}"


def until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def masks(told: list[Told]) -> dict[tuple[int, int], Mask]:
    """By object and frame."""
    return {
        (one["object"], event.data["frame"]): Mask.from_coco(one["segmentation"])
        for event in told
        if event.name == "frame"
        for one in event.data["objects"]
    }
