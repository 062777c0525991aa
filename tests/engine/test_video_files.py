"""Videos in private files: fetched within limits, counted, and gone when they are freed."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from locara_label.engine import video_files
from locara_label.engine.video_files import VideoFiles
from locara_label.errors import BadVideo, Cancelled, FetchFailed, NotAllowed, QueueFull
from locara_label.fetch import Rules
from locara_label.runtime.session import Stop
from locara_label.video.limits import VideoLimits


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "granted").mkdir()
    return write_clip(tmp_path / "granted", EVALUATION_SEED, (64, 64), 5, Fraction(25))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def files(clip: Path, home: Path) -> Iterator[VideoFiles]:
    made = VideoFiles(Rules(roots=(clip.parent,), max_bytes=100), VideoLimits(), 3 * clip.stat().st_size - 1, 60)
    yield made
    made.close()
    assert list(home.rglob("*")) == []


def test_a_file_is_private_and_opens_again_and_again(files: VideoFiles, clip: Path) -> None:
    file = files.fetch(str(clip))
    clip.unlink()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    for _ in range(2):
        with file.open() as video:
            assert video.count == 5
    file.free()
    file.free()
    assert (file.path.exists(), files.nbytes) == (False, 0)


def test_the_files_together_have_a_limit(files: VideoFiles, clip: Path) -> None:
    size = clip.stat().st_size
    first, second = (files.fetch(str(clip)) for _ in range(2))
    assert files.nbytes == 2 * size
    with pytest.raises(QueueFull):
        files.fetch(str(clip))
    assert files.nbytes == 2 * size
    first.free()
    files.fetch(str(clip))
    second.free()


def test_what_may_not_be_read_leaves_nothing(files: VideoFiles, clip: Path, tmp_path: Path, home: Path) -> None:
    files.fetch(str(clip)).free()
    stop = Stop()
    stop.set()
    with pytest.raises(NotAllowed):
        files.fetch(str(tmp_path / "other.mp4"))
    with pytest.raises(FetchFailed):
        files.fetch(str(clip.parent / "none.mp4"))
    with pytest.raises(Cancelled):
        files.fetch(str(clip), stop)
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert files.nbytes == 0


def test_one_that_is_too_large_is_a_bad_video(clip: Path, home: Path) -> None:
    files = VideoFiles(Rules(roots=(clip.parent,)), VideoLimits(max_bytes=clip.stat().st_size - 1), 1 << 30, 60)
    with pytest.raises(BadVideo) as caught:
        files.fetch(str(clip))
    files.close()
    assert (caught.value.code, list(home.rglob("*"))) == ("video.too_large", [])


def test_a_full_disk_is_a_failed_fetch(files: VideoFiles, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video_files.Coming, "write", full)
    with pytest.raises(FetchFailed) as caught:
        files.fetch(str(clip))
    assert "No space left on device" in caught.value.message
