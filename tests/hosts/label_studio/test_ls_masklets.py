"""What holds for the store in a file and for the store in a database server alike."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import update

from locara_label.errors import BadMask, BadOption, StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Wish
from locara_label.hosts.label_studio.session_store import KeptSession, SessionStore
from locara_label.hosts.label_studio.store_tables import WISHES
from locara_label.types import Mask
from tests.hosts.label_studio.storing import COUNT, PLACE, SIZE, driven, frame, record, refused, wish


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    if request.param == "sqlite":
        return tmp_path / "new" / "folder" / "masklets.sqlite3"
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def store(where):
    with MaskletStore(where) as opened:
        yield opened


def test_what_is_stored_comes_back_after_reopening(where):
    kept = record(state="done", wanted={"direction": "both", "frames": [0, 39]}, error=None)
    empty = replace(frame(1), mask=Mask.from_array(np.zeros(SIZE, bool)), present=False, score=0.0)
    with MaskletStore(where) as store:
        store.put(kept)
        store.add(PLACE, iter([frame(5), empty, frame(0, prompted=True)]))
    with MaskletStore(where) as store:
        assert store.read(PLACE) == kept
        assert store.frames(PLACE) == (frame(0, prompted=True), empty, frame(5))


def test_nothing_is_there_at_first(store):
    assert store.read(PLACE) is None
    assert store.frames(PLACE) == ()
    assert store.unfinished() == store.of_project(3) == store.of_task(3, 14) == ()


def test_put_keeps_frames_and_add_replaces_by_number(store):
    store.put(record())
    store.add(PLACE, [frame(1), frame(2)])
    store.put(record(state="failed", error="video.bad: gone"))
    store.add(PLACE, [frame(2, seed=9), frame(3)])
    assert store.read(PLACE).error == "video.bad: gone"
    assert store.frames(PLACE) == (frame(1), frame(2, seed=9), frame(3))


def test_replace_leaves_nothing_of_before(store):
    store.replace(record(), [frame(1), frame(2)])
    other = replace(record(), size=(6, 8), frame_count=3, prompts={})
    store.replace(other, [frame(2, size=(6, 8))])
    assert store.read(PLACE) == other
    assert store.frames(PLACE) == (frame(2, size=(6, 8)),)


def test_lists(store):
    places = [Place(3, 14, "b"), Place(3, 2, "z"), Place(3, 14, "a"), Place(4, 1, "a")]
    for number, place in enumerate(places):
        store.put(record(place, state="running" if number % 2 == 0 else "done"))
    assert [found.place for found in store.of_project(3)] == [places[1], places[2], places[0]]
    assert [found.place for found in store.of_task(3, 14)] == [places[2], places[0]]
    assert [found.place for found in store.unfinished()] == [places[0], places[2]]


def test_removing_takes_the_frames_too(store):
    for place in (PLACE, Place(3, 1, "a"), Place(4, 1, "a")):
        store.replace(record(place), [frame(1)])
    store.remove(PLACE)
    assert (store.read(PLACE), store.frames(PLACE)) == (None, ())
    store.remove_project(3)
    assert store.of_project(3) == ()
    assert store.frames(Place(4, 1, "a")) == (frame(1),)
    store.remove(PLACE)


@pytest.mark.parametrize(
    ("code", "kind", "bad"),
    [
        ("masklet.frame", BadOption, frame(COUNT)),
        ("masklet.frame", BadOption, frame(3, score=1.5)),
        ("masklet.frame", BadOption, frame(3, time_s=float("nan"))),
        ("mask.size", BadMask, frame(3, size=(20, 12))),
        ("mask.size", BadMask, replace(frame(3), mask=Mask(SIZE, b"1"))),
        ("mask.counts", BadMask, replace(frame(3), mask=Mask(SIZE, b"\xff\xff"))),
    ],
)
def test_one_bad_frame_stores_none(store, code, kind, bad):
    store.replace(record(), [frame(1)])
    refused(code, kind, store.add, PLACE, [frame(2), bad])
    refused(code, kind, store.replace, record(label="Other"), [frame(2), bad])
    assert (store.read(PLACE), store.frames(PLACE)) == (record(), (frame(1),))


def test_frames_need_a_record(store):
    assert "bGrvVkxO7c" in refused("masklet.unknown", BadOption, store.add, PLACE, [frame(1)])


def test_a_record_of_another_video_does_not_take_over_frames(store):
    store.put(record())
    store.put(replace(record(), frame_count=9, prompts={}))
    store.add(PLACE, [frame(8)])
    refused("masklet.video", BadOption, store.put, record())
    assert store.read(PLACE).frame_count == 9


@pytest.mark.parametrize(
    "bad",
    [
        {"state": "lost"},
        {"prompts": {COUNT: 1}},
        {"prompts": {-1: 1}},
        {"label": "\ud800"},
    ],
)
def test_records_that_cannot_be(bad):
    refused("masklet.field", BadOption, lambda: record(**bad))


def test_json_that_cannot_be(store):
    for bad in ({"prompts": {1: float("nan")}}, {"wanted": object()}, {"prompts": {1: {2, 3}}}):
        refused("masklet.field", BadOption, store.put, record(**bad))
    for bad in ((-1, 1, "a"), (1 << 63, 1, "a"), (1, 1, ""), (1, 1, "a" * 1001), (1, 1, "\ud800")):
        refused("masklet.place", BadOption, lambda bad=bad: Place(*bad))
    assert store.of_project(3) == ()


def test_hostile_names_are_only_names(store):
    place = Place(3, 14, "a'); DROP TABLE frames; --")
    store.replace(record(place, label="'\n\""), [frame(1)])
    assert store.read(place).label == "'\n\""
    assert store.frames(place) == (frame(1),)


def test_closing_twice_and_using_it_afterwards(where):
    store = MaskletStore(where)
    store.close()
    store.close()
    for call in (lambda: store.read(PLACE), lambda: store.put(record())):
        refused("store.closed", StoreFailed, call)


def test_many_threads_and_two_stores_on_one_database(where):
    with MaskletStore(where) as one, MaskletStore(where) as two:
        places = [Place(3, number, "r") for number in range(4)]

        def work(store, place):
            for number in range(COUNT):
                if store.read(place) is None:
                    store.put(record(place))
                store.add(place, [frame(number)])
                assert store.frames(place)[-1] == frame(number)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, [one, two] * 2, places))
        for place in places:
            assert one.frames(place) == two.frames(place) == tuple(frame(number) for number in range(COUNT))


def test_one_process_at_a_time_changes_a_task_and_others_do_not_wait_for_it(where):
    with MaskletStore(where) as one, MaskletStore(where) as two:
        one.put_wish(3, 14, {"count": 0})

        def count(store):
            for _ in range(10):
                with store.alone(3, 14):
                    (found,) = store.wishes()
                    store.put_wish(3, 14, {"count": found.content["count"] + 1})

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(count, [one, two]))
        assert one.wishes() == (Wish(3, 14, {"count": 20}),)
        with one.alone(3, 14), two.alone(3, 15), two.claim("task 3/14") as mine:
            assert not mine


def test_a_task_that_is_kept_for_too_long_is_told(where, monkeypatch):
    monkeypatch.setattr("locara_label.hosts.label_studio.masklets._ALONE_S", 0.1)
    with MaskletStore(where) as one, MaskletStore(where) as two, one.alone(3, 14):
        refused("store.busy", StoreFailed, two.alone(3, 14).__enter__)


def test_wishes_are_one_for_each_task_the_oldest_first(where):
    with MaskletStore(where) as store:
        assert store.wishes() == ()
        for project, task, text in ((3, 14, "car"), (3, 2, "dog"), (4, 14, "cat"), (3, 14, "bus")):
            store.put_wish(project, task, {"text": text, "labels": {text: None}})
    with MaskletStore(where) as store:
        found = [Wish(*values) for values in ((3, 14, wish("bus")), (3, 2, wish("dog")), (4, 14, wish("cat")))]
        assert list(store.wishes()) == found
        assert store.wish(3, 14) == found[0]
        store.remove_wish(3, 14)
        store.remove_wish(3, 14)
        assert store.wish(3, 14) is None
        assert list(store.wishes()) == found[1:]
        store.remove_project(3)
        assert list(store.wishes()) == found[2:]


def test_bad_wishes_are_told_and_nothing_of_them_is_kept(store):
    refused("masklet.field", BadOption, store.put_wish, 3, 14, {"text": float("nan")})
    refused("masklet.field", BadOption, store.put_wish, 3, 14, {"text": object()})
    refused("masklet.place", BadOption, store.put_wish, -1, 14, {})
    refused("masklet.place", BadOption, store.put_wish, 3, 1 << 63, {})
    assert store.wishes() == ()
    store.put_wish(3, 14, {})
    driven(store, update(WISHES).values(content="[1]"))
    refused("store.damaged", StoreFailed, store.wishes)


def test_stores_opened_at_the_same_moment_make_one_set_of_tables(where):
    gate = threading.Barrier(6)

    def make(_):
        gate.wait()
        MaskletStore(where).close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(6)))


def test_sessions_go_unless_they_were_used_meanwhile(store):
    sessions, times = SessionStore(store), [1.7e9 + 0.1, 1.7e9 + 1 / 3, 0.0]
    for name, time_s in zip("abc", times, strict=True):
        sessions.add(KeptSession(name, "me", "classic", "/v.mp4", None, {"events": []}, 0, time_s, time_s))
    used = sessions.used()
    assert used == dict(zip("abc", times, strict=True))
    sessions.save("me", "b", {"events": [1]}, 1, 5.0)
    sessions.remove_unused({"a": used["a"], "b": used["b"]})
    sessions.remove_unused({})
    assert sessions.used() == {"b": 5.0, "c": 0.0}
