"""Reading over HTTP from real servers on this machine."""

from __future__ import annotations

import base64
import gzip
import threading
import time
from pathlib import Path

import pytest

from locara_label.errors import BadOption, Cancelled, FetchFailed, NotAllowed
from locara_label.fetch import Fetcher, Rules
from locara_label.runtime.session import Stop
from tests.fetch.web import (
    LEGACY,
    PICTURE,
    Answer,
    Request,
    Web,
    code_of,
    private_fetcher,
    redirect,
    studio_fetcher,
)


@pytest.mark.parametrize("reference", ["/data/upload/1/a.jpg", "upload/1/a.jpg", "/upload/1/a.jpg", "{}/data/upload/1/a.jpg"])
def test_an_upload_is_read_with_the_token(studio: Web, reference: str) -> None:
    studio.routes["/data/upload/1/a.jpg"] = Answer(body=PICTURE)
    assert studio_fetcher(studio).read(reference.format(studio.url)) == PICTURE
    assert studio.tokens() == [f"Token {LEGACY}"]
    assert studio.log[0].headers["host"] == f"127.0.0.1:{studio.port}"
    assert studio.log[0].headers["accept-encoding"] == "identity"


def test_names_are_encoded_as_a_browser_does(studio: Web) -> None:
    studio.routes["/data/local-files/?d=my%20d%C3%ADr/a%20b.jpg"] = Answer(body=PICTURE)
    assert studio_fetcher(studio).read("/data/local-files/?d=my dír/a%20b.jpg") == PICTURE


@pytest.mark.parametrize("reference", ["/data/upload/1/a.jpg", "/label/data/upload/1/a.jpg"])
def test_a_label_studio_below_a_path(studio: Web, reference: str) -> None:
    studio.routes["/label/data/upload/1/a.jpg"] = Answer(body=PICTURE)
    fetcher = Fetcher(Rules(label_studio_url=f"{studio.url}/label/", token=LEGACY))
    assert fetcher.read(reference) == PICTURE
    assert studio.tokens() == [f"Token {LEGACY}"]


@pytest.mark.parametrize(
    "path", ["/api/users/", "/data/uploads/1", "/projects/1/file-proxy/?url=aHR0cA", "/tasks/x/presign/", "/"]
)
def test_other_paths_of_label_studio_get_no_token(studio: Web, path: str) -> None:
    studio.routes[path.split("?", maxsplit=1)[0]] = Answer(body=b"x")
    studio_fetcher(studio).read(studio.url + path)
    assert studio.tokens() == [None]


def test_the_token_goes_to_no_other_port(studio: Web, foreign: Web) -> None:
    foreign.routes["/data/upload/1/a.jpg"] = Answer(body=PICTURE)
    rules = Rules(studio.url, LEGACY, allowed_hosts=(f"127.0.0.1:{foreign.port}",), allow_private=("127.0.0.0/8",))
    assert Fetcher(rules).read(f"{foreign.url}/data/upload/1/a.jpg") == PICTURE
    assert foreign.tokens() == [None]
    assert studio.log == []


@pytest.mark.parametrize(("owner", "path"), [({"task_id": 7}, "/tasks/7"), ({"project_id": 3}, "/projects/3")])
def test_a_cloud_file_is_presigned_and_read_without_the_token(
    studio: Web, foreign: Web, owner: dict[str, int], path: str
) -> None:
    uri = "s3://bucket/a b.jpg"
    foreign.routes["/bucket/a.jpg?X-Signature=canary"] = Answer(body=PICTURE)
    studio.routes[f"{path}/presign/"] = redirect(f"{foreign.url}/bucket/a.jpg?X-Signature=canary", 303)
    fetcher = studio_fetcher(studio, allow_private=(f"127.0.0.1:{foreign.port}",))
    assert fetcher.read(uri, **owner) == PICTURE  # type: ignore[arg-type]
    assert studio.log[0].target == f"{path}/presign/?fileuri={base64.urlsafe_b64encode(uri.encode()).decode()}"
    assert studio.tokens() == [f"Token {LEGACY}"]
    assert foreign.tokens() == [None]


def test_label_studio_may_give_a_cloud_file_itself(studio: Web) -> None:
    studio.routes["/tasks/7/presign/"] = Answer(body=PICTURE)
    assert studio_fetcher(studio).read("azure-blob://box/a.jpg", task_id=7) == PICTURE


