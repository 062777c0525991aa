"""A session of SAM 2's memory that was evicted comes back pixel by pixel; on the nano model with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from sam2_video_reference import randomised
from test_sam2_video_parity import nano_config

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from locara_label.engine import loading
from locara_label.engine.tracking import Session
from locara_label.engine.video_sessions import SessionBudget, VideoSessions
from locara_label.models.base import VideoModel
from locara_label.settings import Settings
from locara_label.types import Mask
from locara_label.video.opening import open_video_file
from tests.engine.edited import edited

__all__ = ["nano_config"]
pytestmark = [pytest.mark.parity, pytest.mark.slow]
FRAMES = 24


@pytest.fixture
def model(nano_config: object, tmp_path: Path) -> VideoModel:
    randomised(nano_config, tmp_path / "weights", 1, 0.3)
    settings = Settings(cache_dir=tmp_path / "cache", threads=2)
    return loading.load_video_model("sam2-mini", tmp_path / "weights", "cpu", settings=settings)


@pytest.fixture
def sessions() -> Iterator[VideoSessions]:
    made = VideoSessions(SessionBudget(open=1))
    yield made
    made.close()


def masks(session: Session) -> dict[tuple[int, int], Mask]:
    return {(number, frame): one.mask for number, track in session.tracks.items() for frame, one in track.found.items()}


def test_masks_come_back_pixel_by_pixel(sessions: VideoSessions, model: VideoModel, tmp_path: Path) -> None:
    path = write_clip(tmp_path, EVALUATION_SEED + 2, (192, 256), FRAMES, Fraction(25))
    key = sessions.start("me", model, lambda: open_video_file(path))
    with sessions.use("me", key) as session:
        edited(session, scale=2)
        before, held = masks(session), sessions.nbytes
    assert len(before) > 2 * FRAMES
    assert len({mask.counts for mask in before.values()}) > FRAMES
    for _ in range(2):
        other = sessions.start("me", model, lambda: open_video_file(path))
        assert sessions.view("me", key).evicted
        with sessions.use("me", key) as again:
            assert masks(again) == before
            assert sessions.nbytes == pytest.approx(held, rel=0.5)
        sessions.stop("me", other)
    assert sessions.counts.rebuilds == 2
