"""Secrets through every route and every failure, also one that nobody thought of: none is answered, logged or counted."""

from __future__ import annotations

import base64
import io
import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from locara_label.models.classic import Classic
from locara_label.server import service as services
from locara_label.server.models import Models
from locara_label.server.run import Redacted, log_config, secrets_of
from locara_label.server.service import Service
from locara_label.settings import Settings
from locara_label.settings import load as load_settings
from tests.hostile.bodies import OWN, samples
from tests.hostile.wire import routes
from tests.server.running import Client, serving

API_KEY, PASSWORD, HUB = "api-key-canary-0123456789", "password-canary-0123456789", "hf_hub-canary-0123456789"
GUESSED, IN_QUERY, IN_COOKIE, IN_BODY = "guessed-canary-1", "query-canary-2", "cookie-canary-3", "body-canary-4"
LOGIN = {"authorization": "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()}
SECRETS = (API_KEY, PASSWORD, HUB, LOGIN["authorization"][6:], GUESSED, IN_QUERY, IN_COOKIE, IN_BODY)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    server = {"label_studio_url": "http://127.0.0.1:9", "api_key": API_KEY, "basic_auth": f"me:{PASSWORD}"}
    return load_settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", token=HUB, server=server)


@pytest.fixture
def logged(settings: Settings) -> Iterator[io.StringIO]:
    """What a server would write, all of it: at the lowest level, of every library."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(Redacted(secrets_of(settings)))
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.setLevel(before)
    root.removeHandler(handler)


def ways(path: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Addresses and headers with secrets in them."""
    asked = f"{path}?token={IN_QUERY}&sig={IN_QUERY}"
    told = {"cookie": f"sessionid={IN_COOKIE}", "content-type": "application/json"}
    yield asked, LOGIN | told
    yield asked, {"authorization": f"Bearer {GUESSED}", **told}
    yield asked, {"authorization": "Basic " + base64.b64encode(f"me:{GUESSED}".encode()).decode(), **told}
    yield asked, {**LOGIN, **told, "content-type": f"text/plain; x={IN_COOKIE}"}
    yield asked, {**LOGIN, **told, "host": "evil.example"}
    yield asked, told


def bodies(path: str) -> list[bytes]:
    secret = {"access_token": IN_BODY, "login": IN_BODY, "password": IN_BODY, "token": IN_BODY}
    found: list[Any] = [body for at, body in (*samples(), *OWN) if at == path][:3] or [{}]
    for body in found:
        if "params" in body:
            body["params"] = {**body["params"], **secret}
    return [json.dumps({**body, **secret}).encode() for body in found] + [b"{" + IN_BODY.encode(), b"[]"]


def everything(client: Client, service: Service) -> list[bytes]:
    said = []
    for method, path in routes(service):
        for address, headers in ways(path.replace("{", "").replace("}", "")):
            for body in bodies(path) if method == "POST" else [None]:
                reply = client.send(method, address, body, headers)
                said += [reply.body, repr(sorted(reply.headers.items())).encode()]
    return [*said, client.get("/metrics", **LOGIN).body, repr(service.settings).encode()]


def told(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.slow
def test_no_route_tells_a_secret(settings: Settings, logged: io.StringIO) -> None:
    service = Service(settings, Models(Classic()))
    with serving(service) as client:
        said = b"\n".join(everything(client, service)).decode("utf-8", "replace")
    assert told(said) == []
    assert told(logged.getvalue()) == []
    assert "/predict refused or failed" in logged.getvalue()


def test_a_failure_that_nobody_thought_of_tells_nothing(
    settings: Settings, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError(f"GET https://x.example/?token={IN_QUERY} Token {GUESSED} {API_KEY} {LOGIN} {PASSWORD}")

    monkeypatch.setattr(services.v1, "segment", fails)
    with serving(Service(settings, Models(Classic()))) as client:
        reply = client.post("/v1/segment", {"image": "x"}, **LOGIN)
    assert (reply.status, reply.code) == (500, "internal")
    assert told(reply.body.decode()) == []
    assert "ZeroDivisionError" in logged.getvalue()
    assert told(logged.getvalue()) == []


@pytest.mark.parametrize("as_json", [True, False])
def test_a_log_says_where_a_bug_is_and_no_secret(settings: Settings, as_json: bool) -> None:
    config = log_config(as_json=as_json, secrets=secrets_of(settings))
    made = logging.config.DictConfigurator(config)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(Redacted(secrets_of(settings)))
    handler.setFormatter(made.configure_formatter(config["formatters"]["lines"]))
    try:
        {}[API_KEY]
    except KeyError as error:
        handler.handle(
            logging.makeLogRecord({"msg": "bug %s", "args": (PASSWORD,), "exc_info": (KeyError, error, error.__traceback__)})
        )
    assert "test_canaries.py" in written.getvalue()
    assert told(written.getvalue()) == []
    if as_json:
        assert set(json.loads(written.getvalue())) >= {"message", "traceback"}
