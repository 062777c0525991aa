"""`/v1/video/sessions` of a real server: one session from a box to a file, prompts, locks, words, users, eviction."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from echo_clicks import metric
from held_video_model import HeldVideoModel
from running import Client
from session_clips import BASE, BOX, FRAMES, kept, masks, opened, until
from watching import watching

from fixtures.scenes import EVALUATION_SEED
from locara_label.datasets.convert import open_source
from locara_label.engine.tracking import open_video
from locara_label.types import Box, Mask, Prompt
from tests.engine.echo_text_model import EchoTextModel

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_a_video_from_a_box_to_a_file_of_masklets(serve: Callable[..., Client], clips: Path, tmp_path: Path) -> None:
    client = serve()
    reply = client.post(BASE, {"video": str(clips / "plain.mp4"), "name": "a clip"})
    made = reply.json()
    assert (reply.status, made["size"], made["frames"], made["rate"], made["model"]) == (200, [64, 64], FRAMES, 25.0, "classic")
    at = f"{BASE}/{made['session']}"
    shown = client.post(f"{at}/prompt", {"frame": 3, "box": BOX, "label": "ring"}).json()
    assert (shown["frame"], shown["time_s"], shown["objects"][0]["object"]) == (3, 0.12, 1)
    with watching(client, f"{at}/propagate", {"direction": "both"}) as watch:
        assert (watch.status, watch.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        told = list(watch)
    assert [told[0].name, told[1].name, told[-1].name] == ["progress", "progress", "done"]
    assert told[-1].data == {"state": "done", "frames": FRAMES - 1}
    assert [event.data["frame"] for event in told if event.name == "frame"] == [*range(4, FRAMES), 2, 1, 0]
    found = {(1, 3): Mask.from_coco(shown["objects"][0]["segmentation"]), **masks(told)}
    with open_video(clips / "plain.mp4") as session:
        session.prompt(3, 1, Prompt(box=Box(*BOX)))
        list(session.propagate("both"))
        assert found == {(1, frame): one.mask for frame, one in session.tracks[1].found.items()}
    result = client.get(f"{at}/result")
    assert (result.status, result.headers["content-type"]) == (200, "application/json")
    (tmp_path / "masklets.json").write_bytes(result.body)
    with open_source(tmp_path / "masklets.json", "youtube-vis") as source:
        (video,) = source.videos()
        assert (video.name, video.frames, video.masklets[0].category.name) == ("a clip", tuple(range(FRAMES)), "ring")
        assert {(1, at): mask for at, mask in enumerate(video.masklets[0].masks) if mask} == {
            key: mask for key, mask in found.items() if mask.area
        }
    state = client.get(at).json()
    assert state["objects"] == [
        {"object": 1, "label": "ring", "prompted": [3], "locked": [], "found": FRAMES, "present": state["objects"][0]["present"]}
    ]
    assert metric(client, "locara_video_frames_tracked") == FRAMES - 1


def test_frames_by_time_where_the_rate_varies(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    times = json.loads((clips / f"clip_{EVALUATION_SEED}.json").read_text())["times_s"]
    client = serve(held)
    at = opened(client, clips / "vfr.mp4")
    for frame in (0, 1, 3, FRAMES - 1):
        shown = client.post(f"{at}/prompt", {"time_s": times[frame] + 0.001, "points": [[5, 7]], "object": 1}).json()
        assert (shown["frame"], shown["time_s"]) == (frame, pytest.approx(times[frame]))
    with watching(client, f"{at}/propagate", {"start_s": times[7], "frames": 2}) as watch:
        assert [told.data["frame"] for told in watch if told.name == "frame"] == [7, 8]


def test_words_find_objects(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    client = serve(held, text_model=EchoTextModel())
    at = opened(client, clips / "plain.mp4")
    shown = client.post(f"{at}/prompt", {"frame": 0, "text": ["at 3 4 10 12", "at 30 40 50 60", "nothing"]}).json()
    assert [one["object"] for one in shown["objects"]] == [1, 2]
    assert {one["label"] for one in client.get(at).json()["objects"]} == {"at 3 4 10 12", "at 30 40 50 60"}
    with watching(client, f"{at}/propagate", {"redetect": 5}) as watch:
        assert list(watch)[-1].data["state"] == "done"
    mixed = client.post(f"{at}/prompt", {"frame": 0, "text": "x", "box": BOX})
    assert (mixed.status, mixed.code) == (422, "request.prompt")


def test_without_a_model_for_it_words_are_refused(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    client = serve(held)
    reply = client.post(f"{opened(client, clips / 'plain.mp4')}/prompt", {"frame": 0, "text": "ring"})
    assert (reply.status, reply.code) == (422, "prompt.text")


def test_locked_frames_and_removed_objects(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    client = serve(held)
    at = opened(client, clips / "plain.mp4")
    client.post(f"{at}/prompt", {"frame": 0, "points": [[5, 7]], "object": 4})
    client.post(f"{at}/prompt", {"frame": 0, "points": [[5, 9]]})
    assert client.post(f"{at}/lock", {"frame": 0, "object": 4}).json()["objects"][0]["locked"] == [0]
    again = {"frame": 0, "points": [[5, 1]], "object": 4}
    assert (client.post(f"{at}/prompt", again).status, client.post(f"{at}/prompt", again).code) == (422, "video.locked")
    assert client.post(f"{at}/lock", {"frame": 0, "object": 4, "locked": False}).json()["objects"][0]["locked"] == []
    assert client.post(f"{at}/prompt", again).status == 200
    assert client.post(f"{at}/lock", {"frame": 7, "object": 4}).code == "video.no_mask"
    assert [one["object"] for one in client.send("DELETE", f"{at}/objects/4").json()["objects"]] == [5]
    for number in ("4", "x", "-1", "99999999999999999999"):
        reply = client.send("DELETE", f"{at}/objects/{number}")
        assert (reply.status, reply.code) == (404, "video.unknown_object")


def test_a_pointer_comes_where_it_is_asked_for(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    client = serve(held)
    at = opened(client, clips / "plain.mp4")
    shown = client.post(f"{at}/prompt", {"frame": 2, "points": [[5, 7]], "pointers": True}).json()
    assert shown["objects"][0]["pointer"] == [2.0, 7.0]
    with watching(client, f"{at}/propagate", {"frames": 1, "pointers": True}) as watch:
        assert watch.until("frame").data["objects"][0]["pointer"] == [3.0, 7.0]
        watch.until("done")
    with watching(client, f"{at}/propagate", {"frames": 1}) as watch:
        assert "pointer" not in watch.until("frame").data["objects"][0]


def authorised(user: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:secret".encode()).decode()}


def test_sessions_of_others_are_unknown(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    client = serve(held, basic_auth="me:secret")
    mine = client.post(BASE, {"video": str(clips / "plain.mp4"), "name": "n"}, **authorised("me")).json()["session"]
    sessions = client.service.video_sessions
    assert (sessions.find("user:me", "n"), sessions.find("local", "n")) == (mine, None)
    theirs = sessions.start("user:you", held, client.service.video_files.fetch(str(clips / "plain.mp4")).open)
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/result", None),
        ("DELETE", "", None),
        ("DELETE", "/objects/1", None),
        ("POST", "/prompt", {"frame": 0, "points": [[5, 7]]}),
        ("POST", "/propagate", {}),
        ("POST", "/cancel", {}),
        ("POST", "/lock", {"frame": 0, "object": 1}),
    ):
        head = {"content-type": "application/json", **authorised("me")}
        sent = None if body is None else json.dumps(body).encode()
        foreign, none = (client.send(method, f"{BASE}/{key}{path}", sent, head) for key in (theirs, "x" * len(theirs)))
        assert (foreign.status, foreign.code) == (404, "video.unknown_session")
        assert foreign.body.replace(theirs.encode(), b"") == none.body.replace(b"x" * len(theirs), b"")
        assert client.send(method, f"{BASE}/{mine}{path}", sent, {"content-type": "application/json"}).status == 401
    assert len(sessions) == 2


def test_an_evicted_session_gives_the_same_result(serve: Callable[..., Client], clips: Path) -> None:
    client = serve(video_sessions=1)
    at = opened(client, clips / "plain.mp4")
    client.post(f"{at}/prompt", {"frame": 3, "box": BOX})
    with watching(client, f"{at}/propagate", {"direction": "both"}) as watch:
        watch.until("done")
    client.post(f"{at}/prompt", {"frame": 8, "points": [[30, 30]], "object": 1, "label": "ring"})
    before, state = client.get(f"{at}/result").body, client.get(at).json()
    opened(client, clips / "vfr.mp4")
    assert client.get(at).json() == {**state, "in_memory": False}
    assert client.get(f"{at}/result").body == before
    assert (metric(client, "locara_video_sessions_evicted"), metric(client, "locara_video_sessions_rebuilt")) == (2, 1)


def test_idle_sessions_are_closed(serve: Callable[..., Client], clips: Path, own_temporary_files: Path) -> None:
    client = serve(video_idle_s=0.3)
    at = opened(client, clips / "plain.mp4")
    until(lambda: kept(own_temporary_files) == [])
    assert client.get(at).status == 404
