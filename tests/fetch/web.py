"""A web server on this machine that answers as a test says and keeps what it was asked; and resolvers of names."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from locara_label.errors import LocaraError
from locara_label.fetch import Fetcher, Rules

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJoZWFkZXI.eyJyZWZyZXNoIjoxfQ.canary-of-the-signature"
PICTURE = bytes(range(256)) * 40


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """`raw` replaces everything; `pause_s` waits before each piece of it."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    raw: tuple[bytes, ...] = ()
    pause_s: float = 0.0


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(status, headers=(("Location", location),))


Route = Answer | Callable[[Request], Answer]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that leave are what many tests are about."""


class Web:
    """`routes` maps a target, or a path for any query, to its answer; anything else is 404."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.routes: dict[str, Route] = {}
        self.log: list[Request] = []
        self.closing = threading.Event()
        self._scheme = "https" if certificate else "http"
        self._server = _Server(("127.0.0.1", 0), type("BoundHandler", (_Handler,), {"web": self}))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def named(self, host: str) -> str:
        return f"{self._scheme}://{host}:{self.port}"

    def tokens(self) -> list[str | None]:
        return [request.headers.get("authorization") for request in self.log]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        self.web.log.append(request)
        route = self.web.routes.get(self.path) or self.web.routes.get(self.path.split("?")[0]) or Answer(404)
        try:
            self._send(route if isinstance(route, Answer) else route(request))
        except OSError:
            self.close_connection = True

    do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass

    def _send(self, answer: Answer) -> None:
        if not answer.raw:
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        for piece in answer.raw:
            if self.web.closing.wait(answer.pause_s):
                break
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = self.close_connection or bool(answer.raw)


class PersonalTokens:
    """The exchange of personal tokens, and a picture that takes only its newest access token."""

    def __init__(self, web: Web, picture: bytes) -> None:
        self.exchanges = 0
        self.newest = "none"
        self._picture = picture
        web.routes["/api/token/refresh/"] = self._exchange
        web.routes["/data/upload/1/a.jpg"] = self._read

    def _exchange(self, request: Request) -> Answer:
        if request.method != "POST" or json.loads(request.body) != {"refresh": PERSONAL}:
            return Answer(401)
        self.exchanges += 1
        time.sleep(0.05)  # others come while one is under way
        self.newest = f"access-{self.exchanges}"
        return Answer(body=json.dumps({"access": self.newest}).encode())

    def _read(self, request: Request) -> Answer:
        good = request.headers.get("authorization") == f"Bearer {self.newest}"
        return Answer(body=self._picture) if good else Answer(401)


def code_of(call: Callable[[], object]) -> str:
    """The code of the error that a call raises; "read" if it raises none."""
    try:
        call()
    except LocaraError as error:
        return error.code
    return "read"


def studio_fetcher(web: Web, token: str | None = LEGACY, **values: object) -> Fetcher:
    return Fetcher(Rules(label_studio_url=web.url, token=token, **values))  # type: ignore[arg-type]


def private_fetcher(*webs: Web, **values: object) -> Fetcher:
    hosts = tuple(f"127.0.0.1:{web.port}" for web in webs)
    return Fetcher(Rules(allowed_hosts=hosts, allow_private=("127.0.0.1",), **values))  # type: ignore[arg-type]
