"""Hostile addresses and paths through the routes of the server: nothing is read, nothing is sent, no secret is told."""

from __future__ import annotations

import base64
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locara_label import images
from locara_label.engine.granted import rules
from locara_label.engine.loading import load
from locara_label.fetch import Fetcher, paths
from locara_label.models.classic import Classic
from locara_label.server.models import Models
from locara_label.server.service import Service
from locara_label.settings import load as load_settings
from tests.fetch.web import LEGACY, PERSONAL, Answer, Web, redirect
from tests.hostile import test_paths, test_urls
from tests.hostile.test_paths import CANARY, Tree, filled, make_tree
from tests.server.running import Client, Reply, serving

CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">{labels}</BrushLabels>'
    '<KeyPointLabels name="kp" toName="image" smart="true">{labels}</KeyPointLabels></View>'
)
SIDE = 48
ROUTES = ("segment", "mask_from_prompt", "click", "batch")
NOT_ALLOWED = {"fetch.not_allowed", "fetch.private_address", "fetch.bad_url", "fetch.scheme"}
EMPTY = {"request.image", "task.data"}
PICTURE = images.encode_png(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8))


@dataclass(frozen=True)
class Asked:
    """A server, the labeling config of its project, and where it keeps its log."""

    client: Client
    service: Service
    config: str

    def send(self, route: str, reference: str, **headers: str) -> Reply:
        if route in {"segment", "mask_from_prompt"}:
            more = {"points": [[5, 5]]} if route == "mask_from_prompt" else {}
            return self.client.post(f"/v1/{route}", {"image": reference, **more}, **headers)
        return self.client.post("/predict", self._task(reference, is_click=route == "click"), **headers)

    def _task(self, reference: str, *, is_click: bool) -> dict[str, Any]:
        value = {"x": 20, "y": 20, "width": 1, "keypointlabels": ["circle"]}
        region = {"original_width": SIDE, "original_height": SIDE, "image_rotation": 0, "value": value, "is_positive": True}
        asked = {**region, "id": "r1", "from_name": "kp", "to_name": "image", "type": "keypointlabels"}
        return {
            "tasks": [{"id": 1, "data": {"image": reference}}],
            "project": "1.1",
            "label_config": self.config,
            "params": {"context": {"result": [asked]}} if is_click else {},
        }

    def code(self, route: str, reference: str, caplog: pytest.LogCaptureFixture) -> str:
        """How a reference was refused; "read" where it was not. A batch tells it to nobody but the log."""
        caplog.clear()
        reply = self.send(route, reference)
        if reply.status != 200:
            return reply.code if reply.status in {403, 422} else f"status {reply.status}"
        if route != "batch" or reply.json()["results"] != [[]]:
            return "read"
        return next(str(record.code) for record in caplog.records if hasattr(record, "code"))


@pytest.fixture(scope="module")
def mini() -> Any:
    return load("mini", task="panoptic")


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "locara_label")


def served(mini: Any, tmp_path: Path, capabilities: dict[str, Any], **server: Any) -> Service:
    folders = {"cache_dir": tmp_path / "cache", "data_dir": tmp_path / "data"}
    settings = load_settings(**folders, capabilities=capabilities, server=server)
    return Service(settings, Models(Classic(), mini))


def labels(mini: Any) -> str:
    return CONFIG.format(labels="".join(f'<Label value="{one.name}"/>' for one in mini.labels if not one.is_stuff))


@pytest.fixture
def canary() -> Iterator[Web]:
    """Listens where nobody may ask; any picture could be had from it."""
    with Web() as web:
        web.routes["/"] = web.routes["/a.jpg"] = web.routes["/data/upload/1/a.png"] = Answer(body=PICTURE)
        yield web


@pytest.fixture
def studio() -> Iterator[Web]:
    with Web() as web:
        web.routes["/data/upload/1/a.png"] = Answer(body=PICTURE)
        yield web


@pytest.fixture
def public(mini: Any, tmp_path: Path, studio: Web, canary: Web, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Asked, set]]:
    """A server that may ask every public host, and all places that anybody connected to, but for the test's own."""
    service = served(mini, tmp_path, {"hosts": ["*:*"]}, label_studio_url=studio.url, api_key=LEGACY)
    service.fetcher = Fetcher(rules(service.settings), resolver=test_urls._resolver)
    seen: set[tuple[str, int]] = set()
    real = socket.socket.connect

    def connect(opened: socket.socket, address: Any) -> None:
        if opened.family == socket.AF_UNIX or address[1] in {client.port, studio.port}:
            return real(opened, address)
        seen.add(address[:2])
        if address[1] == canary.port:
            return real(opened, address)
        raise ConnectionRefusedError(111, "the test lets nothing out")

    with serving(service) as client:
        monkeypatch.setattr(socket.socket, "connect", connect)
        yield Asked(client, service, labels(mini)), seen
        monkeypatch.undo()


@pytest.mark.parametrize("route", ROUTES)
def test_the_routes_read_what_is_granted(public: tuple[Asked, set], studio: Web, route: str, caplog) -> None:
    asked, seen = public
    assert asked.code(route, "/data/upload/1/a.png", caplog) == "read"
    assert set(studio.tokens()) == {f"Token {LEGACY}"}
    assert seen == set()
    assert asked.code(route, "http://good.example/a.png", caplog) == "fetch.unreachable"
    assert seen == {(test_urls.PUBLIC, 80)}


