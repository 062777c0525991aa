"""`/v1/video/sessions` of a real server, with the video as the body of the request."""

from __future__ import annotations

import base64
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from echo_clicks import metric
from held_video_model import HeldVideoModel
from running import Client, Reply
from session_clips import BASE, BOX, FRAMES, kept, masks, opened, until
from watching import watching

from locara_label.server import sending

FILE = {"content-type": "application/octet-stream"}


def send(client: Client, video: Path | bytes, query: str = "", **headers: str) -> Reply:
    body = video if isinstance(video, bytes) else video.read_bytes()
    return client.send("POST", BASE + query, body, {**FILE, **{name.replace("_", "-"): value for name, value in headers.items()}})


def sent(client: Client, video: Path) -> str:
    """The address of a new session."""
    reply = send(client, video)
    assert reply.status == 200, reply.body
    return f"{BASE}/{reply.json()['session']}"


def left() -> list[Path]:
    return kept(Path(tempfile.gettempdir()))


def test_a_video_that_is_sent_is_as_one_that_is_named(serve: Callable[..., Client], clips: Path) -> None:
    """Also after its session was evicted; and its file is gone with it."""
    client, found = serve(video_sessions=1), []
    for at in (sent(client, clips / "plain.mp4"), opened(client, clips / "plain.mp4")):
        shown = client.post(f"{at}/prompt", {"frame": 3, "box": BOX}).json()
        with watching(client, f"{at}/propagate", {"direction": "both"}) as watch:
            found.append((shown, masks(list(watch)), {**client.get(at).json(), "session": ""}))
    assert found[0] == found[1]
    assert len(found[0][1]) == FRAMES - 1
    at = sent(client, clips / "vfr.mp4")
    client.post(f"{at}/prompt", {"frame": 0, "box": BOX})
    opened(client, clips / "plain.mp4")
    assert client.get(at).json()["in_memory"] is False
    assert client.post(f"{at}/prompt", {"frame": 5, "box": BOX}).status == 200
    before = len(left())
    assert client.send("DELETE", at).status == 200
    assert len(left()) == before - 1


def test_name_and_model_are_in_the_address(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    client = serve(held, capabilities={"models": ["other"]})
    made = send(client, clips / "plain.mp4", "?name=a%20clip%20%E2%98%83&model=other&x=y", content_type="video/mp4; codecs=avc1")
    assert (made.status, made.json()["name"], made.json()["frames"]) == (200, "a clip ☃", FRAMES)
    again = send(client, clips / "plain.mp4", "?name=a%20clip%20%E2%98%83")
    assert (again.status, again.code) == (409, "video.name_taken")
    assert send(client, clips / "plain.mp4", "?name=&model=").status == 200
    third = send(client, clips / "plain.mp4", "?model=third")
    assert (third.status, third.code) == (403, "model.not_allowed")
    assert send(client, clips / "plain.mp4", f"?name={'x' * 2000}").code == "request.video"
    assert len(left()) == 2


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content_type": "text/plain"}, "request.content_type"),
        ({"content_type": ""}, "request.content_type"),
        ({"content_type": "video/"}, "request.content_type"),
        ({"content_type": "video"}, "request.content_type"),
        ({"content_type": "text/plain, video/mp4"}, "request.content_type"),
        ({"content_type": "multipart/form-data; boundary=video/mp4"}, "request.content_type"),
        ({"content_type": "application/json"}, "request.json"),
        ({"content_encoding": "gzip"}, "request.content_encoding"),
        ({"host": "evil.example"}, "request.host"),
    ],
)
def test_what_is_sent_otherwise_is_refused(serve: Callable[..., Client], clips: Path, headers: dict[str, str], code: str) -> None:
    assert send(serve(), clips / "plain.mp4", **headers).code == code
    assert left() == []


def test_it_works_below_a_path_too(serve: Callable[..., Client], clips: Path) -> None:
    client = serve(path="/assist")
    reply = client.send("POST", f"/assist{BASE}", (clips / "plain.mp4").read_bytes(), FILE)
    assert (reply.status, reply.json()["frames"]) == (200, FRAMES)
    assert send(client, clips / "plain.mp4").status == 415


