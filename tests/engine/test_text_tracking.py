"""Text prompts on a video: which object a detection is, and what a session makes of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from box_video_model import BoxVideoModel, filled
from echo_video_model import SIZE, folder
from scripted_text_model import ScriptedTextModel

from locara_label.engine import tracking
from locara_label.engine.text_tracking import Followed, match
from locara_label.engine.tracking import Session
from locara_label.errors import BadOption, BadPrompt, DeadlineExceeded, UnknownModel
from locara_label.models.base import Limit
from locara_label.types import Box, Grounded, Mask, Prompt, TextPrompt
from locara_label.video.opening import open_video_file

FRAMES = 12
LEFT, MIDDLE, RIGHT = Box(0, 0, 6, 5), Box(10, 0, 16, 5), Box(24, 0, 30, 5)
MODEL, SCRIPT = BoxVideoModel, dict[int, list[tuple[str, Box]]]


def seen(phrase: str | None, box: Box, last: Box | None = None) -> Followed:
    return Followed(phrase, filled(box, SIZE), last or box)


def gone(phrase: str | None, last: Box | None) -> Followed:
    return Followed(phrase, None, last)


def spot(phrase: str, box: Box, score: float = 0.8) -> Grounded:
    return Grounded(phrase, box, score, filled(box, SIZE), 0.9)


def test_a_detection_is_the_object_of_its_phrase_that_it_overlaps() -> None:
    found = match({4: seen("ring", LEFT), 7: seen("ring", RIGHT)}, [spot("ring", Box(23, 0, 30, 5)), spot("ring", LEFT)])
    assert (found.confirmed, found.known, found.back, found.fresh) == ({0: 7, 1: 4}, {}, {}, [])


def test_the_best_pair_comes_first_and_each_object_has_one_detection() -> None:
    exact, near = spot("ring", LEFT, 0.4), spot("ring", Box(1, 0, 7, 5), 0.9)
    found = match({1: seen("ring", LEFT)}, [near, exact])
    assert (found.confirmed, found.back, found.fresh) == ({1: 1}, {}, [])


def test_pairs_are_one_to_one_where_masks_of_objects_overlap() -> None:
    followed = {1: seen("ring", Box(0, 0, 10, 5)), 2: seen("ring", Box(2, 0, 12, 5))}
    found = match(followed, [spot("ring", Box(0, 0, 9, 5)), spot("ring", Box(1, 0, 11, 5))])
    assert found.confirmed == {0: 1, 1: 2}


def test_too_little_overlap_is_another_object() -> None:
    assert match({1: seen("ring", LEFT)}, [spot("ring", Box(4, 0, 10, 5))]).fresh == [0]


def test_a_larger_mask_over_an_object_of_the_phrase_is_a_duplicate_and_over_another_is_not() -> None:
    wide = spot("ring", Box(0, 0, 20, 5))
    assert match({1: seen("ring", LEFT)}, [wide]).fresh == []
    assert match({1: seen("bar", LEFT)}, [wide]).fresh == [0]


@pytest.mark.parametrize("phrase", [None, "bar"])
def test_what_another_phrase_or_a_person_showed_is_known_and_no_new_object(phrase: str | None) -> None:
    found = match({3: seen(phrase, LEFT)}, [spot("ring", LEFT), spot("ring", Box(1, 0, 6, 5))])
    assert (found.confirmed, found.known, found.back, found.fresh) == ({}, {0: 3}, {}, [])


def test_objects_of_the_phrase_come_before_others() -> None:
    followed = {1: seen("bar", LEFT), 2: seen("ring", Box(0, 0, 5, 5))}
    assert match(followed, [spot("ring", LEFT)]).confirmed == {0: 2}


def test_an_object_out_of_sight_is_back_where_its_phrase_is_found_anew() -> None:
    followed = {1: gone("ring", LEFT), 2: gone("ring", RIGHT), 3: gone("bar", MIDDLE), 4: gone(None, MIDDLE)}
    found = match(followed, [spot("ring", MIDDLE), spot("ring", RIGHT)])
    assert (found.back, found.fresh) == ({0: 1, 1: 2}, [])


def test_one_that_was_never_in_sight_does_not_come_back() -> None:
    assert match({1: gone("ring", None)}, [spot("ring", LEFT)]).fresh == [0]


def test_new_objects_come_best_first_and_once() -> None:
    found = match(
        {}, [spot("ring", LEFT, 0.5), spot("ring", RIGHT, 0.7), spot("ring", Box(1, 0, 6, 5), 0.4), spot("bar", LEFT, 0.3)]
    )
    assert found.fresh == [1, 0, 3]


def test_nothing_is_nothing() -> None:
    found = match({1: seen("ring", LEFT)}, [])
    assert (found.confirmed, found.known, found.back, found.fresh) == ({}, {}, {}, [])


@pytest.fixture
def model() -> BoxVideoModel:
    return BoxVideoModel()


@pytest.fixture
def texts() -> ScriptedTextModel:
    return ScriptedTextModel({})


@pytest.fixture
def session(tmp_path: Path, model: BoxVideoModel, texts: ScriptedTextModel) -> Iterator[Session]:
    with Session(open_video_file(folder(tmp_path / "clip", FRAMES), folder_rate=4), model, texts) as session:
        yield session


def area(session: Session, number: int, frame: int) -> Mask:
    return session.tracks[number].found[frame].mask


def test_a_text_gives_its_objects_at_once(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {2: [("red ring", LEFT), ("bar", RIGHT)]}
    found = session.prompt(2, text="Red ring . bar")
    assert {number: one.mask for number, one in found.items()} == {1: filled(LEFT, SIZE), 2: filled(RIGHT, SIZE)}
    assert [track.label for track in session.tracks.values()] == ["red ring", "bar"]
    assert all(one.prompted and one.present for one in found.values())
    assert all(track.by_text == {2} for track in session.tracks.values())
    steps = list(session.propagate("both"))
    assert [step.frame for step in steps] == [*range(3, FRAMES), 1, 0]
    assert all(sorted(step.objects) == [1, 2] for step in steps)


def test_a_text_at_a_time_and_as_a_list(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {3: [("ring", LEFT)]}
    assert list(session.prompt(time_s=0.8, text=["ring", "bar"])) == [1]
    assert texts.asked == [(3, ("ring", "bar"))]
    assert session.prompt(3, text=TextPrompt(("bar",))) == {}


def test_phrases_that_have_found_an_object(session: Session, texts: ScriptedTextModel) -> None:
    """Also one that a person showed, or that another phrase found first."""
    texts.script = {0: [("ring", LEFT)], 2: [("round thing", LEFT), ("bar", RIGHT)]}
    session.prompt(0, text="ring")
    session.prompt(2, 2, Prompt(box=RIGHT))
    assert (session.phrases(1), session.phrases(2)) == ({"ring"}, frozenset())
    list(session.propagate(max_frames=2))
    session.prompt(2, text="round thing. bar")
    assert (session.phrases(1), session.phrases(2)) == ({"ring", "round thing"}, {"bar"})
    session.remove(1)
    assert session.phrases(1) == frozenset()


def test_a_text_finds_what_is_followed_already(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {0: [("ring", LEFT)], 4: [("ring", LEFT), ("bar", RIGHT)]}
    session.prompt(0, text="ring")
    session.prompt(0, 8, Prompt(box=RIGHT))
    list(session.propagate())
    before = dict(session.tracks[8].found)
    assert sorted(session.prompt(4, text="ring . bar")) == [1, 8]
    assert list(session.tracks) == [1, 8]
    assert (session.tracks[1].label, session.tracks[8].label) == ("ring", None)
    assert session.tracks[8].found == before
    assert session.tracks[1].by_text == {0}


def test_nothing_found_is_an_empty_answer_and_changes_nothing(session: Session, model: BoxVideoModel) -> None:
    assert session.prompt(0, text="ring") == {}
    assert (session.tracks, model.steps) == ({}, [])


def test_an_object_that_comes_later_is_found_by_asking_again(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {0: [("ring", LEFT)], 4: [("ring", LEFT), ("ring", RIGHT)], 8: [("ring", RIGHT), ("ring", LEFT)]}
    session.prompt(0, text="ring")
    steps = [(step.frame, sorted(step.objects)) for step in session.propagate("both", redetect=4)]
    forward = [(at, [1] if at < 4 else [1, 2]) for at in range(1, FRAMES)]
    assert steps == [*forward, *((at, [2]) for at in (3, 2, 1, 0))]
    assert [frame for frame, _ in texts.asked] == [0, 4, 8]
    assert (list(session.tracks[2].prompts), session.tracks[2].label) == ([4], "ring")


def test_frames_are_asked_on_once_and_again_for_more_words(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {0: [("ring", LEFT)]}
    session.prompt(0, text="ring")
    list(session.propagate(redetect=5))
    assert list(session.propagate(redetect=5)) == []
    assert [frame for frame, _ in texts.asked] == [0, 5, 10]
    session.prompt(0, text="bar")
    list(session.propagate(redetect=5))
    assert texts.asked[3:] == [(0, ("bar",)), (0, ("ring", "bar")), (5, ("ring", "bar")), (10, ("ring", "bar"))]


def test_asking_again_keeps_to_the_stride_and_to_the_run(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {0: [("ring", LEFT)]}
    session.prompt(0, text="ring")
    list(session.propagate(redetect=5, stride=2, max_frames=3))
    assert [frame for frame, _ in texts.asked] == [0, 4]


def test_a_run_can_begin_with_nothing_found(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {6: [("ring", LEFT)]}
    assert session.prompt(0, text="ring") == {}
    steps = {step.frame: sorted(step.objects) for step in session.propagate(redetect=3)}
    assert steps == {at: [1] for at in range(6, FRAMES)}


def test_an_object_that_was_lost_is_shown_anew_under_its_number(
    session: Session, model: BoxVideoModel, texts: ScriptedTextModel
) -> None:
    texts.script = {0: [("ring", LEFT)], 6: [("ring", RIGHT)]}
    model.hidden = {4, 5, 6}
    session.prompt(0, text="ring")
    list(session.propagate(redetect=6))
    assert list(session.tracks) == [1]
    assert area(session, 1, 6) == area(session, 1, 11) == filled(RIGHT, SIZE)
    assert (session.tracks[1].found[5].present, session.tracks[1].by_text) == (False, {0, 6})


def test_a_mask_of_a_low_score_is_shown_anew_and_a_good_one_is_not(
    session: Session, model: BoxVideoModel, texts: ScriptedTextModel
) -> None:
    close = Box(1, 0, 6, 5)
    texts.script = {0: [("ring", LEFT)], 4: [("ring", close)], 8: [("ring", LEFT)]}
    model.scores = {4: 0.2}
    session.prompt(0, text="ring")
    list(session.propagate(redetect=4))
    assert session.tracks[1].by_text == {0, 4}
    assert area(session, 1, 5) == area(session, 1, 8) == filled(close, SIZE)


def test_what_a_person_showed_or_locked_stays(session: Session, model: BoxVideoModel, texts: ScriptedTextModel) -> None:
    texts.script = {0: [("ring", LEFT)], 4: [("ring", RIGHT)], 8: [("ring", RIGHT)]}
    nothing = Mask.from_array(np.zeros(SIZE, bool))
    session.prompt(0, text="ring")
    session.prompt(4, 1, Prompt(mask=nothing))
    list(session.propagate(max_frames=3))
    model.scores = {8: 0.1}
    list(session.propagate("forward", start=8, max_frames=1))
    session.lock(8, 1)
    list(session.propagate(redetect=4))
    assert (area(session, 1, 4), session.tracks[1].by_text) == (nothing, {0})
    assert area(session, 1, 8) == nothing
    assert 8 in session.tracks[1].locked


def test_a_person_s_prompt_takes_the_place_of_a_text_s(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {0: [("ring", LEFT)]}
    session.prompt(0, text="ring")
    session.prompt(0, 1, Prompt(box=MIDDLE))
    assert (session.tracks[1].by_text, session.tracks[1].label) == (set(), "ring")
    assert area(session, 1, 0) == filled(MIDDLE, SIZE)


def test_a_locked_answer_of_a_text_is_a_person_s(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {0: [("ring", LEFT)]}
    session.prompt(0, text="ring")
    session.lock(0, 1)
    assert (session.tracks[1].by_text, session.tracks[1].locked) == (set(), {0})


def test_more_objects_than_a_session_has_are_left_out_and_told(
    session: Session, texts: ScriptedTextModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "MAX_OBJECTS", 2)
    texts.script = {0: [("ring", RIGHT), ("ring", LEFT), ("bar", MIDDLE)]}
    with caplog.at_level(logging.WARNING, "locara_label.tracking"):
        assert len(session.prompt(0, text="ring . bar")) == 2
    assert "1 objects on frame 0 left out" in caplog.text


def test_a_cancelled_text_changes_nothing(session: Session, texts: ScriptedTextModel) -> None:
    texts.script = {0: [("ring", LEFT)]}
    with pytest.raises(DeadlineExceeded):
        session.prompt(0, text="ring", limit=Limit(deadline_s=0))
    assert (session.tracks, texts.asked) == ({}, [])


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"frame": 0, "text": "ring", "object_id": 1}, "prompt.mixed"),
        ({"frame": 0, "text": "ring", "prompt": Prompt(box=LEFT)}, "prompt.mixed"),
        ({"frame": 0, "object_id": 1}, "prompt.mixed"),
        ({"frame": 0, "prompt": Prompt(box=LEFT)}, "prompt.mixed"),
        ({"frame": 0}, "prompt.mixed"),
        ({"frame": 0, "text": ""}, "prompt.empty"),
        ({"frame": 0, "text": " . "}, "prompt.empty"),
        ({"frame": 0, "text": 5}, "prompt.text"),
        ({"frame": FRAMES, "text": "ring"}, "option.range"),
        ({"text": "ring"}, "option.range"),
        ({"frame": 0, "time_s": 0.0, "text": "ring"}, "option.range"),
        ({"time_s": float("nan"), "text": "ring"}, "option.range"),
        ({"frame": 0.5, "text": "ring"}, "option.range"),
    ],
)
def test_wrong_prompts(session: Session, texts: ScriptedTextModel, wrong: dict[str, object], code: str) -> None:
    texts.script = {0: [("ring", LEFT)]}
    with pytest.raises((BadPrompt, BadOption)) as error:
        session.prompt(**wrong)  # type: ignore[call-overload]
    assert error.value.code == code
    assert session.tracks == {}


def test_asking_again_needs_a_text_and_a_number(session: Session) -> None:
    session.prompt(0, 1, Prompt(box=LEFT))
    with pytest.raises(BadOption) as error:
        session.propagate(redetect=5)
    assert error.value.code == "option.redetect"
    session.prompt(0, text="ring")
    with pytest.raises(BadOption) as error:
        session.propagate(redetect=0)
    assert error.value.code == "option.range"


def test_a_text_model_is_loaded_when_it_is_needed(tmp_path: Path, model: BoxVideoModel) -> None:
    with Session(open_video_file(folder(tmp_path / "clip", 2)), model, "no-such-model") as session:
        session.prompt(0, 1, Prompt(box=LEFT))
        with pytest.raises(UnknownModel):
            session.prompt(0, text="ring")
