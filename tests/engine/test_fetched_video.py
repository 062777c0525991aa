"""A video behind an address, or at a time: fetched within the rules, and nothing is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from fixtures.clips import clip_ticks
from fixtures.scenes import EVALUATION_SEED, make_clip
from locara_label import open_video
from locara_label.engine.fetched_video import is_address, open_reference
from locara_label.errors import BadOption, BadVideo, FetchFailed, NotAllowed
from locara_label.fetch import Rules
from locara_label.types import Box, Prompt
from locara_label.video.limits import VideoLimits
from locara_label.video.writing import write_video
from tests.answering import answering

FRAMES, RATE = 8, Fraction(10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames at 0, 0.1, 0.2, 0.4, 0.5, 0.8 ... seconds."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    pictures = (frame.image for frame in make_clip(EVALUATION_SEED, FRAMES, (64, 96)).frames)
    write_video(path, pictures, RATE, ticks=clip_ticks(FRAMES, vfr=True))
    return path


@pytest.fixture
def served(clip: Path) -> Iterator[str]:
    """The address of the clip; /none is not there, /text is no video."""
    files = {"/clip.mp4": clip.read_bytes(), "/text": b"no video at all"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.split("?")[0])
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def granting(address: str, **more: object) -> Rules:
    host = address.removeprefix("http://")
    return Rules(allowed_hosts=(host,), allow_private=(host,), **more)  # type: ignore[arg-type]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "kept"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_an_address_is_fetched_and_leaves_no_file(served: str, clip: Path, kept: Path) -> None:
    with open_video(f"{served}/clip.mp4?token=1", rules=granting(served)) as session, open_video(str(clip)) as here:
        assert list(kept.iterdir()) == []
        assert session.video.count == FRAMES
        assert np.array_equal(session.video.frame(3), here.video.frame(3))
        assert (
            session.prompt(3, 1, Prompt(box=Box(10, 10, 60, 50))).mask == here.prompt(3, 1, Prompt(box=Box(10, 10, 60, 50))).mask
        )


def test_the_grants_are_those_of_the_settings(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotAllowed) as error:
        open_reference(f"{served}/clip.mp4")
    assert error.value.code == "fetch.not_allowed"
    host = served.removeprefix("http://")
    monkeypatch.setenv("LOCARA_CAPABILITIES__HOSTS", f'["{host}"]')
    with pytest.raises(NotAllowed) as error:
        open_reference(f"{served}/clip.mp4")
    assert error.value.code == "fetch.private_address"
    monkeypatch.setenv("LOCARA_CAPABILITIES__PRIVATE", f'["{host}"]')
    with open_reference(f"{served}/clip.mp4") as video:
        assert video.count == FRAMES


def test_refusals_leave_no_file(served: str, clip: Path, kept: Path) -> None:
    with pytest.raises(FetchFailed) as missing:
        open_reference(f"{served}/none", rules=granting(served))
    assert missing.value.code == "fetch.not_found"
    with pytest.raises(BadVideo) as unknown:
        open_reference(f"{served}/text", rules=granting(served))
    assert unknown.value.code == "video.unknown_format"
    for limits, rules in (
        (VideoLimits(max_bytes=clip.stat().st_size - 1), granting(served)),
        (VideoLimits(), granting(served, max_bytes=100)),
    ):
        with pytest.raises(BadVideo) as large:
            open_reference(f"{served}/clip.mp4", limits, rules)
        assert large.value.code == "video.too_large"
    assert list(kept.iterdir()) == []


def test_a_file_address_needs_a_grant_and_a_path_needs_none(clip: Path) -> None:
    with pytest.raises(NotAllowed):
        open_reference(f"file://{clip}", rules=Rules())
    with open_reference(f"file://{clip}", rules=Rules(roots=(clip.parent,))) as video:
        assert video.count == FRAMES
    with open_reference(clip, rules=Rules()) as video:
        assert video.count == FRAMES


@pytest.mark.parametrize("reference", ["ftp://host/clip.mp4", "s3://bucket/clip.mp4", "gopher://clip"])
def test_other_schemes_are_not_read(reference: str) -> None:
    with pytest.raises(NotAllowed):
        open_reference(reference, rules=Rules(allowed_hosts=("*",)))


def test_what_is_an_address() -> None:
    assert all(is_address(text) for text in ("http://a/b", "HTTPS://a", "file:///a", "s3://a/b"))
    assert not any(
        is_address(text) for text in ("a.mp4", "/a/b:c.mp4", "C:\\clip.mp4", Path("http://a/b"), "a:b", "data:video/mp4,a")
    )


def test_a_time_is_the_frame_that_is_shown_then(clip: Path) -> None:
    with open_video(clip) as session:
        times = session.video.times_s
        assert np.allclose(times, [0, 0.1, 0.2, 0.4, 0.5, 0.8, 0.9, 1.0])
        asked = [0, 0.05, 0.1, 0.399, 0.4, 0.79, float(times[5]), 5.0]
        assert [session.frame_at(time_s) for time_s in asked] == [0, 0, 1, 2, 3, 4, 5, 7]
        box = Prompt(box=Box(10, 10, 60, 50))
        found = session.prompt(time_s=0.45, object_id=1, prompt=box)
        assert (list(session.tracks[1].prompts), session.prompt(3, 2, box).mask) == ([3], found.mask)
        with pytest.raises(BadOption) as error:
            session.frame_at(float("inf"))
        assert error.value.code == "option.range"
