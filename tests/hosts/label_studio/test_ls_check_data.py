"""What `check` says about the video of a task."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from locara_label.fetch import Fetcher, Rules
from locara_label.hosts.label_studio.check_data import video_findings
from locara_label.hosts.label_studio.config import ObjectTag
from locara_label.hosts.label_studio.requests import Task
from locara_label.video.writing import write_video

FRAMES = 12


def findings(folder: Path, framerate: str | None, name: str = "clip.mp4") -> list[tuple[str, str, str]]:
    fetcher = Fetcher(Rules(roots=(folder,), max_bytes=10))  # pictures are small
    task = Task(7, {"video": str(folder / name), "fps": 30})
    found = video_findings(fetcher, task, ObjectTag("video", "video", "$video", framerate=framerate))
    return [(one.status, one.text, one.remedy) for one in found]


def clip(folder: Path, rate: Fraction | int, steps: int = 1) -> None:
    ticks = [steps * number + number % steps for number in range(FRAMES)]
    write_video(folder / "clip.mp4", (np.full((32, 48, 3), number, np.uint8) for number in range(FRAMES)), rate, ticks=ticks)


@pytest.mark.parametrize(
    ("rate", "framerate"),
    [(25, "25"), (24, None), (30, "$fps"), (Fraction(30000, 1001), "29.97"), (Fraction(24000, 1001), "23.976")],
)
def test_a_sound_video(tmp_path: Path, rate: Fraction | int, framerate: str | None) -> None:
    clip(tmp_path, rate)
    [(status, text, _)] = findings(tmp_path, framerate)
    assert status == "ok"
    assert f"12 frames of 48 x 32 pixels at {float(rate):.6g} a second" in text


def test_another_frame_rate_names_the_right_one(tmp_path: Path) -> None:
    clip(tmp_path, 30)
    [_, (status, text, remedy)] = findings(tmp_path, "25")
    assert (status, remedy) == ("warning", 'write framerate="30" into the Video tag')
    assert "the editor counts 25 frames a second of 'video', the file has 30" in text


def test_a_rate_that_varies(tmp_path: Path) -> None:
    clip(tmp_path, 25, steps=3)
    [_, (status, text, _)] = findings(tmp_path, "25")
    assert (status, text.partition(":")[0]) == ("warning", "its frame rate varies")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "none.mp4").write_bytes(b"none")
    [(status, text, remedy)] = findings(tmp_path, "25", "none.mp4")
    assert status == "problem"
    assert "[video.unknown_format]" in text
    assert remedy
    [(status, text, _)] = findings(tmp_path, "25", "gone.mp4")
    assert "[fetch.not_found]" in text
