"""`/v1/video/sessions` of a real server: runs, told frame by frame, cancelled, refused, failing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from echo_clicks import metric
from held_video_model import HeldVideoModel
from running import Client
from session_clips import FRAMES, opened, until
from watching import Told, watching

from locara_label.server import events


@pytest.fixture
def running(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> tuple[Client, str]:
    """A session with a prompt on frame 0, whose model waits for permits."""
    client = serve(held, waiting=1)
    at = opened(client, clips / "plain.mp4")
    assert client.post(f"{at}/prompt", {"frame": 0, "points": [[5, 7]]}).status == 200
    held.permits = threading.Semaphore(0)
    held.steps.clear()
    return client, at


def test_frames_are_told_as_they_are_done(running: tuple[Client, str], held: HeldVideoModel) -> None:
    client, at = running
    with watching(client, f"{at}/propagate", {}) as watch:
        for frame in range(1, 6):
            held.permits.release()
            assert watch.until("frame").data["frame"] == frame
            assert held.steps[-1] in {frame, frame + 1}
        held.permits = None


def test_a_cancelled_run_says_so_and_keeps_what_is_there(running: tuple[Client, str], held: HeldVideoModel) -> None:
    client, at = running
    assert client.post(f"{at}/cancel", {}).json()["cancelled"] is False
    with watching(client, f"{at}/propagate", {}) as watch:
        for _ in range(3):
            held.permits.release()
            watch.until("frame")
        assert client.post(f"{at}/cancel", {}).json()["cancelled"] is True
        assert watch.until("done").data == {"state": "cancelled", "frames": 3}
        assert list(watch) == []
    until(lambda: not client.get(at).json()["running"])
    assert client.get(at).json()["objects"][0]["found"] == 4
    held.permits = None
    with watching(client, f"{at}/propagate", {}) as watch:
        assert [told.data["frame"] for told in watch if told.name == "frame"] == list(range(4, FRAMES))


def test_work_stops_when_the_client_is_gone(running: tuple[Client, str], held: HeldVideoModel) -> None:
    client, at = running
    with watching(client, f"{at}/propagate", {}) as watch:
        held.permits.release()
        watch.until("frame")
        watch.leave()
    until(lambda: not client.get(at).json()["running"])
    held.permits = None
    steps = list(held.steps)
    assert client.get(at).json()["objects"][0]["found"] == 2
    assert client.post(f"{at}/prompt", {"frame": 1, "points": [[5, 3]]}).status == 200
    assert held.steps == [*steps, 1]


def test_beside_a_run_the_session_only_tells_its_state(running: tuple[Client, str], held: HeldVideoModel) -> None:
    client, at = running
    with watching(client, f"{at}/propagate", {}) as watch:
        held.permits.release()
        watch.until("frame")
        assert client.get(at).json()["running"] is True
        refused = [
            client.post(f"{at}/prompt", {"frame": 5, "points": [[5, 3]]}),
            client.post(f"{at}/lock", {"frame": 0, "object": 1}),
            client.post(f"{at}/propagate", {}),
            client.get(f"{at}/result"),
        ]
        assert {(reply.status, reply.code) for reply in refused} == {(409, "video.busy")}
        assert client.send("DELETE", at).status == 200
        assert watch.until("done").data["state"] == "cancelled"
    assert client.get(at).status == 404


def test_runs_wait_for_each_other_and_too_many_are_refused(
    running: tuple[Client, str], held: HeldVideoModel, clips: Path
) -> None:
    client, at = running
    held.permits, permits = None, held.permits
    others = [opened(client, clips / "vfr.mp4") for _ in range(2)]
    for other in others:
        client.post(f"{other}/prompt", {"frame": 0, "points": [[5, 7]]})
    held.permits = permits
    with watching(client, f"{at}/propagate", {}) as first:
        held.permits.release()
        first.until("frame")
        with watching(client, f"{others[0]}/propagate", {}) as second:
            assert second.until("progress").data == {"state": "waiting", "frames": 0, "at_most": None}
            refused = client.post(f"{others[1]}/propagate", {})
            assert (refused.status, refused.code) == (429, "run.queue_full")
            assert int(refused.headers["retry-after"]) >= 1
            assert client.get("/ready").json()["waiting"]["tracking"] == 1
            assert client.post(f"{others[0]}/cancel", {}).json()["cancelled"] is True
            assert second.until("done").data == {"state": "cancelled", "frames": 0}
        held.permits = None
        assert first.until("done").data["frames"] == FRAMES - 1


def test_clicks_on_pictures_pass_a_run(running: tuple[Client, str], held: HeldVideoModel) -> None:
    """The frame under way is waited for, the next one is not."""
    client, at = running
    with watching(client, f"{at}/propagate", {}) as watch, ThreadPoolExecutor(1) as user:
        until(lambda: held.steps == [1])
        click = user.submit(client.post, "/v1/mask_from_prompt", {"image": "/data/upload/1/scene.png", "box": [50, 50, 200, 200]})
        until(lambda: client.get("/ready").json()["waiting"]["encoding"] == 1)
        held.permits.release()
        assert click.result(30).status == 200
        assert max(held.steps) <= 2
        held.permits = None
        assert watch.until("done").data["state"] == "done"


def test_a_run_that_fails_says_why_and_keeps_what_is_there(running: tuple[Client, str], held: HeldVideoModel) -> None:
    client, at = running
    held.permits, held.failing = None, {6}
    with watching(client, f"{at}/propagate", {}) as watch:
        assert list(watch)[-1] == Told("error", {"error": {"code": "run.failed", "message": "the model failed"}, "frames": 5})
    assert client.get(at).json()["objects"][0]["found"] == 6
    assert 'locara_errors_total{code="run.failed"} 1.0' in client.get("/metrics").body.decode()
    held.failing = set()
    with watching(client, f"{at}/propagate", {}) as watch:
        assert list(watch)[-1].data == {"state": "done", "frames": FRAMES - 6}


def test_a_silent_run_is_heard(running: tuple[Client, str], held: HeldVideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    client, at = running
    with watching(client, f"{at}/propagate", {}) as watch:
        threading.Timer(0.5, held.permits.release).start()
        watch.until("frame")
        assert watch.comments >= 1
        held.permits = None


def test_a_client_that_does_not_read_holds_nobody_up(running: tuple[Client, str], held: HeldVideoModel) -> None:
    client, at = running
    held.permits = None
    body = b'{"pointers": true}'
    kind = "content-type: application/json"
    head = f"POST {at}/propagate HTTP/1.1\r\nhost: localhost\r\n{kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.sendall(head.encode() + body)
        until(lambda: not client.get(at).json()["running"] and client.get(at).json()["objects"][0]["found"] == FRAMES)


def test_a_server_stops_while_a_run_goes_on(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    client = serve(held)
    at = opened(client, clips / "plain.mp4")
    client.post(f"{at}/prompt", {"frame": 0, "points": [[5, 7]]})
    held.permits = threading.Semaphore(0)
    with watching(client, f"{at}/propagate", {}) as watch:
        until(lambda: held.steps[-1:] == [1])
        client.service.close()
        assert watch.until("done").data == {"state": "cancelled", "frames": 0}
    assert metric(client, "locara_video_sessions_known") == 0
