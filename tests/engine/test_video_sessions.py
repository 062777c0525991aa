"""Sessions that stay open: whose they are, how they are found and closed, one caller at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import session_folders
from echo_video_model import EchoVideoModel, show
from session_folders import FRAMES, ME, YOU, Clip, Hand

from locara_label.engine.lanes import Lane, Priority
from locara_label.engine.tickets import Ticket
from locara_label.engine.turns import LaneTurns, in_turns
from locara_label.engine.video_sessions import SessionBudget, VideoSessions
from locara_label.errors import BadOption, BadRequest, BadVideo, Cancelled, DeadlineExceeded, QueueFull
from locara_label.video.opening import open_video_file

model, clip, hand = session_folders.model, session_folders.clip, session_folders.hand
make, sessions, lane = session_folders.make, session_folders.sessions, session_folders.lane


def test_a_session_is_found_by_its_id_and_by_its_name(sessions: VideoSessions, model: EchoVideoModel, clip: Clip) -> None:
    first = sessions.start(ME, model, clip.open, name="1/2")
    second = sessions.start(ME, model, clip.open)
    assert len(first) >= 32
    assert first != second
    assert (sessions.find(ME, "1/2"), sessions.find(ME, "x"), sessions.find(YOU, "1/2")) == (first, None, None)
    with sessions.use(ME, first) as session:
        session.prompt(3, 1, show(4))
    view = sessions.view(ME, first)
    assert (view.name, view.model, view.extent.frames, view.running, view.evicted) == ("1/2", "echo-video", FRAMES, False, False)
    assert view.objects[1].prompted == (3,)
    assert sessions.view(ME, second).objects == {}


def test_names_are_the_owners_own_and_unique(sessions: VideoSessions, model: EchoVideoModel, clip: Clip) -> None:
    sessions.start(ME, model, clip.open, name="n")
    sessions.start(YOU, model, clip.open, name="n")
    with pytest.raises(BadOption) as caught:
        sessions.start(ME, model, clip.open, name="n", free=clip.free)
    assert caught.value.code == "video.name_taken"
    assert (clip.freed, len(sessions)) == (1, 2)


def test_a_session_of_another_owner_is_as_unknown_as_none(sessions: VideoSessions, model: EchoVideoModel, clip: Clip) -> None:
    key = sessions.start(ME, model, clip.open)

    def used(owner: str, of: str) -> None:
        with sessions.use(owner, of):
            pass

    for ask in (used, sessions.view, sessions.cancel, sessions.stop):
        with pytest.raises(BadRequest) as foreign:
            ask(YOU, key)
        with pytest.raises(BadRequest) as none:
            ask(YOU, "none")
        assert foreign.value.code == none.value.code == "video.unknown_session"
        assert foreign.value.message.replace(key, "none") == none.value.message
    used(ME, key)


def test_closing_frees_the_video_and_its_file_once(sessions: VideoSessions, model: EchoVideoModel, clip: Clip) -> None:
    key = sessions.start(ME, model, clip.open, free=clip.free)
    sessions.stop(ME, key)
    with pytest.raises(BadRequest):
        sessions.stop(ME, key)
    assert (clip.freed, len(sessions), sessions.nbytes) == (1, 0, 0)
    with pytest.raises(Cancelled):
        clip.opened[0].frame(0)


def test_a_session_that_is_closed_while_in_use_is_freed_afterwards(
    sessions: VideoSessions, model: EchoVideoModel, clip: Clip
) -> None:
    key = sessions.start(ME, model, clip.open, free=clip.free)
    with sessions.use(ME, key) as session:
        sessions.stop(ME, key)
        assert clip.freed == 0
        session.prompt(0, 1, show(1))
    assert clip.freed == 1


def test_what_cannot_be_opened_leaves_nothing(sessions: VideoSessions, model: EchoVideoModel, clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(BadVideo):
        sessions.start(ME, model, lambda: open_video_file(tmp_path / "none.mp4"), name="n", free=clip.free)
    assert (clip.freed, len(sessions), sessions.find(ME, "n")) == (1, 0, None)
    sessions.start(ME, model, clip.open, name="n")


def test_the_unused_are_closed(make: Callable[..., VideoSessions], hand: Hand, model: EchoVideoModel, clip: Clip) -> None:
    sessions = make(idle_s=100, age_s=1000)
    idle, busy = (sessions.start(ME, model, clip.open, free=clip.free) for _ in range(2))
    hand.now = 99
    with sessions.use(ME, busy):
        hand.now = 100
        with pytest.raises(BadRequest):
            sessions.view(ME, idle)
        sessions.expire()
        assert (clip.freed, len(sessions)) == (1, 1)
        hand.now = 5000
        sessions.expire()
        assert len(sessions) == 1
    sessions.expire()
    assert (clip.freed, len(sessions)) == (2, 0)


def test_they_are_closed_by_themselves(model: EchoVideoModel, clip: Clip) -> None:
    sessions, freed = VideoSessions(SessionBudget(idle_s=0.2)), threading.Event()
    before = set(threading.enumerate())
    sessions.start(ME, model, clip.open, free=freed.set)
    waiting = set(threading.enumerate()) - before
    assert [type(thread) for thread in waiting] == [threading.Timer]
    assert freed.wait(20)
    for thread in waiting:
        thread.join(20)
    assert len(sessions) == 0
    assert set(threading.enumerate()) <= before
    sessions.close()


def test_one_at_a_time(sessions: VideoSessions, model: EchoVideoModel, clip: Clip) -> None:
    key, inside, most = sessions.start(ME, model, clip.open), 0, 0

    def one(number: int) -> None:
        nonlocal inside, most
        with sessions.use(ME, key) as session:
            inside += 1
            most = max(most, inside)
            session.prompt(number % FRAMES, number + 1, show(number % 30))
            time.sleep(0.001)
            inside -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(40)))
    assert most == 1
    assert sorted(sessions.view(ME, key).objects) == list(range(1, 41))


def test_beside_a_run_others_are_refused(sessions: VideoSessions, model: EchoVideoModel, clip: Clip) -> None:
    key = sessions.start(ME, model, clip.open)
    with sessions.use(ME, key, run=True):
        assert sessions.view(ME, key).running
        with pytest.raises(BadRequest) as caught, sessions.use(ME, key):
            pass
    assert caught.value.code == "video.busy"
    with sessions.use(ME, key):
        pass


def test_who_waits_too_long_gives_up(sessions: VideoSessions, model: EchoVideoModel, clip: Clip, lane: Lane) -> None:
    key = sessions.start(ME, model, clip.open)
    with sessions.use(ME, key), pytest.raises(DeadlineExceeded), sessions.use(ME, key, LaneTurns(lane, Ticket(0.3))):
        pass


def test_a_cancelled_run_ends_and_keeps_what_it_has(
    sessions: VideoSessions, model: EchoVideoModel, clip: Clip, lane: Lane
) -> None:
    key, turns, seen = sessions.start(ME, model, clip.open), LaneTurns(lane, Ticket(60), Priority.PRELABEL), []
    assert not sessions.cancel(ME, key)
    with sessions.use(ME, key, turns, run=True) as session:
        session.prompt(0, 1, show(1))
        steps = in_turns(session.propagate(), turns)
        seen.extend(next(steps).frame for _ in range(4))
        assert sessions.cancel(ME, key)
        with pytest.raises(Cancelled):
            next(steps)
    assert seen == [1, 2, 3, 4]
    assert sessions.view(ME, key).objects[1].found == 5


def test_a_run_gives_way_between_frames(sessions: VideoSessions, model: EchoVideoModel, clip: Clip, lane: Lane) -> None:
    key, turns = sessions.start(ME, model, clip.open), LaneTurns(lane, Ticket(60), Priority.PRELABEL)
    done: list[object] = []
    with sessions.use(ME, key, turns, run=True) as session:
        session.prompt(0, 1, show(1))
        for step in in_turns(session.propagate(), turns):
            done.append(step.frame)
            if step.frame == 3:
                lane.submit(lambda: done.append("click"), Priority.CLICK)
    assert done.index("click") in {4 - 1, 4, 5}


def test_a_run_waits_while_the_lane_is_full(lane: Lane) -> None:
    hold, ticket = threading.Event(), Ticket(60)
    jobs = [lane.submit(lambda: hold.wait(30)) for _ in range(2)]
    while not jobs[0].running():
        time.sleep(0.001)
    jobs.append(lane.submit(lambda: None))
    with pytest.raises(QueueFull):
        LaneTurns(lane, ticket).take(lambda _: 1)
    threading.Timer(0.3, hold.set).start()
    assert LaneTurns(lane, ticket, Priority.PRELABEL).take(lambda _: 7) == 7


def test_a_video_that_has_changed_is_refused(make: Callable[..., VideoSessions], model: EchoVideoModel, clip: Clip) -> None:
    sessions = make(open=1)
    key = sessions.start(ME, model, clip.open)
    sessions.start(ME, model, clip.open)
    (clip.path / "9.png").unlink()
    with pytest.raises(BadVideo) as caught, sessions.use(ME, key):
        pass
    assert caught.value.code == "video.changed"