def test_a_presigned_address_may_not_be_private(studio: Web, foreign: Web) -> None:
    studio.routes["/tasks/7/presign/"] = redirect(f"{foreign.url}/a.jpg")
    assert code_of(lambda: studio_fetcher(studio).read("gs://bucket/a.jpg", task_id=7)) == "fetch.private_address"
    assert foreign.log == []


def test_only_task_data_of_label_studio_may_name_hosts(studio: Web, foreign: Web) -> None:
    studio.routes["/open-redirect"] = redirect(f"{foreign.url}/a.jpg")
    fetcher = studio_fetcher(studio, allow_private=("127.0.0.1",))
    assert code_of(lambda: fetcher.read(f"{studio.url}/open-redirect")) == "fetch.not_allowed"
    studio.routes["/tasks/7/presign/"] = redirect(f"{foreign.url}/one")
    foreign.routes["/one"] = redirect("http://example.org/two")
    assert code_of(lambda: fetcher.read("gs://bucket/a.jpg", task_id=7)) == "fetch.not_allowed"
    assert [request.target for request in foreign.log] == ["/one"]


def test_a_cloud_file_needs_its_task_and_a_label_studio(studio: Web) -> None:
    assert code_of(lambda: studio_fetcher(studio).read("s3://bucket/a.jpg")) == "fetch.not_allowed"
    assert code_of(lambda: Fetcher(Rules()).read("s3://bucket/a.jpg", task_id=1)) == "fetch.not_allowed"
    assert studio.log == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "fetch.not_found"), (410, "fetch.not_found"), (401, "fetch.unauthorised"), (403, "fetch.unauthorised"),
        (500, "fetch.bad_status"), (429, "fetch.bad_status"), (204, "fetch.bad_status"), (304, "fetch.bad_status"),
    ],
)  # fmt: skip
def test_statuses(foreign: Web, status: int, code: str) -> None:
    foreign.routes["/a.jpg"] = Answer(status)
    assert code_of(lambda: private_fetcher(foreign).read(f"{foreign.url}/a.jpg")) == code


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_up_to_three_times(foreign: Web, status: int) -> None:
    foreign.routes["/0"], foreign.routes["/4"] = redirect("/1", status), Answer(body=PICTURE)
    for hop in (1, 2, 3):
        foreign.routes[f"/{hop}"] = redirect(f"{foreign.url}/{hop + 1}", status)
    assert private_fetcher(foreign).read(f"{foreign.url}/1") == PICTURE
    assert code_of(lambda: private_fetcher(foreign).read(f"{foreign.url}/0")) == "fetch.redirects"


def test_a_redirect_carries_no_token_even_home(studio: Web, foreign: Web) -> None:
    studio.routes["/data/upload/1/a.jpg"] = redirect("/data/upload/1/b.jpg")
    studio.routes["/data/upload/1/b.jpg"] = redirect(f"{foreign.url}/c.jpg")
    foreign.routes["/c.jpg"] = Answer(body=PICTURE)
    rules = Rules(studio.url, LEGACY, allowed_hosts=(f"127.0.0.1:{foreign.port}",), allow_private=("127.0.0.1",))
    assert Fetcher(rules).read("/data/upload/1/a.jpg") == PICTURE
    assert studio.tokens() == [f"Token {LEGACY}", None]
    assert foreign.tokens() == [None]


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://10.0.0.1/", "fetch.not_allowed"),
        ("http://example.org/", "fetch.not_allowed"),
        ("//example.org/a.jpg", "fetch.not_allowed"),
        ("http://user:secret@127.0.0.1/", "fetch.bad_url"),
        ("file:///etc/passwd", "fetch.bad_url"),
        ("gopher://127.0.0.1/", "fetch.bad_url"),
        ("http:\\\\example.org/", "fetch.bad_url"),
        ("", "fetch.redirects"),
        ("data:image/png;base64,AAAA", "fetch.bad_url"),
    ],
)
def test_redirects_to_elsewhere(foreign: Web, location: str, code: str) -> None:
    foreign.routes["/a.jpg"] = redirect(location)
    assert code_of(lambda: private_fetcher(foreign).read(f"{foreign.url}/a.jpg")) == code
    assert len(foreign.log) == 1 if location else True


