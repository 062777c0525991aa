"""Pages of other origins, in the browser of somebody whose server listens on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from locara_label.engine import browser_sam2
from locara_label.server.service import Service
from tests.hostile.bodies import attacked
from tests.hostile.wire import routes
from tests.server.running import Client

HOSTS = [
    "evil.example", "evil.example:9090", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:127.0.0.1",
    "127.0.0.2", "0.0.0.0", "[::2]", "[::ffff:127.0.0.1]", "2130706433", "127.1", "0x7f.1", "localhost.", "localhost:9090:80",
    "evil@localhost", "localhost/evil", "localhost#evil", "a, localhost", "", " ", "::1", "loc%61lhost", "xn--localhost",
    "localhost\t.evil.example",
]  # fmt: skip
pytestmark = pytest.mark.slow
ORIGINS = [
    "https://evil.example",
    "http://evil.example",
    "null",
    "http://localhost.evil.example",
    "file://",
    "http://127.0.0.1:5151",
]
FILES = ["application/octet-stream", "video/mp4", "video/x-matroska; codecs=avc1"]
KINDS = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "",
    "application/jsonx",
    "text/json",
    "video/",
    "text/plain, video/mp4",
    "multipart/form-data; boundary=video/mp4",
]


@pytest.fixture(scope="module")
def attack() -> Iterator[tuple[Client, Service]]:
    with attacked() as found:
        yield found


def test_a_name_that_is_not_ours_is_refused_on_every_route(attack: tuple[Client, Service]) -> None:
    client, service = attack
    for method, path in routes(service):
        for host in HOSTS:
            reply = client.send(method, path, b"{}" if method == "POST" else None, {"host": host})
            assert reply.status in {400, 421}, (method, path, host, reply.status)
            assert b"evil" not in b"".join(name.encode() for name in reply.headers)


def test_our_own_names_are_taken(attack: tuple[Client, Service]) -> None:
    client, _ = attack
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1", f"127.0.0.1:{client.port}", "[::1]", "[::1]:9090"):
        assert client.get("/health", host=host).status == 200


@pytest.mark.parametrize("origin", ORIGINS)
def test_no_page_may_read_an_answer(attack: tuple[Client, Service], origin: str) -> None:
    """But for the weights that FiftyOne's App fetches, which are no secret."""
    client, service = attack
    asking = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for method, path in routes(service):
        asked = client.send("OPTIONS", path, None, asking)
        body, kind = (b"{}", {"content-type": "application/json"}) if method == "POST" else (None, {})
        for reply in (asked, client.send(method, path, body, {"origin": origin, **kind})):
            named = [name for name in reply.headers if name.startswith("access-control")]
            assert named == [] or path.startswith(browser_sam2.FOLDER), (method, path, named)
        assert asked.status in {404, 405}


@pytest.mark.parametrize("kind", KINDS)
def test_a_form_of_a_page_changes_nothing(attack: tuple[Client, Service], kind: str) -> None:
    """What a page may send to another origin without being asked is not JSON."""
    client, service = attack
    posts = [path for method, path in routes(service) if method == "POST"]
    assert len(posts) >= 8
    for path in posts:
        assert client.send("POST", path, b'{"action": "X"}', {"content-type": kind}).code == "request.content_type"


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_taken_from_our_own_names_only(attack: tuple[Client, Service], kind: str) -> None:
    """A page has to ask before it sends a body of such a kind, and is told nothing; see also `test_pages`."""
    client, service = attack
    for method, path in routes(service):
        asking = {"access-control-request-method": method, "access-control-request-headers": "content-type"}
        asked = client.send("OPTIONS", path, None, {"origin": "https://evil.example", **asking})
        assert asked.status in {404, 405}
        if method == "POST":
            reply = client.send("POST", path, b"{}", {"content-type": kind, "origin": "https://evil.example"})
            assert reply.code in ({"video.unknown_format"} if path.endswith("/sessions") else {"request.content_type"})
            assert [name for name in reply.headers if name.startswith("access-control")] == []
            for host in HOSTS:
                assert client.send("POST", path, b"{}", {"content-type": kind, "host": host}).status in {400, 421}
    assert len(service.video_sessions) == service.video_files.nbytes == 0
