"""Objects through a video: what is found, what is kept, and what is found again."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from echo_video_model import SIZE, EchoVideoModel, Said, folder, show

from locara_label.engine.tracking import MAX_OBJECTS, Session, Step, Track
from locara_label.errors import BadOption, BadPrompt, Cancelled, DeadlineExceeded
from locara_label.models.base import Limit
from locara_label.models.video_memory import BACKWARD, FORWARD
from locara_label.runtime.session import Stop
from locara_label.types import Mask, Prompt
from locara_label.video.opening import open_video_file

FRAMES = 10
T = TypeVar("T")


@pytest.fixture
def model() -> EchoVideoModel:
    return EchoVideoModel()


@pytest.fixture
def session(tmp_path: Path, model: EchoVideoModel) -> Iterator[Session]:
    with Session(open_video_file(folder(tmp_path / "clip", FRAMES), folder_rate=5), model) as session:
        yield session


def frames(steps: Iterator[Step]) -> list[int]:
    return [step.frame for step in steps]


def said(session: Session, frame: int, number: int) -> Said:
    return Said.of(session.tracks[number].found[frame].mask)


def test_a_prompt_is_answered_at_once(session: Session, model: EchoVideoModel) -> None:
    found = session.prompt(3, 7, show(11))
    assert Said.of(found.mask) == Said((11,), 3, 3, (3,), ())
    assert (found.prompted, found.present, found.score, found.pointer) == (True, True, 0.5, np.float32(11))
    assert model.steps == [(3, FORWARD, 1)]


def test_two_objects_of_a_frame_share_its_encoding(session: Session, model: EchoVideoModel) -> None:
    session.prompt(3, 1, show(11))
    session.prompt(3, 2, show(12))
    list(session.propagate())
    assert model.encoded == list(range(3, FRAMES))
    assert model.steps[2:] == [(frame, FORWARD, 2) for frame in range(4, FRAMES)]


def test_forward_from_the_prompt_to_the_end(session: Session) -> None:
    session.prompt(3, 1, show(11))
    steps = list(session.propagate())
    assert [(step.frame, step.time_s) for step in steps] == [(frame, frame / 5) for frame in range(4, FRAMES)]
    assert all(list(step.objects) == [1] and not step.objects[1].prompted for step in steps)
    assert Said.of(steps[-1].objects[1].mask) == Said((11,), 9, 9, (3,), (4, 5, 6, 7, 8))
    assert frames(session.propagate()) == []


def test_backward_from_the_prompt_to_the_start(session: Session, model: EchoVideoModel) -> None:
    session.prompt(3, 1, show(11))
    assert frames(session.propagate("backward")) == [2, 1, 0]
    assert [direction for _, direction, _ in model.steps] == [FORWARD, BACKWARD, BACKWARD, BACKWARD]
    assert sorted(session.tracks[1].found) == [0, 1, 2, 3]


def test_both_ways_give_every_frame_once(session: Session, model: EchoVideoModel) -> None:
    session.prompt(7, 1, show(11))
    assert frames(session.propagate("both")) == [8, 9, 6, 5, 4, 3, 2, 1, 0]
    assert len(model.steps) == FRAMES


def test_max_frames_and_the_run_goes_on_from_there(session: Session) -> None:
    session.prompt(0, 1, show(11))
    assert frames(session.propagate(max_frames=4)) == [1, 2, 3, 4]
    assert frames(session.propagate(max_frames=4)) == [5, 6, 7, 8]
    session.prompt(9, 2, show(12))
    assert frames(session.propagate("both", max_frames=1)) == [9, 8]


def test_a_repeated_run_keeps_its_stride(session: Session) -> None:
    session.prompt(0, 1, show(11))
    assert frames(session.propagate(stride=2, max_frames=2)) == [2, 4]
    assert frames(session.propagate(stride=2, max_frames=1)) == [6]
    assert frames(session.propagate(stride=2))[:1] == [8]
    assert frames(session.propagate(stride=2)) == []


def test_stride_and_start(session: Session) -> None:
    session.prompt(0, 1, show(11))
    assert frames(session.propagate(stride=3, start=2)) == [2, 5, 8]
    assert frames(session.propagate(start=7)) == [7, 9]
    assert sorted(session.tracks[1].found) == [0, 2, 5, 7, 8, 9]


def test_objects_first_shown_on_different_frames(session: Session, model: EchoVideoModel) -> None:
    session.prompt(2, 1, show(11))
    session.prompt(6, 2, show(12))
    steps = {step.frame: sorted(step.objects) for step in session.propagate()}
    assert steps == {3: [1], 4: [1], 5: [1], 6: [1], 7: [1, 2], 8: [1, 2], 9: [1, 2]}
    back = {step.frame: sorted(step.objects) for step in session.propagate("backward")}
    assert back == {5: [2], 4: [2], 3: [2], 2: [2], 1: [1, 2], 0: [1, 2]}
    assert said(session, 8, 1).marks == (11,)
    assert said(session, 8, 2).marks == (12,)
    assert said(session, 8, 2).prompted == (6,)


def test_a_correction_redoes_only_later_frames_of_its_object(session: Session, model: EchoVideoModel) -> None:
    for number in (1, 2):
        session.prompt(0, number, show(10 + number))
    list(session.propagate("both"))
    mine, other = dict(session.tracks[1].found), dict(session.tracks[2].found)
    model.steps.clear()
    found = session.prompt(5, 1, show(21))
    assert Said.of(found.mask).marks == (11, 21)
    assert session.tracks[1].stale == {6, 7, 8, 9}
    steps = list(session.propagate("both"))
    assert [(step.frame, list(step.objects)) for step in steps] == [(frame, [1]) for frame in (6, 7, 8, 9)]
    assert model.steps == [(frame, FORWARD, 1) for frame in (5, 6, 7, 8, 9)]
    assert said(session, 6, 1).marks == (11, 21)
    assert [frame for frame in mine if session.tracks[1].found[frame] is mine[frame]] == [0, 1, 2, 3, 4]
    assert session.tracks[2].found == other
    assert session.tracks[1].stale == set()


def test_a_correction_of_what_was_found_backward_redoes_earlier_frames(session: Session) -> None:
    session.prompt(9, 1, show(11))
    list(session.propagate("both"))
    session.prompt(4, 1, show(21))
    assert session.tracks[1].stale == {0, 1, 2, 3}
    assert frames(session.propagate("both")) == [3, 2, 1, 0]


def test_clicks_on_a_tracked_frame_start_from_its_mask(session: Session, model: EchoVideoModel) -> None:
    session.prompt(0, 1, show(11))
    list(session.propagate(max_frames=3))
    before = session.tracks[1].found[2].mask
    session.prompt(2, 1, show(12))
    assert model.asked[-1].mask == before
    session.prompt(2, 1, show(13))
    assert model.asked[-1].mask is None


def test_cancelling_keeps_what_is_there(session: Session) -> None:
    stop = Stop()
    session.prompt(0, 1, show(11))
    run = session.propagate(limit=Limit(stop))
    assert [next(run).frame, next(run).frame] == [1, 2]
    stop.set()
    with pytest.raises(Cancelled):
        next(run)
    assert sorted(session.tracks[1].found) == [0, 1, 2]
    assert frames(session.propagate(max_frames=2)) == [3, 4]


def test_a_cancelled_prompt_changes_nothing(session: Session) -> None:
    with pytest.raises(DeadlineExceeded):
        session.prompt(0, 1, show(11), Limit(deadline_s=0))
    assert session.tracks == {}
    session.prompt(0, 1, show(11))
    list(session.propagate())
    with pytest.raises(DeadlineExceeded):
        session.prompt(3, 1, show(12), Limit(deadline_s=0))
    assert (session.tracks[1].stale, list(session.tracks[1].prompts)) == (set(), [0])


def test_leaving_a_run_keeps_what_is_there(session: Session) -> None:
    session.prompt(0, 1, show(11))
    for step in session.propagate():
        if step.frame == 4:
            break
    assert sorted(session.tracks[1].found) == [0, 1, 2, 3, 4]


def test_out_of_sight_is_told_and_may_end(session: Session, model: EchoVideoModel) -> None:
    model.hidden = {3, 4}
    session.prompt(0, 1, show(11))
    present = {step.frame: step.objects[1].present for step in session.propagate(max_frames=6)}
    assert present == {1: True, 2: True, 3: False, 4: False, 5: True, 6: True}
    assert session.tracks[1].found[3].mask.area == 0


def test_a_locked_frame_is_never_changed(session: Session, model: EchoVideoModel) -> None:
    session.prompt(0, 1, show(11))
    list(session.propagate())
    accepted = session.tracks[1].found[5].mask
    session.lock(5, 1)
    assert frames(session.propagate()) == [6, 7, 8, 9]
    assert said(session, 7, 1).prompted == (0, 5)
    session.prompt(2, 1, show(12))
    assert frames(session.propagate()) == [3, 4, 6, 7, 8, 9]
    assert session.tracks[1].found[5].mask == accepted
    with pytest.raises(BadOption, match="frame 5 of object 1") as error:
        session.prompt(5, 1, show(13))
    assert error.value.code == "video.locked"
    session.unlock(5, 1)
    assert Said.of(session.prompt(5, 1, show(13)).mask).marks == (11, 12, 13)


def test_a_locked_prompt_stays_what_it_was(session: Session, model: EchoVideoModel) -> None:
    mask = Mask.from_array(np.eye(*SIZE, dtype=bool))
    session.prompt(4, 1, Prompt(mask=mask))
    session.lock(4, 1)
    list(session.propagate("both"))
    assert session.tracks[1].found[4].mask == mask
    assert len(model.asked) == 1


def test_a_removed_object_is_gone_and_the_others_stay(session: Session, model: EchoVideoModel) -> None:
    session.prompt(0, 1, show(11))
    session.prompt(0, 2, show(12))
    run = session.propagate()
    assert sorted(next(run).objects) == [1, 2]
    session.remove(1)
    assert [sorted(step.objects) for step in run] == [[2]] * 8
    assert list(session.tracks) == [2]
    assert Said.of(session.prompt(0, 1, show(13)).mask) == Said((13,), 0, 0, (0,), ())


@pytest.mark.parametrize("frame", [-1, FRAMES, 10**9])
def test_there_is_no_such_frame(session: Session, frame: int) -> None:
    session.prompt(0, 1, show(11))
    for work in (lambda: session.prompt(frame, 1, show(12)), lambda: list(session.propagate(start=frame))):
        with pytest.raises(BadOption, match=str(frame)) as error:
            work()
        assert error.value.code == "option.range"
    assert session.tracks[1].prompts == {0: session.tracks[1].prompts[0]}


@pytest.mark.parametrize("wrong", [{"max_frames": 0}, {"stride": 0}, {"stride": -1}, {"direction": "sideways"}])
def test_runs_that_are_none(session: Session, wrong: dict[str, object]) -> None:
    session.prompt(0, 1, show(11))
    with pytest.raises(BadOption) as error:
        list(session.propagate(**wrong))  # type: ignore[arg-type]
    assert error.value.code == "option.range"


def test_nothing_was_shown(session: Session) -> None:
    with pytest.raises(BadPrompt) as error:
        list(session.propagate())
    assert error.value.code == "prompt.empty"


def test_only_a_mask_can_be_locked(session: Session) -> None:
    session.prompt(0, 1, show(11))
    for frame, number in ((1, 1), (0, 2)):
        with pytest.raises(BadOption, match=f"object {number} has no mask on frame {frame}") as error:
            session.lock(frame, number)
        assert error.value.code == "video.no_mask"


def test_the_number_of_objects_is_bounded(session: Session) -> None:
    for number in range(MAX_OBJECTS):
        session.prompt(0, number, show(1))
    with pytest.raises(BadOption) as error:
        session.prompt(0, MAX_OBJECTS, show(1))
    assert error.value.code == "video.too_many_objects"
    session.remove(3)
    session.prompt(0, MAX_OBJECTS, show(1))


class Meddled(dict[int, Track]):
    """Whenever it is looked through, another thread tries to add an object meanwhile."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.tracks)
        self.session, self.others = session, list[threading.Thread]()

    def items(self) -> Iterator[tuple[int, Track]]:  # type: ignore[override]
        return self._meddled(super().items())

    def values(self) -> Iterator[Track]:  # type: ignore[override]
        return self._meddled(super().values())

    def _meddled(self, found: Iterable[T]) -> Iterator[T]:
        for one in found:
            if len(self.others) < 8:
                number = 100 + len(self.others)
                self.others.append(threading.Thread(target=self.session.prompt, args=(0, number, show(1))))
                self.others[-1].start()
                self.others[-1].join(0.1)
            yield one


def test_objects_come_while_runs_look_for_work(session: Session) -> None:
    session.prompt(0, 1, show(11))
    session.tracks = tracks = Meddled(session)
    list(session.propagate())
    for other in tracks.others:
        other.join()
    assert len(tracks) == 9
    assert 9 in tracks[1].found


def test_a_closed_session_gives_no_more_frames(session: Session) -> None:
    session.prompt(0, 1, show(11))
    session.close()
    with pytest.raises(Cancelled):
        list(session.propagate())
    assert list(session.tracks[1].found) == [0]
