"""Sessions on folders of pictures, in time that is set by hand, and what they know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from echo_video_model import EchoVideoModel, folder

from locara_label.engine.lanes import Lane
from locara_label.engine.tracking import Session
from locara_label.engine.video_sessions import SessionBudget, VideoSessions
from locara_label.types import Mask
from locara_label.video.opening import open_video_file
from locara_label.video.video import Video

FRAMES = 10
ME, YOU = "me", "you"


class Clip:
    """A folder of pictures that counts how often it is opened and freed."""

    def __init__(self, path: Path) -> None:
        self.path = folder(path, FRAMES)
        self.opened: list[Video] = []
        self.freed = 0

    def open(self) -> Video:
        self.opened.append(open_video_file(self.path))
        return self.opened[-1]

    def free(self) -> None:
        self.freed += 1


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def model() -> EchoVideoModel:
    return EchoVideoModel()


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return Clip(tmp_path / "clip")


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def make(hand: Hand) -> Iterator[Callable[..., VideoSessions]]:
    made: list[VideoSessions] = []

    def sessions(**budget: float) -> VideoSessions:
        made.append(VideoSessions(SessionBudget(**budget), clock=hand))  # type: ignore[arg-type]
        return made[-1]

    yield sessions
    for one in made:
        one.close()


@pytest.fixture
def sessions(make: Callable[..., VideoSessions]) -> VideoSessions:
    return make()


def masks(session: Session) -> dict[int, dict[int, tuple[Mask, float, bool, bool]]]:
    return {
        number: {frame: (one.mask, one.score, one.present, one.prompted) for frame, one in track.found.items()}
        for number, track in session.tracks.items()
    }


def told(session: Session) -> list[object]:
    """What a session knows beside masks."""
    return [
        (number, track.prompts, track.locked, track.stale, track.ways, track.label, track.by_text)
        for number, track in session.tracks.items()
    ]


@pytest.fixture
def lane() -> Iterator[Lane]:
    made = Lane("device", 1, 2)
    yield made
    made.close()
