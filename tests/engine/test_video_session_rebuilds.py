"""Sessions that were evicted: they come back as they were."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import session_folders
from echo_text_model import EchoTextModel
from echo_video_model import EchoVideoModel, show
from edited import edited
from session_folders import FRAMES, ME, Clip, masks, told

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from locara_label.engine.loading import load_video_model
from locara_label.engine.video_recipe import Recorded
from locara_label.engine.video_sessions import VideoSessions
from locara_label.errors import BadOption, DeadlineExceeded, UnknownModel
from locara_label.models.base import NO_LIMIT, Image, Limit, VideoModel
from locara_label.types import Embedding, Prompt
from locara_label.video.opening import open_video_file

model, clip, hand = session_folders.model, session_folders.clip, session_folders.hand
make, sessions, lane = session_folders.make, session_folders.sessions, session_folders.lane


def worked(session: Recorded) -> None:
    """All that can happen in a session of `model`, in an order that matters."""
    session.prompt(3, 1, show(11))
    list(session.propagate("both", max_frames=3))
    session.prompt(5, 1, show(12))
    session.prompt(6, 2, show(13))
    steps = session.propagate("forward", stride=2)
    next(steps)
    steps.close()
    session.label(2, "ring")
    session.lock(6, 1)
    session.prompt(2, 3, Prompt(mask=session.tracks[1].found[2].mask))
    session.remove(3)
    list(session.propagate("backward"))
    session.unlock(6, 1)
    session.prompt(6, 1, show(14))


def test_after_an_eviction_everything_is_as_it_was(make: Callable[..., VideoSessions], model: EchoVideoModel, clip: Clip) -> None:
    sessions = make(open=1)
    key = sessions.start(ME, model, clip.open, free=clip.free)
    with sessions.use(ME, key) as session:
        worked(session)
        before, knew, view = masks(session), told(session), sessions.view(ME, key).objects
        events = list(session.recipe.events)
    sessions.start(ME, model, clip.open)
    assert sessions.view(ME, key).evicted
    assert sessions.view(ME, key).objects == view
    with sessions.use(ME, key) as again:
        assert again is not session
        assert (masks(again), told(again)) == (before, knew)
        assert again.recipe.events == events
        more = [step.frame for step in again.propagate()]
    assert more == [7, 8, 9]
    assert (sessions.counts.rebuilds, clip.freed) == (1, 0)


def test_texts_are_not_asked_again_for_a_rebuild(make: Callable[..., VideoSessions], tmp_path: Path) -> None:
    sessions, words = make(open=1), EchoTextModel()
    path = write_clip(tmp_path, EVALUATION_SEED, (96, 128), 8, Fraction(25))
    opener, following = (lambda: open_video_file(path)), load_video_model("classic")
    key = sessions.start(ME, following, opener, text_model=words)
    with sessions.use(ME, key) as session:
        assert len(session.prompt(0, text="at 10 10 60 60. at 70 20 110 80")) == 2
        list(session.propagate(redetect=3))
        before, knew, asked = masks(session), told(session), len(words.asked)
    sessions.start(ME, following, opener)
    with sessions.use(ME, key) as again:
        assert (masks(again), told(again)) == (before, knew)
        assert len(words.asked) == asked
        with pytest.raises(BadOption):
            next(again.propagate(redetect=0))
        assert list(again.propagate(redetect=3)) == []


def test_the_recipe_is_small_and_ends_with_the_last_object(sessions: VideoSessions, model: EchoVideoModel, clip: Clip) -> None:
    key = sessions.start(ME, model, clip.open)
    with sessions.use(ME, key) as session:
        session.prompt(0, 1, show(1))
        list(session.propagate(stride=3))
        list(session.propagate())
        assert len(session.recipe.events) == 5  # the frames 3, 6, 9; 1 and 2; 4 and 5; 7 and 8, and the prompt
        assert session.recipe.nbytes < 2000
        session.remove(1)
        assert (session.recipe.events, session.recipe.nbytes) == ([], 0)


class Failing(EchoVideoModel):
    """Fails on the pictures that it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[int] = set()

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        if int(image[0, 0, 0]) in self.failing:
            raise DeadlineExceeded("too slow")
        return super().encode(image, limit)


def test_a_rebuild_that_failed_goes_on_where_it_was(make: Callable[..., VideoSessions], clip: Clip) -> None:
    sessions, model = make(open=1), Failing()
    key = sessions.start(ME, model, clip.open)
    with sessions.use(ME, key) as session:
        session.prompt(0, 1, show(1))
        list(session.propagate())
        before = masks(session)
    sessions.start(ME, model, clip.open)
    model.failing, model.steps = {6}, []
    for _ in range(3):
        with pytest.raises(DeadlineExceeded), sessions.use(ME, key):
            pass
    assert [frame for frame, _, _ in model.steps] == [0, 1, 2, 3, 4, 5]
    assert sessions.view(ME, key).objects[1].found == FRAMES
    model.failing = set()
    with sessions.use(ME, key) as session:
        assert masks(session) == before
    assert [frame for frame, _, _ in model.steps] == list(range(FRAMES))


@pytest.fixture(params=["classic", "sam2-mini"])
def real_model(request: pytest.FixtureRequest) -> VideoModel:
    try:
        return load_video_model(request.param)
    except UnknownModel:
        pytest.skip(f"{request.param} has no memory here")


@pytest.mark.slow
def test_masks_of_real_models_come_back_pixel_by_pixel(
    make: Callable[..., VideoSessions], real_model: VideoModel, tmp_path: Path
) -> None:
    path = write_clip(tmp_path, EVALUATION_SEED + 2, (96, 128), 24, Fraction(25), vfr=True)
    sessions, opener = make(open=1), lambda: open_video_file(path)
    key = sessions.start(ME, real_model, opener)
    with sessions.use(ME, key) as session:
        edited(session)
        before = masks(session)
    assert sum(len(of) for of in before.values()) > 50
    for _ in range(2):
        other = sessions.start(ME, real_model, opener)
        assert sessions.view(ME, key).evicted
        with sessions.use(ME, key) as again:
            assert masks(again) == before
        sessions.stop(ME, other)
    with sessions.use(ME, key) as again:
        after = [masks(again) for _ in again.propagate()][-1]
    assert {frame for of in after.values() for frame in of} == set(range(24))
