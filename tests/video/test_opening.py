"""Files of every kind: which frames, when, how large, which way up."""

from __future__ import annotations

import math
import os
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from locara_label.errors import BadOption, BadVideo, Cancelled, MissingRuntime
from locara_label.video import opening
from locara_label.video.limits import VideoLimits
from locara_label.video.opening import open_video_file
from locara_label.video.video import Video
from tests.video.numbered import RATES, number_in, numbered, numbers_in, write_clip

COUNT = 40
GOP = {"g": "12", "bf": "3"}
FAST_VP9 = {"g": "12", "deadline": "realtime", "cpu-used": "8"}
HIDDEN_VP8 = {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "4"}
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal:keyint=12:min-keyint=12:scenecut=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}
FILES = {
    "h264.mp4": ("libx264", "yuv420p", GOP),
    "open-gop.mp4": ("libx264", "yuv420p", OPEN_GOP),
    "open-gop.ts": ("libx264", "yuv420p", OPEN_GOP),
    "intra-refresh.mp4": ("libx264", "yuv420p", REFRESH),
    "h264.mkv": ("libx264", "yuv420p", GOP),
    "h264.ts": ("libx264", "yuv420p", GOP),
    "h264.avi": ("libx264", "yuv420p", GOP),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"g": "12", "bf": "2"}),
    "mjpeg.avi": ("mjpeg", "yuvj420p", {}),
    "mpeg2.ts": ("mpeg2video", "yuv420p", {"g": "12", "bf": "2"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", FAST_VP9),
    "vp8.webm": ("libvpx", "yuv420p", HIDDEN_VP8),
    "ten-bit.mkv": ("ffv1", "yuv420p10le", {}),
    "pictures.gif": ("gif", "rgb8", {}),
    "pictures.mov": ("png", "rgb24", {}),
}


def check_frames(video: Video, numbers: list[int]) -> None:
    """Forwards, backwards, in steps and here and there."""
    assert video.count == len(numbers)
    assert numbers_in(video.frames()) == numbers
    assert numbers_in(video.frames(step=-1)) == numbers[::-1]
    assert numbers_in(video.frames(3, 30, 7)) == numbers[3:30:7]
    assert numbers_in(video.frames(30, 3, -7)) == numbers[30:3:-7]
    for index in (30, 3, 17, 39, 0, 38, 1, 1):
        assert number_in(video.frame(index % video.count)) == numbers[index % video.count]
    assert video.lost == {}


@pytest.mark.parametrize("name", FILES)
def test_every_frame_of_every_kind_of_file(tmp_path: Path, name: str) -> None:
    codec, pix_fmt, options = FILES[name]
    with open_video_file(write_clip(tmp_path / name, COUNT, codec=codec, pix_fmt=pix_fmt, options=options)) as video:
        check_frames(video, list(range(COUNT)))
        assert video.size == (96, 128)
        assert video.rate == 25
        assert not video.variable
        assert video.duration_s == pytest.approx(COUNT / 25)
        assert video.damaged is None
        assert video.counted_by_decoding == (name == "h264.avi")
        picture = video.frame(5)
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        assert picture.flags.writeable


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_are_those_of_the_file(tmp_path: Path, rate: str, suffix: str) -> None:
    exact = RATES[rate]
    with open_video_file(write_clip(tmp_path / f"clip{suffix}", COUNT, rate=exact, options=GOP)) as video:
        tick_s = 1e-3 if suffix == ".mkv" else 1e-9  # Matroska rounds to milliseconds
        assert [abs(t - n / exact) <= tick_s for n, t in enumerate(video.times_s)] == [True] * COUNT
        assert (video.rate, video.variable) == (exact, False)
        for number in range(COUNT):
            time_s = float(video.times_s[number])
            assert video.index_at(time_s) == number
            assert number_in(video.frame(video.index_at(math.nextafter(time_s, 0)))) == number
            assert number_in(video.frame(video.index_at(time_s + 0.4 / exact))) == number
            assert video.index_at(time_s - 0.1 / float(exact)) == max(number - 1, 0)
        if suffix == ".mp4":
            assert [video.times_s[n] for n in range(COUNT)] == [float(n / exact) for n in range(COUNT)]


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_variable_rate(tmp_path: Path, name: str) -> None:
    ticks = [n * n // 4 + n for n in range(COUNT)]
    with open_video_file(write_clip(tmp_path / name, COUNT, rate=Fraction(1000), ticks=ticks, options=GOP)) as video:
        assert video.variable
        np.testing.assert_allclose(video.times_s, np.array(ticks) / 1000, atol=1e-9)
        check_frames(video, list(range(COUNT)))
        middles = [(one + other) / 2000 for one, other in pairwise(ticks)]
        assert [video.index_at(time_s) for time_s in middles] == list(range(COUNT - 1))


def test_frames_before_the_start_are_not_shown_and_do_not_count(tmp_path: Path) -> None:
    ticks = [n - 5 for n in range(COUNT)]
    with open_video_file(write_clip(tmp_path / "early.mp4", COUNT, ticks=ticks, options=GOP)) as video:
        check_frames(video, list(range(5, COUNT)))
        assert video.times_s[0] == 0.0
        assert video.start_s == 0.0


def test_a_late_start_is_told_and_times_begin_at_zero(tmp_path: Path) -> None:
    ticks = [n + 5 for n in range(COUNT)]
    with open_video_file(write_clip(tmp_path / "late.mp4", COUNT, ticks=ticks, options=GOP)) as video:
        check_frames(video, list(range(COUNT)))
        assert video.start_s == pytest.approx(0.2)
        assert video.times_s[1] == pytest.approx(0.04)


@pytest.mark.parametrize("degrees", [90, 180, 270, 0])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    path = write_clip(tmp_path / "turned.mp4", 20, size=(96, 128), rotation=degrees, options={"crf": "10"})
    upright = np.rot90(numbered(5), degrees // 90)
    with open_video_file(path) as video:
        assert video.size == upright.shape[:2]
        assert np.abs(video.frame(5).astype(int) - upright).mean() < 6
        others = [np.rot90(numbered(5), turn) for turn in range(4) if turn != degrees // 90]
        same = [other for other in others if other.shape == upright.shape]
        assert all(np.abs(video.frame(5).astype(int) - other).mean() > 20 for other in same)


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [("odd.mkv", "ffv1", "yuv444p"), ("odd.avi", "mjpeg", "yuvj420p")])
@pytest.mark.parametrize("size", [(95, 127), (97, 63)])
def test_odd_sizes_stay(tmp_path: Path, name: str, codec: str, pix_fmt: str, size: tuple[int, int]) -> None:
    with open_video_file(write_clip(tmp_path / name, COUNT, size=size, codec=codec, pix_fmt=pix_fmt)) as video:
        assert video.size == size
        assert video.frame(0).shape == (*size, 3)
        check_frames(video, list(range(COUNT)))


def test_colours_are_not_swapped(tmp_path: Path) -> None:
    pictures = [np.full((96, 128, 3), colour, np.uint8) for colour in ((220, 30, 30), (30, 200, 30), (30, 30, 220))]
    with open_video_file(write_clip(tmp_path / "colours.mp4", 3, pictures=pictures)) as video:
        for picture, expected in zip(video.frames(), pictures, strict=True):
            assert np.abs(picture.astype(int) - expected).max() < 12


def test_pixel_aspect_is_told_and_pixels_stay(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "wide.mp4", 3, options={"x264-params": "sar=4/3"})
    with open_video_file(path) as video:
        assert (video.size, video.pixel_aspect) == ((96, 128), Fraction(4, 3))


@pytest.mark.parametrize("kept", [1, 12 * 96 * 128 * 2, 256 << 20])
def test_backwards_with_little_room(tmp_path: Path, kept: int) -> None:
    path = write_clip(tmp_path / "long.mp4", COUNT, options={"g": "100", "bf": "2"})
    with open_video_file(path, VideoLimits(kept_bytes=kept)) as video:
        check_frames(video, list(range(COUNT)))


def test_threads_give_the_same(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "h264.mp4", COUNT, options=GOP)
    with open_video_file(path, threads=3) as video, open_video_file(path) as other:
        check_frames(video, list(range(COUNT)))
        assert all(np.array_equal(*pair) for pair in zip(video.frames(), other.frames(), strict=True))


@pytest.mark.parametrize("index", [-1, COUNT, 1.5, True + COUNT])
def test_frames_that_are_not_there(tmp_path: Path, index: int) -> None:
    with open_video_file(write_clip(tmp_path / "h264.mp4", COUNT)) as video:
        with pytest.raises(BadOption, match="frames are 0 to 39"):
            video.frame(index)
        with pytest.raises(BadOption):
            video.frames(step=0)


def test_nothing_comes_from_a_closed_video(tmp_path: Path) -> None:
    video = open_video_file(write_clip(tmp_path / "h264.mp4", COUNT))
    walk = video.frames()
    assert number_in(next(walk)) == 0
    video.close()
    video.close()
    with pytest.raises(Cancelled):
        video.frame(0)
    with pytest.raises(Cancelled):
        next(walk)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("gone.mp4", None, "video.missing"),
        ("empty.mp4", b"", "video.empty"),
        ("note.mp4", b"a note\n" * 100, "video.unknown_format"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "video.unknown_format"),
        ("join.mp4", b"ffconcat version 1.0\nfile /etc/hostname\n", "video.unknown_format"),
        ("bare.mp4", b"\0\0\0\x10ftypisom\0\0\0\0", "video.corrupt"),
    ],
)
def test_files_that_are_no_videos(tmp_path: Path, name: str, data: bytes | None, code: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadVideo) as caught:
        open_video_file(tmp_path / name)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("limits", "code", "value"),
    [
        (VideoLimits(max_bytes=1000), "video.too_large", "1000"),
        (VideoLimits(max_frames=39), "video.too_many_frames", "39"),
        (VideoLimits(max_pixels=96 * 127), "video.too_many_pixels", "128 x 96"),
    ],
)
def test_limits(tmp_path: Path, limits: VideoLimits, code: str, value: str) -> None:
    with pytest.raises(BadVideo, match=value) as caught:
        open_video_file(write_clip(tmp_path / "h264.mp4", COUNT), limits)
    assert caught.value.code == code


