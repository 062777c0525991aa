"""Folders of pictures as videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fixtures.make_pictures import oriented
from locara_label import images
from locara_label.errors import BadOption, BadVideo, Cancelled
from locara_label.video.folder import natural
from locara_label.video.limits import VideoLimits
from locara_label.video.opening import open_video_file
from tests.video.numbered import number_in, numbered, numbers_in


def fill(folder: Path, count: int, name: str = "frame{}.png") -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        images.write_png(folder / name.format(number), numbered(number, (48, 64)))
    return folder


def test_natural_order_and_times(tmp_path: Path) -> None:
    folder = fill(tmp_path / "clip", 12)
    (folder / "notes.txt").write_text("not a frame")
    (folder / ".hidden.png").write_bytes(b"nor this")
    with open_video_file(folder, folder_rate=Fraction(24000, 1001)) as video:
        assert (video.count, video.size, video.container) == (12, (48, 64), "folder")
        assert numbers_in(video.frames()) == list(range(12))
        assert numbers_in(video.frames(step=-5)) == [11, 6, 1]
        assert number_in(video.frame(10)) == 10
        assert video.times_s[11] == 11 * 1001 / 24000
        assert video.index_at(11 * 1001 / 24000) == 11
        assert video.damaged is None
    with pytest.raises(Cancelled):
        video.frame(0)


def test_names() -> None:
    names = ["10.jpg", "9.jpg", "a10b2.jpg", "a9b10.jpg", "a9b9.jpg", "x.jpg", "007.jpg", "7.jpg"]
    ordered = ["007.jpg", "7.jpg", "9.jpg", "10.jpg", "a9b9.jpg", "a9b10.jpg", "a10b2.jpg", "x.jpg"]
    assert sorted(names, key=natural) == ordered


def test_orientation_counts(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(oriented("JPEG", 6))
    with open_video_file(tmp_path) as video:
        assert video.size == video.frame(0).shape[:2] == images.read(tmp_path / "1.jpg").shape[:2]


def refused(folder: Path, limits: VideoLimits | None = None) -> BadVideo:
    with pytest.raises(BadVideo) as caught:
        open_video_file(folder, limits or VideoLimits())
    return caught.value


def test_what_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).code == "video.no_frames"
    fill(tmp_path, 3)
    assert refused(tmp_path, VideoLimits(max_frames=2)).code == "video.too_many_frames"
    assert refused(tmp_path, VideoLimits(max_pixels=100)).code == "video.frame"
    images.write_png(tmp_path / "frame9.png", np.zeros((48, 65, 3), np.uint8))
    error = refused(tmp_path)
    assert error.code == "video.sizes"
    assert "frame9.png has 65 x 48" in error.message
    (tmp_path / "frame9.png").write_bytes(b"no picture")
    error = refused(tmp_path)
    assert error.code == "video.frame"
    assert "frame9.png" in error.message


def test_a_frame_that_changes_later(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with open_video_file(tmp_path) as video:
        images.write_png(tmp_path / "frame1.png", np.zeros((50, 64, 3), np.uint8))
        with pytest.raises(BadVideo) as caught:
            video.frame(1)
        assert caught.value.code == "video.sizes"
        (tmp_path / "frame1.png").unlink()
        with pytest.raises(BadVideo) as caught:
            video.frame(1)
        assert caught.value.code == "video.frame"


def test_rates_are_positive(tmp_path: Path) -> None:
    with pytest.raises(BadOption):
        open_video_file(fill(tmp_path / "clip", 1), folder_rate=0)
