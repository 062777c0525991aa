"""`/v1/video/sessions` of a real server: which videos are opened, what is refused, when files are gone."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from echo_clicks import metric
from held_video_model import HeldVideoModel
from running import Client
from session_clips import BASE, BOX, FRAMES, kept, opened, until
from task_files import Files


def test_closing_frees_the_file(serve: Callable[..., Client], clips: Path, own_temporary_files: Path) -> None:
    client = serve()
    at = opened(client, clips / "plain.mp4")
    assert len(kept(own_temporary_files)) == 1
    assert metric(client, "locara_video_sessions_open") == 1
    assert client.send("DELETE", at).json()["closed"] is True
    assert kept(own_temporary_files) == []
    assert metric(client, "locara_video_sessions_known") == 0
    for method, path in (("GET", at), ("GET", f"{at}/result"), ("DELETE", at), ("DELETE", f"{at}/objects/1")):
        assert (client.send(method, path).status, client.send(method, path).code) == (404, "video.unknown_session")
    for path in ("prompt", "propagate", "cancel", "lock"):
        reply = client.post(f"{at}/{path}", {"frame": 0, "object": 1, "box": BOX})
        assert (reply.status, reply.code) == (404, "video.unknown_session")


def test_the_file_may_vanish_where_it_came_from(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    source = clips / "passing.mp4"
    source.write_bytes((clips / "plain.mp4").read_bytes())
    client = serve(held, video_sessions=1)
    at = opened(client, source)
    source.unlink()
    client.post(f"{at}/prompt", {"frame": 2, "points": [[5, 7]]})
    opened(client, clips / "vfr.mp4")
    assert client.get(at).json()["in_memory"] is False
    assert client.post(f"{at}/prompt", {"frame": 5, "points": [[5, 9]], "object": 1}).json()["objects"][0]["area"] == 8


def test_videos_behind_addresses(serve: Callable[..., Client], clips: Path, files: Files, held: HeldVideoModel) -> None:
    files.content["/data/upload/1/clip.mp4"] = (clips / "plain.mp4").read_bytes()
    client = serve(held)
    opened(client, "/data/upload/1/clip.mp4")
    opened(client, f"{files.url}/data/upload/1/clip.mp4")
    assert [path for path, _ in files.asked] == ["/data/upload/1/clip.mp4"] * 2


@pytest.fixture
def refusing(serve: Callable[..., Client], clips: Path, files: Files) -> tuple[Client, Path, Files]:
    return serve(), clips, files


@pytest.mark.parametrize(
    ("video", "status", "code"),
    [
        ("/etc/passwd", 403, "fetch.not_allowed"),
        ("file:///etc/passwd", 403, "fetch.not_allowed"),
        ("http://127.0.0.1:1/x.mp4", 403, "fetch.not_allowed"),
        ("http://169.254.169.254/latest", 403, "fetch.not_allowed"),
        ("ftp://example.org/x.mp4", 403, "fetch.scheme"),
        ("plain.mp4", 403, "fetch.not_allowed"),
        ("{clips}/none.mp4", 422, "fetch.not_found"),
        ("{clips}", 403, "fetch.not_allowed"),
        ("{clips}/../passwd", 403, "fetch.not_allowed"),
        ("{clips}/broken.mp4", 422, None),
        ("{clips}/text.mp4", 422, "video.unknown_format"),
        ("{clips}/empty.mp4", 422, "video.empty"),
        ("{url}/data/upload/1/none.mp4", 422, "fetch.not_found"),
        ("", 422, "request.video"),
        ("x" * 70_000, 422, "request.video"),
        ("\x00", 403, None),
        (None, 422, "request.video"),
        (5, 422, "request.video"),
        ({"a": 1}, 422, "request.video"),
    ],
)  # fmt: skip
def test_what_is_no_video_leaves_nothing(refusing: tuple[Client, Path, Files], video: Any, status: int, code: str | None) -> None:
    client, clips, files = refusing
    given = video.replace("{clips}", str(clips)).replace("{url}", files.url) if isinstance(video, str) else video
    reply = client.post(BASE, {"video": given})
    assert (reply.status, code or reply.code) == (status, reply.code)
    assert reply.code.startswith(("video.", "fetch.", "request."))
    assert kept(Path(tempfile.gettempdir())) == []
    assert metric(client, "locara_video_sessions_known") == 0


def test_damage_is_told(serve: Callable[..., Client], clips: Path) -> None:
    client = serve()
    whole, cut = (client.post(BASE, {"video": str(clips / name)}).json() for name in ("plain.mp4", "cut.mp4"))
    assert (whole["damage"], whole["frames"]) == (None, FRAMES)
    assert cut["damage"]
    assert 0 < cut["frames"] < FRAMES


@pytest.mark.parametrize(
    ("setting", "code", "status"),
    [
        ({"video_bytes": 1000}, "video.too_large", 422),
        ({"video_frames": FRAMES - 1}, "video.too_many_frames", 422),
        ({"video_disk_bytes": 1000}, "run.queue_full", 429),
    ],
)
def test_limits_of_videos(serve: Callable[..., Client], clips: Path, setting: dict[str, int], code: str, status: int) -> None:
    client = serve(**setting)
    reply = client.post(BASE, {"video": str(clips / "plain.mp4")})
    assert (reply.status, reply.code) == (status, code)
    assert kept(Path(tempfile.gettempdir())) == []


def test_models_are_loaded_when_they_are_granted(serve: Callable[..., Client], clips: Path) -> None:
    asked = []

    def load(name: str) -> HeldVideoModel:
        asked.append(name)
        return HeldVideoModel()

    client = serve(capabilities={"models": ["other"]}, video_model="own")
    client.service._load_video = load
    assert client.get("/v1/models").json()["serving"]["video"] == "own"
    assert client.get("/ready").json()["models"]["video"] == "own"
    assert asked == []
    for name in (None, "own", "other", "other"):
        opened(client, clips / "plain.mp4", model=name)
    assert asked == ["own", "other"]
    reply = client.post(BASE, {"video": str(clips / "plain.mp4"), "model": "third"})
    assert (reply.status, reply.code, asked) == (403, "model.not_allowed", ["own", "other"])


def test_a_client_that_leaves_before_the_video_is_there_gets_no_session(
    serve: Callable[..., Client], clips: Path, own_temporary_files: Path
) -> None:
    client, body = serve(capabilities={"hosts": ["127.0.0.1:*"], "private": ["127.0.0.1"]}), b""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        body = json.dumps({"video": f"http://127.0.0.1:{silent.getsockname()[1]}/clip.mp4"}).encode()
        head = f"POST {BASE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            connection.sendall(head.encode() + body)
            asked, _ = silent.accept()
            until(lambda: len(kept(own_temporary_files)) == 1)
        until(lambda: kept(own_temporary_files) == [])
        asked.close()
    assert metric(client, "locara_video_sessions_known") == 0
