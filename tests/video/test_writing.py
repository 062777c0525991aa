"""Pictures to MP4 and back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from locara_label.errors import BadOption
from locara_label.video.opening import open_video_file
from locara_label.video.writing import write_video
from tests.video.numbered import numbered, numbers_in


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001), 23.976, 12.5])
def test_frames_come_back(tmp_path: Path, rate: Fraction | float) -> None:
    path = tmp_path / "clip.mp4"
    assert write_video(path, (numbered(n) for n in range(60)), rate) == 60
    with open_video_file(path) as video:
        assert numbers_in(video.frames()) == list(range(60))
        assert float(video.rate) == pytest.approx(float(rate), rel=1e-5)
        assert (video.codec, video.variable, video.damaged) == ("h264", False, None)


@pytest.mark.parametrize("size", [(95, 128), (96, 127), (33, 65), (720, 1280)])
def test_odd_sizes_are_padded_and_colours_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    colours = [(200, 60, 40), (40, 160, 70), (50, 60, 190), (230, 230, 230), (12, 12, 12)]
    pictures = [np.full((*size, 3), colour, np.uint8) for colour in colours]
    write_video(tmp_path / "clip.mp4", pictures)
    with open_video_file(tmp_path / "clip.mp4") as video:
        assert video.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        for shown, picture in zip(video.frames(), pictures, strict=True):
            assert np.abs(shown[: size[0], : size[1]].astype(int) - picture).max() <= 6


def test_what_browsers_need(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", [numbered(n) for n in range(3)])
    data = (tmp_path / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


def test_ticks_and_determinism(tmp_path: Path) -> None:
    ticks = [0, 1, 4, 5, 9]
    for name in ("one.mp4", "other.mp4"):
        write_video(tmp_path / name, [numbered(n) for n in range(5)], Fraction(30000, 1001), ticks=ticks)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()
    with open_video_file(tmp_path / "one.mp4") as video:
        assert video.variable
        assert video.times_s.tolist() == [tick * 1001 / 30000 for tick in ticks]
        assert numbers_in(video.frames()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("pictures", "rate", "ticks"),
    [
        ([], 25, None),
        ([np.zeros((8, 8), np.uint8)], 25, None),
        ([np.zeros((8, 8, 3), np.float32)], 25, None),
        ([np.zeros((0, 8, 3), np.uint8)], 25, None),
        ([np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)], 25, None),
        ([np.zeros((16, 16, 3), np.uint8)], 0, None),
        ([np.zeros((16, 16, 3), np.uint8)], float("nan"), None),
        ([np.zeros((16, 16, 3), np.uint8)] * 2, 25, [0]),
        ([np.zeros((16, 16, 3), np.uint8)] * 2, 25, [1, 1]),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path: Path, pictures: list[NDArray[np.uint8]], rate: float, ticks: list[int]) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"as it was")
    with pytest.raises(BadOption):
        write_video(tmp_path / "clip.mp4", pictures, rate, ticks=ticks)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"as it was"]