def test_limits_at_their_edge(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "h264.mp4", COUNT)
    exact = VideoLimits(max_bytes=path.stat().st_size, max_frames=COUNT, max_pixels=96 * 128)
    with open_video_file(path, exact) as video:
        assert video.count == COUNT


def test_codecs_that_are_not_allowed(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "old.avi", 5, codec="huffyuv", pix_fmt="yuv422p")
    with pytest.raises(BadVideo, match="huffyuv") as caught:
        open_video_file(path)
    assert caught.value.code == "video.unsupported"


def test_limits_are_positive() -> None:
    with pytest.raises(BadOption, match="max_frames"):
        VideoLimits(max_frames=0)


def test_without_pyav_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "h264.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(MissingRuntime, match="PyAV"):
        open_video_file(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_without_permission(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "h264.mp4", 2)
    path.chmod(0)
    with pytest.raises(BadVideo) as caught:
        open_video_file(path)
    assert caught.value.code == "video.unreadable"


def test_many_frames_are_quick_to_count(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "many.mp4", 3000, size=(48, 64), options={"preset": "ultrafast", "g": "250"})
    with open_video_file(path) as video:
        assert (video.count, video.counted_by_decoding) == (3000, False)
        for index in (2999, 0, 1777, 1776, 1500):
            assert number_in(video.frame(index)) == index
        assert video.index_at(2999 / 25) == 2999
