"""Files that end early or are hurt in the middle: the readable part is there, and it is said what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from locara_label.errors import BadVideo
from locara_label.video.opening import open_video_file
from tests.video.numbered import number_in, numbered, write_clip

COUNT = 60
GOP = {"g": "15", "bf": "2"}
# AVI has no times of presentation: with B-frames, that of the last frame before a cut is FFmpeg's guess.
KINDS = {
    "fast.mp4": ("libx264", GOP, {"movflags": "+faststart"}),
    "pieces.mp4": ("libx264", GOP, {"movflags": "frag_keyframe+empty_moov"}),
    "h264.mkv": ("libx264", GOP, {}),
    "h264.ts": ("libx264", GOP, {}),
    "mpeg4.avi": ("mpeg4", {"g": "15", "qmin": "2", "qmax": "4"}, {}),
    "vp9.webm": ("libvpx-vp9", {"g": "15", "deadline": "realtime", "cpu-used": "8"}, {}),
}


def noisy() -> list[NDArray[np.uint8]]:
    """Noise makes the file large, so that cuts fall into frames and not into headers."""
    rng = np.random.default_rng(0)
    return [np.clip(numbered(n) + rng.integers(-20, 20, (96, 128, 3)), 0, 255).astype(np.uint8) for n in range(COUNT)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    paths = [
        write_clip(folder / name, COUNT, codec=codec, options=options, muxing=muxing, pictures=noisy())
        for name, (codec, options, muxing) in KINDS.items()
    ]
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("tenth", range(1, 10))
def test_cut_at_every_tenth(clips: dict[str, bytes], tmp_path: Path, name: str, tenth: int) -> None:
    path = tmp_path / name
    path.write_bytes(clips[name][: len(clips[name]) * tenth // 10])
    sound = noisy()
    with open_video_file(path) as video:
        assert video.damaged
        assert video.count >= COUNT * tenth // 10 - 5
        for picture, time_s in zip(video.frames(), video.times_s, strict=True):
            number = round(time_s * 25)
            assert number_in(picture) == number
            assert np.abs(picture.astype(int) - sound[number]).mean() < 14
        assert video.lost == {}


def test_a_file_without_its_table_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "late.mp4", COUNT, options=GOP)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadVideo) as caught:
        open_video_file(path)
    assert caught.value.code in {"video.corrupt", "video.no_frames"}


def test_a_hole_is_filled_with_the_frame_before_and_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "hole.mp4", COUNT, codec="libvpx-vp9", options=KINDS["vp9.webm"][1], pictures=noisy())
    data = bytearray(path.read_bytes())
    start, end = int(len(data) * 0.6), int(len(data) * 0.64)
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with open_video_file(path) as video:
        assert video.count == COUNT
        found = [number_in(picture) for picture in video.frames()]
        lost = video.lost
        assert lost
        assert set(lost) <= set(range(30, 45))
        assert found[:30] + found[45:] == [*range(30), *range(45, COUNT)]
        assert all(found[index] == found[shown] and shown < index for index, shown in lost.items())
        assert f"{len(lost)} frames cannot be decoded, the first is {min(lost)}" in (video.damaged or "")
        assert f"frames from {max(lost) + 1} to the next keyframe may show errors" in (video.damaged or "")
        assert [number_in(picture) for picture in video.frames(step=-1)] == found[::-1]