def test_a_redirect_without_an_address(foreign: Web) -> None:
    foreign.routes["/a.jpg"] = Answer(302)
    assert code_of(lambda: private_fetcher(foreign).read(f"{foreign.url}/a.jpg")) == "fetch.redirects"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nshort",), "fetch.bad_answer"),
        ((CHUNKED, b"5\r\nshort\r\n"), "fetch.bad_answer"),
        ((CHUNKED, *[b"400\r\n" + bytes(1024) + b"\r\n"] * 20), "fetch.too_large"),
        ((b"HTTP/1.1 200 OK\r\n\r\n", *[bytes(1024)] * 20), "fetch.too_large"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nshort",), "fetch.bad_answer"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,), "fetch.bad_answer"),
        ((b"SSH-2.0-OpenSSH_9.2\r\n\r\n",), "fetch.bad_answer"),
        ((b"\x00" * 64 + b"\r\n\r\n",), "fetch.bad_answer"),
        ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",), "fetch.bad_answer"),
    ],
)
def test_answers_that_lie(foreign: Web, raw: tuple[bytes, ...], code: str) -> None:
    foreign.routes["/a.jpg"] = Answer(raw=raw)
    assert code_of(lambda: private_fetcher(foreign).read(f"{foreign.url}/a.jpg", max_bytes=10_000)) == code


def test_a_body_of_the_limit_is_read_and_one_more_is_not(foreign: Web) -> None:
    foreign.routes["/a.jpg"] = Answer(body=PICTURE)
    fetcher = private_fetcher(foreign, max_bytes=len(PICTURE))
    assert fetcher.read(f"{foreign.url}/a.jpg", max_bytes=1 << 40) == PICTURE
    assert code_of(lambda: fetcher.read(f"{foreign.url}/a.jpg", max_bytes=len(PICTURE) - 1)) == "fetch.too_large"


def test_a_gzip_bomb_is_not_unpacked(foreign: Web) -> None:
    foreign.routes["/a.jpg"] = Answer(body=gzip.compress(bytes(1 << 20)), headers=(("Content-Encoding", "gzip"),))
    assert code_of(lambda: private_fetcher(foreign).read(f"{foreign.url}/a.jpg")) == "fetch.bad_answer"


