"""Two servers in this process that share a store: who asks for a session gets it as the other one left it."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from held_video_model import HeldVideoModel
from running import Client
from watching import watching

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.session_store import SessionStore

BASE = "/v1/video/sessions"
FRAMES = 20
BOX = [10, 10, 50, 50]

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path, EVALUATION_SEED, (64, 64), FRAMES, Fraction(25))


@pytest.fixture
def serve(start: Callable[..., Client], tmp_path: Path) -> Callable[..., Client]:
    def served(**more: Any) -> Client:
        grants = {"folders": [str(tmp_path)]}
        return start(prelabel=False, capabilities=grants, store=str(tmp_path / "shared.sqlite3"), **more)

    return served


def until(happened: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < ends, "it never happened"
        time.sleep(0.01)


def opened(client: Client, clip: Path, **headers: str) -> str:
    reply = client.post(BASE, {"video": str(clip), "name": "clip"}, **headers)
    assert reply.status == 200, reply.body
    return f"{BASE}/{reply.json()['session']}"


def follow(client: Client, at: str) -> None:
    with watching(client, f"{at}/propagate", {}) as watch:
        assert list(watch)[-1].name == "done"


def test_each_goes_on_where_the_other_ended(serve: Callable[..., Client], clip: Path) -> None:
    one, two = serve(), serve()
    at = opened(one, clip)
    assert one.post(f"{at}/prompt", {"frame": 3, "box": BOX, "label": "ring"}).status == 200
    follow(two, at)
    assert one.get(at).json() == two.get(at).json()
    assert two.post(f"{at}/lock", {"frame": 5, "object": 1}).json()["objects"][0]["locked"] == [5]
    shown = one.post(f"{at}/prompt", {"frame": 10, "points": [[30, 30], [5, 5]], "labels": [1, 0]}).json()
    assert shown["objects"][0]["object"] == 2
    found = [client.get(f"{at}/result").json()["annotations"] for client in (one, two, one)]
    assert found[0] == found[1] == found[2]
    assert [len(one["segmentations"]) for one in found[0]] == [FRAMES - 3] * 2
    assert two.send("DELETE", f"{at}/objects/1").status == 200
    assert [one["object"] for one in one.get(at).json()["objects"]] == [2]


def test_what_one_closes_is_closed_for_the_other(serve: Callable[..., Client], clip: Path) -> None:
    one, two = serve(), serve()
    at = opened(one, clip)
    assert two.send("DELETE", at).json() == {"session": at.rpartition("/")[2], "closed": True}
    for client in (one, two):
        for reply in (client.get(at), client.post(f"{at}/prompt", {"frame": 0, "box": BOX}), client.post(f"{at}/cancel", {})):
            assert (reply.status, reply.code) == (404, "video.unknown_session")


def test_a_video_that_was_sent_is_with_one_server_only(serve: Callable[..., Client], clip: Path, tmp_path: Path) -> None:
    one, two = serve(), serve()
    sent = one.send("POST", BASE, clip.read_bytes(), {"content-type": "video/mp4"})
    at = f"{BASE}/{sent.json()['session']}"
    assert one.post(f"{at}/prompt", {"frame": 3, "box": BOX}).status == 200
    for reply in (two.get(at), two.get(f"{at}/result"), two.post(f"{at}/prompt", {"frame": 0, "box": BOX}), serve().get(at)):
        assert (reply.status, reply.code) == (404, "video.elsewhere")
    follow(one, at)
    with MaskletStore(tmp_path / "shared.sqlite3") as store:  # as if an answer of the store had been lost
        store_ = SessionStore(store)
        found = store_.read("local", at.rpartition("/")[2])
        assert found is not None
        store_.save("local", found.id, found.recipe, found.version + 1, found.used_s)
    assert one.get(at).json()["objects"][0]["found"] == FRAMES - 3
    assert one.post(f"{at}/prompt", {"frame": 4, "box": BOX}).status == 200
    assert two.send("DELETE", at).status == 200
    for client in (one, two):
        assert client.get(at).code == "video.unknown_session"


def test_it_stays_its_owners(serve: Callable[..., Client], clip: Path) -> None:
    one, two = serve(basic_auth="me:secret"), serve(basic_auth="you:secret")
    me, you = (f"Basic {base64.b64encode(f'{name}:secret'.encode()).decode()}" for name in ("me", "you"))
    at = opened(one, clip, authorization=me)
    assert one.get(at, authorization=me).status == 200
    assert two.get(at, authorization=you).code == "video.unknown_session"
    assert two.send("DELETE", at, headers={"authorization": you}).code == "video.unknown_session"
    assert one.get(at, authorization=me).status == 200


def test_a_run_is_waited_for_and_what_is_cancelled_elsewhere_goes_on(serve: Callable[..., Client], clip: Path) -> None:
    held = HeldVideoModel()
    one, two = serve(load_video=lambda _: held), serve(load_video=lambda _: HeldVideoModel(), click_s=0.5)
    at = opened(one, clip)
    assert one.post(f"{at}/prompt", {"frame": 0, "box": BOX}).status == 200
    held.permits = threading.Semaphore(1)
    run = threading.Thread(target=follow, args=(one, at))
    run.start()
    try:
        until(lambda: len(held.steps) > 1)
        assert two.post(f"{at}/cancel", {}).json()["cancelled"] is False
        assert one.post(f"{at}/prompt", {"frame": 1, "box": BOX}).code == "video.busy"
        assert two.post(f"{at}/prompt", {"frame": 1, "box": BOX}).code == "run.deadline"
    finally:
        held.permits.release(FRAMES)
        run.join()


def test_a_video_that_is_gone_or_a_recipe_that_is_damaged_is_told(
    serve: Callable[..., Client], clip: Path, tmp_path: Path
) -> None:
    one, two = serve(), serve()
    at = opened(one, clip)
    content = clip.read_bytes()
    clip.unlink()
    assert two.get(at).code == "fetch.not_found"
    clip.write_bytes(content)
    with MaskletStore(tmp_path / "shared.sqlite3") as store:
        SessionStore(store).save("local", at.rpartition("/")[2], {"events": 3}, 7, 2e9)
    assert two.get(at).code == "video.recipe"


@pytest.mark.parametrize("jump_s", [-86_400, 365 * 86_400])
def test_a_clock_that_jumps_ends_no_session(
    serve: Callable[..., Client], clip: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    one, two = serve(), serve()
    at, real = opened(one, clip), time.time
    with monkeypatch.context() as jumped:
        jumped.setattr(time, "time", lambda: real() + jump_s)
        opened(two, clip)
        assert two.post(f"{at}/prompt", {"frame": 3, "box": BOX}).status == 200
    assert one.post(BASE, {"video": str(clip)}).status == 200
    assert one.post(f"{at}/prompt", {"frame": 4, "box": BOX}).status == 200
    assert [len(client.get(at).json()["objects"]) for client in (one, two)] == [2, 2]


def test_what_nobody_uses_is_forgotten(serve: Callable[..., Client], clip: Path, tmp_path: Path) -> None:
    one, two = serve(video_idle_s=0.2), serve(video_idle_s=0.2)
    at = opened(one, clip)
    opened(two, clip)
    threading.Event().wait(0.4)
    assert two.get(at).code == "video.unknown_session"
    opened(one, clip)
    with MaskletStore(tmp_path / "shared.sqlite3") as store:
        assert SessionStore(store).read("local", at.rpartition("/")[2]) is None


def test_what_is_looked_at_is_used(serve: Callable[..., Client], clip: Path, tmp_path: Path) -> None:
    client = serve(video_idle_s=5)
    at = opened(client, clip)

    def used_s() -> float:
        with MaskletStore(tmp_path / "shared.sqlite3") as store:
            return SessionStore(store).used()[at.rpartition("/")[2]]

    began_s = used_s()
    threading.Event().wait(0.6)
    assert client.get(at).status == 200
    assert used_s() > began_s
