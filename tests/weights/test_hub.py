"""Redirects, tokens and what is believed of an answer."""

from __future__ import annotations

import hashlib

import httpx2
import pytest

from locara_label.errors import DownloadFailed
from locara_label.weights.catalogue import Row
from locara_label.weights.digest import Digest
from locara_label.weights.hub import Hub, Link, Location, _following, _is_private
from tests.weights.hub_server import COMMIT, HubServer, blob_id
from tests.weights.sample_models import REPO, OpenStore

TOKEN = "hf_canary_0123456789"


def authorised(server: HubServer) -> list[bool]:
    return [request.headers.get("authorization") == f"Bearer {TOKEN}" for request in server.log]


def test_a_token_opens_a_gated_repository(open_store: OpenStore, hub: HubServer, row: Row):
    hub.gated.add(REPO)
    assert open_store(token=TOKEN).pull(row)
    assert all(authorised(hub))


def test_a_token_never_follows_to_another_origin(open_store: OpenStore, hub: HubServer, mirror: HubServer, row: Row):
    hub.faults.redirect_to = mirror.url
    assert open_store(token=TOKEN).pull(row)
    assert mirror.bodies("model.safetensors")
    assert not any("authorization" in request.headers for request in mirror.log)
    assert TOKEN not in str(mirror.log)


def test_a_token_never_goes_to_a_mirror(open_store: OpenStore, hub: HubServer, mirror: HubServer, row: Row):
    hub.files.clear()
    assert open_store(token=TOKEN, mirrors=(mirror.url,)).pull(row)
    assert not any("authorization" in request.headers for request in mirror.log)


def test_a_token_does_not_come_back_after_leaving():
    """Hub, other origin, hub again: the last request is the other origin's choice, not ours."""
    seen = []

    def bounce(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.url.host, "authorization" in request.headers))
        other = {"hub.example": "https://other.example/x", "other.example": "https://hub.example/secret"}
        return httpx2.Response(302, headers={"location": other[request.url.host]})

    with httpx2.Client(transport=httpx2.MockTransport(bounce)) as client:
        reading = Link(Hub("https://hub.example", token=TOKEN), client).read(
            "https://hub.example", Location(REPO, "main", "x"), 0
        )
        with pytest.raises(DownloadFailed, match="more than 3"):
            reading.__enter__()
    assert seen == [("hub.example", True), ("other.example", False), ("hub.example", False), ("other.example", False)]


def test_the_token_is_not_shown(hub: HubServer):
    assert TOKEN not in repr(Hub(hub.url, token=TOKEN))


@pytest.mark.parametrize("target", ["ftp://127.0.0.1", "file:///etc", "http://user:secret@127.0.0.1:1"])
def test_redirects_to_strange_places_are_refused(open_store: OpenStore, hub: HubServer, row: Row, target: str):
    hub.faults.redirect_to = target
    with pytest.raises(DownloadFailed) as failure:
        open_store().pull(row)
    assert "secret" not in failure.value.message


def test_https_does_not_fall_back_to_http():
    response = httpx2.Response(
        302, headers={"location": "http://cdn.example/x"}, request=httpx2.Request("GET", "https://hub.example")
    )
    with pytest.raises(DownloadFailed, match="not allowed"):
        _following(response, httpx2.URL("https://hub.example"))


def test_a_token_needs_https_or_this_machine():
    private = ["https://hub.example", "http://127.0.0.1:80", "http://localhost:8080", "http://[::1]"]
    open_ones = ["http://hub.example", "http://10.0.0.1", "http://127.0.0.1.hub.example"]
    assert all(_is_private(httpx2.URL(url)) for url in private)
    assert not any(_is_private(httpx2.URL(url)) for url in open_ones)


def test_redirects_end():
    seen = []

    def around(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(302, headers={"location": "/again"})

    with httpx2.Client(transport=httpx2.MockTransport(around)) as client, pytest.raises(DownloadFailed, match="more than 3"):
        Link(Hub("https://hub.example"), client).head(Location(REPO, "main", "x"), Digest())
    assert len(seen) == 4


def test_what_a_hub_says_about_files(hub: HubServer, weights: bytes):
    with Hub(hub.url).connect() as link:
        small = link.head(Location(REPO, "main", "config.json"), Digest())
        large = link.head(Location(REPO, "main", "model.safetensors"), Digest())
    data = hub.files[f"{REPO}/config.json"]
    assert small.digest == Digest(len(data), None, blob_id(data))
    assert large.digest == Digest(len(weights), hashlib.sha256(weights).hexdigest(), None)
    assert small.commit == large.commit == COMMIT


def test_an_etag_of_a_plain_server_is_not_a_digest(hub: HubServer):
    hub.faults.plain = True
    with Hub(hub.url).connect() as link:
        remote = link.head(Location(REPO, "main", "config.json"), Digest())
    assert remote.commit is None
    assert not remote.digest.is_known


def test_proxies_of_the_environment_are_ignored(open_store: OpenStore, row: Row, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert open_store().pull(row)