def test_a_slow_drip_ends_at_the_deadline(foreign: Web) -> None:
    drip = Answer(raw=(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", *[b"x"] * 9000), pause_s=0.05)
    foreign.routes["/body"] = drip
    foreign.routes["/head"] = Answer(
        raw=tuple(bytes([code]) for code in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500), pause_s=0.05
    )
    for path in ("/body", "/head"):
        assert code_of(lambda path=path: private_fetcher(foreign).read(foreign.url + path, deadline_s=0.5)) == "fetch.timeout"  # type: ignore[misc]
    assert code_of(lambda: private_fetcher(foreign, total_s=0.5).read(foreign.url + "/body", deadline_s=60)) == "fetch.timeout"


def test_silence_ends_after_the_idle_limit(foreign: Web) -> None:
    foreign.routes["/a.jpg"] = Answer(raw=(b"HTTP/1.1 200 OK\r\n", b"\r\n"), pause_s=20)
    with pytest.raises(FetchFailed, match="no byte") as caught:
        private_fetcher(foreign, idle_s=0.3).read(f"{foreign.url}/a.jpg")
    assert caught.value.code == "fetch.timeout"


def test_a_read_is_stopped_from_another_thread(foreign: Web) -> None:
    stop = Stop()

    def stopping(_: Request) -> Answer:
        stop.set()
        return Answer(raw=(b"late",), pause_s=20)

    foreign.routes["/a.jpg"] = stopping
    with pytest.raises(Cancelled):
        private_fetcher(foreign).read(f"{foreign.url}/a.jpg", stop=stop)
    with pytest.raises(Cancelled):
        private_fetcher(foreign).read("data:image/png,x", stop=stop)


def test_a_resolver_that_hangs_ends_at_the_deadline() -> None:
    released = threading.Event()

    def hanging(host: str, port: int) -> list[str]:
        released.wait(20)
        return []

    fetcher = Fetcher(Rules(allowed_hosts=("example.org",)), resolver=hanging)
    assert code_of(lambda: fetcher.read("http://example.org/", deadline_s=0.3)) == "fetch.timeout"
    released.set()


def test_nobody_answers(foreign: Web) -> None:
    with Web() as gone:
        url, fetcher = f"{gone.url}/a.jpg", private_fetcher(gone)
    assert code_of(lambda: fetcher.read(url)) == "fetch.unreachable"
    unknown = Fetcher(Rules(allowed_hosts=("example.org",)), resolver=lambda *_: [])
    assert code_of(lambda: unknown.read("http://example.org/")) == "fetch.unreachable"


def test_the_environment_is_not_obeyed(foreign: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    foreign.routes["/a.jpg"] = Answer(body=PICTURE)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert private_fetcher(foreign).read(f"{foreign.url}/a.jpg") == PICTURE
    assert foreign.tokens() == [None]


def test_identities(studio: Web) -> None:
    fetcher = studio_fetcher(studio)
    same = {fetcher.identity(text) for text in ("/data/upload/1/a.jpg", f"{studio.url}/data/upload/1/a.jpg#x")}
    assert len(same) == 1
    texts = ["/data/upload/1/b.jpg", "/data/upload/1/a.jpg?v=2", "data:image/png,x", "data:image/png,y"]
    clouds = [fetcher.identity("s3://b/a.jpg", task_id=1), fetcher.identity("s3://b/a.jpg", task_id=2)]
    clouds.append(fetcher.identity("s3://b/a.jpg", project_id=1))
    assert len(same | {fetcher.identity(text) for text in texts} | set(clouds)) == 8
    assert code_of(lambda: fetcher.identity("http://example.org/a.jpg")) == "fetch.not_allowed"
    assert studio.log == []


@pytest.mark.parametrize(
    "values",
    [
        {"label_studio_url": "ftp://host/"}, {"label_studio_url": "http://u:p@host/"}, {"label_studio_url": "http://host/?a=1"},
        {"label_studio_url": "http://host/#a"}, {"allowed_hosts": ("http://host/",)}, {"allowed_hosts": ("",)},
        {"allowed_hosts": ("a.*",)}, {"allowed_hosts": ("host:port",)}, {"allow_private": ("*",)}, {"allow_private": ("*:*",)},
        {"roots": (Path("/"),)}, {"roots": (Path("here"),)}, {"roots": (Path("/a/../.."),)}, {"local_files_root": Path("/")},
        {"token": "with space"}, {"token": "line\r\nX: y"}, {"token": ""}, {"max_bytes": 0}, {"total_s": 0.0},
        {"max_redirects": -1},
    ],
)  # fmt: skip
def test_rules_that_cannot_be_meant(values: dict[str, object]) -> None:
    with pytest.raises(BadOption) as caught:
        Rules(**values)  # type: ignore[arg-type]
    assert caught.value.code == "option.setting"
    assert "X: y" not in str(caught.value)


def test_local_files_are_read_from_disk_only_where_both_are_granted(studio: Web, tmp_path: Path) -> None:
    documents, reference = tmp_path / "documents", "/data/local-files/?d=set/a.jpg"
    (documents / "set").mkdir(parents=True)
    (documents / "set" / "a.jpg").write_bytes(b"disk")
    studio.routes["/data/local-files/"] = Answer(body=b"http")
    assert studio_fetcher(studio).read(reference) == b"http"
    assert studio_fetcher(studio, local_files_root=documents).read(reference) == b"http"
    assert studio_fetcher(studio, roots=(documents,)).read(reference) == b"http"
    both = studio_fetcher(studio, roots=(documents / "set",), local_files_root=documents)
    assert both.read(reference) == b"disk"
    assert both.read(f"{studio.url}{reference}") == b"disk"
    assert both.read("/data/local-files/?d=missing.jpg") == b"http"
    assert both.read("/data/local-files/?d=set/missing.jpg") == b"http"
    (tmp_path / "secret").write_bytes(b"canary")
    (documents / "set" / "link").symlink_to(tmp_path / "secret")
    assert both.read("/data/local-files/?d=set/link") == b"http"
    for trick in ("../secret", "..%2fsecret", "%252e%252e/secret", "set/../../secret", "", "/", "..\\secret"):
        assert code_of(lambda trick=trick: both.read(f"/data/local-files/?d={trick}")) == "fetch.bad_url", trick  # type: ignore[misc]
    assert both.read(f"/data/local-files/?d={tmp_path}/secret") == b"http"


def test_a_stop_before_the_read_opens_nothing(foreign: Web) -> None:
    started = time.monotonic()
    with pytest.raises(FetchFailed, match="deadline"):
        private_fetcher(foreign).read(f"{foreign.url}/a.jpg", deadline_s=0)
    assert foreign.log == []
    assert time.monotonic() >= started


def test_not_allowed_is_a_permission_error() -> None:
    with pytest.raises(PermissionError):
        Fetcher(Rules()).read("http://example.org/a.jpg")
    with pytest.raises(NotAllowed, match=r"http://example\.org/a\.jpg is on a host"):
        Fetcher(Rules()).read("http://example.org/a.jpg?secret")
