"""Sessions that stay open: what they may cost, and which of them make room."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import session_folders
from echo_video_model import EchoVideoModel, show
from session_folders import ME, Clip, Hand

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from locara_label.engine.loading import load_video_model
from locara_label.engine.video_sessions import VideoSessions
from locara_label.errors import BadOption, QueueFull
from locara_label.models.base import NO_LIMIT, Image, Limit
from locara_label.types import Box, Embedding, Point, Prompt
from locara_label.video.opening import open_video_file
from locara_label.video.video import Video

model, clip, hand = session_folders.model, session_folders.clip, session_folders.hand
make, sessions, lane = session_folders.make, session_folders.sessions, session_folders.lane


def test_the_longest_unused_makes_room(make: Callable[..., VideoSessions], hand: Hand, model: EchoVideoModel, clip: Clip) -> None:
    sessions = make(open=2)
    keys = []
    for hand.now in range(3):
        keys.append(sessions.start(ME, model, clip.open, free=clip.free))
    assert [sessions.view(ME, key).evicted for key in keys] == [True, False, False]
    hand.now = 5
    with sessions.use(ME, keys[0]):
        assert (sessions.open, sessions.counts.evictions, clip.freed) == (2, 2, 0)
    assert [sessions.view(ME, key).evicted for key in keys] == [False, True, False]


def test_one_in_use_is_never_evicted(make: Callable[..., VideoSessions], model: EchoVideoModel, clip: Clip) -> None:
    sessions = make(open=1)
    key = sessions.start(ME, model, clip.open)
    with sessions.use(ME, key) as session:
        with pytest.raises(QueueFull) as caught:
            sessions.start(ME, model, clip.open, free=clip.free)
        assert caught.value.retry_after_s >= 1
        assert (clip.freed, len(sessions)) == (1, 1)
        session.prompt(0, 1, show(1))
    sessions.start(ME, model, clip.open)


def test_more_than_are_known_are_refused(make: Callable[..., VideoSessions], model: EchoVideoModel, clip: Clip) -> None:
    sessions = make(known=2)
    keys = [sessions.start(ME, model, clip.open) for _ in range(2)]
    with pytest.raises(QueueFull):
        sessions.start(ME, model, clip.open)
    sessions.stop(ME, keys[0])
    sessions.start(ME, model, clip.open)


class Large(EchoVideoModel):
    """Has embeddings of 300 kB, two of which a session keeps."""

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        plain = super().encode(image, limit)
        return Embedding(plain.model, plain.picture, plain.size, (*plain.arrays, np.zeros(300_000, np.uint8)))


def test_the_bytes_make_room_too(make: Callable[..., VideoSessions], hand: Hand, clip: Clip) -> None:
    sessions, model = make(bytes=1_500_000), Large()
    keys = [sessions.start(ME, model, clip.open) for _ in range(3)]
    for hand.now, key in enumerate(keys, 1):
        with sessions.use(ME, key) as session:
            session.prompt(0, 1, show(1))
            session.prompt(1, 1, show(2))
    assert [sessions.view(ME, key).evicted for key in keys] == [True, False, False]
    assert 1_200_000 < sessions.nbytes < 1_500_000


def test_a_session_that_is_too_large_finds_no_more(make: Callable[..., VideoSessions], clip: Clip) -> None:
    sessions = make(bytes=500_000)
    key = sessions.start(ME, Large(), clip.open)
    with sessions.use(ME, key) as session:
        session.prompt(0, 1, show(1))
        assert next(session.propagate()).frame == 1
        with pytest.raises(BadOption) as caught:
            next(session.propagate())
        assert caught.value.code == "video.session_full"
        assert sorted(session.tracks[1].found) == [0, 1]


def test_what_people_said_has_a_bound_too(make: Callable[..., VideoSessions], model: EchoVideoModel, clip: Clip) -> None:
    sessions = make(bytes=100_000)
    keys = [sessions.start(ME, model, clip.open) for _ in range(4)]
    for key in keys[:3]:
        with sessions.use(ME, key) as session:
            session.prompt(0, 1, Prompt((Point(1, 1),), logits=np.zeros((100, 100), np.float32)))
    with pytest.raises(QueueFull), sessions.use(ME, keys[3]):
        pass
    sessions.stop(ME, keys[0])
    with sessions.use(ME, keys[3]):
        pass


@pytest.mark.slow
def test_bytes_are_counted_honestly(tmp_path: Path) -> None:
    """What a session says that it holds is what Python has given out for it, more or less."""
    path = write_clip(tmp_path, EVALUATION_SEED, (96, 128), 60, Fraction(25))
    video, following = open_video_file(path), load_video_model("classic")
    sessions = VideoSessions()
    try:
        key = sessions.start(ME, following, lambda: video)
        empty = sessions.nbytes
        tracemalloc.start()
        with sessions.use(ME, key) as session:
            for number in range(1, 9):
                session.prompt(0, number, Prompt(box=Box(10 * number, 10, 10 * number + 30, 60)))
            before = tracemalloc.get_traced_memory()[0]
            said = sessions.nbytes
            list(session.propagate())
            grown, counted = tracemalloc.get_traced_memory()[0] - before, sessions.nbytes - said
        assert said > empty
        assert 0.5 * grown < counted < 2 * grown
    finally:
        tracemalloc.stop()
        sessions.close()


def test_evicted_decoders_are_gone(make: Callable[..., VideoSessions], tmp_path: Path) -> None:
    path, opened = write_clip(tmp_path, EVALUATION_SEED, (64, 64), 5, Fraction(25)), []

    def opener() -> Video:
        opened.append(open_video_file(path))
        return opened[-1]

    sessions, model = make(open=1), load_video_model("classic")
    sessions.start(ME, model, opener)
    pid = opened[0].source.pid
    os.kill(pid, 0)
    sessions.start(ME, model, opener)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