@pytest.mark.parametrize("route", ROUTES)
def test_no_hostile_address_is_asked(public: tuple[Asked, set], canary: Web, studio: Web, route: str, caplog) -> None:
    asked, seen = public
    hosts = [host for host in test_urls.PRIVATE_HOSTS if host.isascii()]
    references = [*test_urls.TRICKS, *(f"http://{host}:{canary.port}/a.jpg" for host in hosts)]
    references += [f"http://good.example@127.0.0.1:{canary.port}/", f"//127.0.0.1:{canary.port}/data/upload/1/a.png"]
    assert len(references) >= 120
    found = {reference: asked.code(route, reference, caplog) for reference in references}
    others = {reference: code for reference, code in found.items() if code not in NOT_ALLOWED}
    assert set(others.values()) <= EMPTY | {"fetch.unreachable", "fetch.not_found"}, others
    assert [reference for reference, code in others.items() if code in EMPTY] == [""]
    assert seen == set()
    assert canary.log == []
    # a cloud file is Label Studio's own to give or to refuse
    assert {request.target.split("?")[0] for request in studio.log} <= {"/tasks/1/presign/"}


@pytest.mark.parametrize("route", ROUTES)
def test_no_redirect_leads_to_the_canary(public: tuple[Asked, set], canary: Web, studio: Web, route: str, caplog) -> None:
    asked, seen = public
    for number, host in enumerate(["127.0.0.1", "localhost", "[::1]", "2130706433", "rebound.example", "0"]):
        studio.routes[f"/data/upload/1/{number}.png"] = redirect(f"http://{host}:{canary.port}/a.jpg")
        assert asked.code(route, f"/data/upload/1/{number}.png", caplog) in NOT_ALLOWED | {"fetch.unreachable"}
    assert len({request.target for request in studio.log}) == 6
    assert (seen, canary.log) == (set(), [])


@pytest.mark.parametrize("route", ROUTES)
def test_no_path_trick_reads_a_file(mini: Any, tmp_path: Path, route: str, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    tree = make_tree(tmp_path)
    tree.canary.write_bytes(PICTURE + CANARY)  # whoever reads it gets an answer
    (tree.root / "granted.png").write_bytes(PICTURE)
    service = served(mini, tmp_path, {"folders": [str(tree.root)]})
    monkeypatch.chdir(tree.root)
    monkeypatch.setenv("HOME", str(tree.root))
    with serving(service) as client:
        asked = Asked(client, service, labels(mini))
        assert asked.code(route, str(tree.root / "granted.png"), caplog) == "read"
        real, opened = paths._descriptor, list[paths.Granted]()
        monkeypatch.setattr(paths, "_descriptor", lambda granted: opened.append(granted) or real(granted))
        found = {trick: asked.code(route, filled(trick, tree), caplog) for trick in test_paths.TRICKS}
    assert len(found) >= 40
    assert {trick: code for trick, code in found.items() if code not in {"fetch.not_allowed", "fetch.scheme"}} == {}
    # the picture above may still be on its way into the cache, for the click that probably follows
    assert {granted.parts[-1] for granted in opened} <= {"granted.png"}


def test_answers_do_not_tell_what_lies_outside(mini: Any, tmp_path: Path) -> None:
    tree: Tree = make_tree(tmp_path)
    service = served(mini, tmp_path, {"folders": [str(tree.root)]})
    with serving(service) as client:
        asked = Asked(client, service, labels(mini))
        for route in ("segment", "mask_from_prompt", "click"):
            there, absent = (asked.send(route, f"{tree.outside}/{name}.jpg").body for name in ("canary", "absent"))
            assert there.replace(b"canary", b"") == absent.replace(b"absent", b"")


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
def test_no_secret_is_told(mini: Any, tmp_path: Path, studio: Web, token: str, caplog) -> None:
    """Token, access token, password of this server and signatures of addresses, whatever goes wrong."""
    secrets = [token, token.rsplit(".", maxsplit=1)[-1], "access-canary", "password-canary", "signature-canary"]
    secrets.append(base64.b64encode(b"me:password-canary").decode())
    studio.routes["/api/token/refresh/"] = Answer(body=b'{"access": "access-canary"}')
    studio.routes["/data/upload/1/away.png"] = redirect(f"{studio.url}/elsewhere?sig=signature-canary")
    studio.routes["/data/upload/1/refused.png"] = Answer(401, b"signature-canary")
    studio.routes["/data/upload/1/odd.png"] = Answer(raw=(b"HTTP/1.1 signature-canary\r\n\r\n",))
    server = {"label_studio_url": studio.url, "api_key": token, "basic_auth": "me:password-canary", "encode_ahead": 2}
    service = served(mini, tmp_path, {}, **server)
    said: list[bytes] = []
    with serving(service) as client:
        login = {"authorization": "Basic " + secrets[-1]}
        config, tell = labels(mini), '<TextArea name="says" toName="image" smart="true"/></View>'
        for text in (config, config.replace("</View>", tell)):
            asked = Asked(client, service, text)
            for name in ("a", "away", "refused", "odd", "missing"):
                for start in ("", studio.url, studio.url.replace("//", "//me:password-canary@")):
                    reference = f"{start}/data/upload/1/{name}.png?sig=signature-canary#signature-canary"
                    said += [asked.send(route, reference, **login).body for route in ROUTES]
        wrong = base64.b64encode(b"me:password-canary2").decode()
        said += [client.post("/predict", {}, authorization=f"Basic {wrong}").body, client.get("/metrics", **login).body]
        said += [client.get("/v1/models", **login).body, client.get("/ready", **login).body, repr(service.settings).encode()]
    said += [(record.getMessage() + str(record.args) + str(record.exc_text)).encode() for record in caplog.records]
    assert {record.name.split(".")[0] for record in caplog.records} >= {"locara_label", "httpx2"}
    whole = b"\n".join(said).decode()
    assert [secret for secret in secrets if secret in whole] == []
    assert any(given and token in given for given in studio.tokens()) or any(token.encode() in one.body for one in studio.log)
