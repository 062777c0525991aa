"""Tokens and certificates: whom they go to, and that nobody reads them."""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from locara_label.errors import FetchFailed, LocaraError
from locara_label.fetch import Fetcher, Rules
from locara_label.fetch.credentials import ACCESS_S, PersonalToken, credential
from tests.fetch.web import (
    LEGACY,
    PERSONAL,
    PICTURE,
    Answer,
    PersonalTokens,
    Web,
    code_of,
    private_fetcher,
    redirect,
    studio_fetcher,
)


def test_a_personal_token_is_exchanged_once_for_many_threads(studio: Web) -> None:
    tokens = PersonalTokens(studio, PICTURE)
    fetcher, found = studio_fetcher(studio, PERSONAL), list[bytes]()
    threads = [threading.Thread(target=lambda: found.append(fetcher.read("/data/upload/1/a.jpg"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [PICTURE] * 8
    assert tokens.exchanges == 1


def test_a_refused_access_token_is_renewed_once(studio: Web) -> None:
    tokens = PersonalTokens(studio, PICTURE)
    fetcher = studio_fetcher(studio, PERSONAL)
    fetcher.read("/data/upload/1/a.jpg")
    tokens.newest = "another"
    assert fetcher.read("/data/upload/1/a.jpg") == PICTURE
    assert tokens.exchanges == 2
    studio.routes["/data/upload/1/a.jpg"] = Answer(401)
    before = len(studio.log)
    assert code_of(lambda: fetcher.read("/data/upload/1/a.jpg")) == "fetch.unauthorised"
    assert [request.method for request in studio.log[before:]] == ["GET", "POST", "GET"]


def test_a_legacy_token_is_not_tried_twice(studio: Web) -> None:
    studio.routes["/data/upload/1/a.jpg"] = Answer(401)
    assert code_of(lambda: studio_fetcher(studio).read("/data/upload/1/a.jpg")) == "fetch.unauthorised"
    assert len(studio.log) == 1


def test_an_access_token_is_renewed_before_it_expires() -> None:
    from locara_label.fetch.budget import Budget

    now, asked = [0.0], list[str]()

    def exchange(token: str) -> str:
        asked.append(token)
        return f"access-{len(asked)}"

    personal, budget = PersonalToken(PERSONAL, lambda: now[0]), Budget.of("it", 60)
    headers = []
    for now[0] in (0.0, ACCESS_S - 1, ACCESS_S, ACCESS_S + 1):
        headers.append(personal.header(exchange, budget))
    assert headers == ["Bearer access-1", "Bearer access-1", "Bearer access-2", "Bearer access-2"]
    assert asked == [PERSONAL, PERSONAL]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(401), "fetch.unauthorised"),
        (Answer(500), "fetch.bad_status"),
        (Answer(body=b"[]"), "fetch.bad_answer"),
        (Answer(body=b'{"access": "a\\r\\nHost: evil"}'), "fetch.bad_answer"),
        (Answer(body=b"[" * 60_000), "fetch.bad_answer"),
        (Answer(body=b" " * 70_000), "fetch.too_large"),
        (redirect("http://127.0.0.1:9/"), "fetch.bad_status"),
    ],
)
def test_an_exchange_that_fails(studio: Web, answer: Answer, code: str) -> None:
    studio.routes["/api/token/refresh/"] = answer
    assert code_of(lambda: studio_fetcher(studio, PERSONAL).read("/data/upload/1/a.jpg")) == code
    assert len(studio.log) == 1


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for pictures.example and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    both, key = folder / "both.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=pictures.example",
         "-addext", "subjectAltName=DNS:pictures.example", "-keyout", key, "-out", both],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_text(both.read_text() + key.read_text())
    return both


def _secure(web: Web, host: str, ca_file: Path | None) -> Fetcher:
    rules = Rules(allowed_hosts=(f"{host}:*", "127.0.0.1:*"), allow_private=("127.0.0.1",), ca_file=ca_file)
    return Fetcher(rules, resolver=lambda *_: ["127.0.0.1"])


def test_the_certificate_is_that_of_the_host_and_trusted(certificate: Path, foreign: Web) -> None:
    with Web(certificate) as web:
        web.routes["/a.jpg"], web.routes["/down"] = Answer(body=PICTURE), redirect(f"{foreign.url}/a.jpg")
        good = _secure(web, "pictures.example", certificate)
        assert good.read(web.named("pictures.example") + "/a.jpg") == PICTURE
        assert web.log[0].headers["host"] == f"pictures.example:{web.port}"
        assert code_of(lambda: good.read(web.named("pictures.example") + "/down")) == "fetch.not_allowed"
        other = _secure(web, "other.example", certificate)
        with pytest.raises(FetchFailed, match="certificate is not trusted") as caught:
            other.read(web.named("other.example") + "/a.jpg")
        assert caught.value.code == "fetch.unreachable"
        strange = _secure(web, "pictures.example", None)
        assert code_of(lambda: strange.read(web.named("pictures.example") + "/a.jpg")) == "fetch.unreachable"
        assert [request.target for request in web.log] == ["/a.jpg", "/down"]
    assert foreign.log == []


def test_a_file_without_certificates_is_a_wrong_setting(foreign: Web, tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificates")
    fetcher = private_fetcher(foreign, ca_file=empty)
    assert code_of(lambda: fetcher.read(f"https://127.0.0.1:{foreign.port}/a")) == "option.setting"
    assert foreign.log == []


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
def test_the_token_is_in_no_error_repr_or_log(studio: Web, foreign: Web, token: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    access, signature = "access-canary", "signature-canary"
    studio.routes["/api/token/refresh/"] = Answer(body=b'{"access": "access-canary"}')
    studio.routes["/data/upload/1/away"] = redirect(f"{foreign.url}/a.jpg?sig={signature}")
    studio.routes["/data/upload/1/refused"] = Answer(401)
    studio.routes["/data/upload/1/echo"] = lambda request: Answer(
        raw=(f"HTTP/1.1 {request.headers['authorization']}\r\n\r\n".encode(),)
    )
    fetcher = studio_fetcher(studio, token, allow_private=("127.0.0.1",))
    said = [repr(fetcher), repr(fetcher.rules), repr(credential(token)), str(fetcher.rules)]
    for name in ("away", "refused", "echo", "missing"):
        for reference in (
            f"/data/upload/1/{name}?sig={signature}",
            f"{studio.url}/data/upload/1/{name}?sig={signature}#{signature}",
        ):
            with pytest.raises(LocaraError) as caught:
                fetcher.read(reference)
            said += [
                str(caught.value),
                repr(caught.value),
                str(caught.getrepr(style="short", chain=True)),
                str(caught.value.to_json()),
            ]
    said += [record.getMessage() + str(record.args) for record in caplog.records]
    whole = "\n".join(said)
    for secret in (token, token.rsplit(".", maxsplit=1)[-1], access, signature):
        assert secret not in whole
    assert any(given and token in given for given in studio.tokens()) or any(token.encode() in r.body for r in studio.log)
    assert f"127.0.0.1:{foreign.port}/a.jpg" in whole


def test_the_kind_of_a_token() -> None:
    assert "Personal" in repr(credential(PERSONAL))
    assert "Legacy" in repr(credential(LEGACY))