@pytest.mark.parametrize("path", ["/prompt", "/propagate", "/cancel", "/lock"])
def test_the_other_routes_take_no_file(serve: Callable[..., Client], clips: Path, held: HeldVideoModel, path: str) -> None:
    client = serve(held)
    at = sent(client, clips / "plain.mp4")
    for address in (f"{at}{path}", "/v1/segment", f"{BASE}/"):
        reply = client.send("POST", address, b"{}", FILE)
        assert (reply.status, reply.code) == (415, "request.content_type")


def test_a_password_is_asked_for_and_sessions_are_their_owners(serve: Callable[..., Client], clips: Path) -> None:
    client = serve(basic_auth="me:secret")
    me = "Basic " + base64.b64encode(b"me:secret").decode()
    assert (send(client, clips / "plain.mp4").status, left()) == (401, [])
    made = send(client, clips / "plain.mp4", "?name=n", authorization=me).json()["session"]
    assert client.service.video_sessions.find("user:me", "n") == made


@pytest.mark.parametrize(
    ("setting", "status", "code"),
    [
        ({"video_bytes": 1000}, 413, "request.too_large"),
        ({"video_frames": FRAMES - 1}, 422, "video.too_many_frames"),
        ({"video_disk_bytes": 1000}, 429, "run.queue_full"),
    ],
)
def test_limits(serve: Callable[..., Client], clips: Path, setting: dict[str, int], status: int, code: str) -> None:
    client, whole = serve(**setting), (clips / "plain.mp4").read_bytes()
    known = send(client, whole)
    unknown = client.send("POST", BASE, iter([whole[:700], whole[700:]]), FILE)  # type: ignore[arg-type]
    for reply in (known, unknown):
        assert (reply.status, reply.code) == (status, code)
    assert (left(), client.service.video_files.nbytes) == ([], 0)
    assert metric(client, "locara_video_sessions_known") == 0


@pytest.mark.parametrize(
    ("name", "code"),
    [("text.mp4", "video.unknown_format"), ("empty.mp4", "video.empty"), ("broken.mp4", "video.")],
)
def test_what_is_no_video_leaves_nothing(serve: Callable[..., Client], clips: Path, name: str, code: str) -> None:
    client = serve()
    reply = send(client, clips / name)
    assert reply.status == 422
    assert reply.code.startswith(code)
    assert str(clips) not in reply.body.decode()
    assert (left(), client.service.video_files.nbytes) == ([], 0)


def test_damage_is_told(serve: Callable[..., Client], clips: Path) -> None:
    assert send(serve(), clips / "cut.mp4").json()["damage"]


@pytest.fixture
def begun(serve: Callable[..., Client]) -> Iterator[Callable[..., tuple[Client, socket.socket]]]:
    """A request whose body is longer than what is sent of it."""
    connections = []

    def begin(**setting: Any) -> tuple[Client, socket.socket]:
        client = serve(**setting)
        connection = socket.create_connection(("127.0.0.1", client.port), timeout=20)
        connections.append(connection)
        head = f"POST {BASE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: video/mp4\r\ncontent-length: 90000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 1000)
        return client, connection

    yield begin
    for connection in connections:
        connection.close()


def test_a_body_that_stops_coming_is_not_waited_for(
    begun: Callable[..., tuple[Client, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BODY_S", 0.3)
    client, connection = begun()
    answer = b"".join(iter(lambda: connection.recv(10_000), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"request.slow"' in answer
    assert (left(), client.service.video_files.nbytes) == ([], 0)


def test_a_body_that_trickles_is_not_waited_for(begun: Callable[..., tuple[Client, socket.socket]]) -> None:
    client, connection = begun(video_fetch_s=0.5)
    connection.settimeout(0.05)
    answer = b""
    while not answer:
        connection.sendall(b"x")
        try:
            answer = connection.recv(10_000)
        except TimeoutError:
            continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert (left(), client.service.video_files.nbytes) == ([], 0)


def test_a_client_that_leaves_leaves_nothing(begun: Callable[..., tuple[Client, socket.socket]]) -> None:
    client, connection = begun()
    until(lambda: len(left()) == 1)
    connection.close()
    until(lambda: left() == [])
    assert client.service.video_files.nbytes == 0
    assert metric(client, "locara_video_sessions_known") == 0


def test_a_server_that_stops_leaves_nothing(begun: Callable[..., tuple[Client, socket.socket]]) -> None:
    client, _ = begun()
    until(lambda: len(left()) == 1)
    client.service.close()
    until(lambda: left() == [])
