"""A hub on this machine: the endpoints that weights come from, with every fault that a test asks for, and a log of requests."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

COMMIT = "c0ffee" * 6 + "c0ff"
CHUNK = 1 << 14


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]

    @property
    def start(self) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(match[1]) if match else 0


@dataclass
class Faults:
    """What goes wrong. Lists are used up, one item per request for a body."""

    statuses: deque[int] = field(default_factory=deque)  # answered before anything else, to HEAD too
    drop_after: deque[int] = field(default_factory=deque)  # bytes of body before the connection breaks
    chunk_pause_s: float = 0.0
    flip_bit: bool = False
    ignore_range: bool = False
    expired_cdn: int = 0  # how many addresses of the CDN have expired
    retry_after: str | None = None
    error_code: str | None = None
    plain: bool = False  # a static file server, which knows nothing of commits and digests
    endless: bool = False  # tells no length, ends by closing
    redirect_to: str | None = None  # where large files are redirected, instead of to the own CDN


class HubServer:
    """`files` maps "repo/path" to bytes; files in `large` are redirected to /cdn/ and have a sha256 as their ETag."""

    def __init__(self, files: dict[str, bytes], *, large: set[str] | None = None, commit: str = COMMIT) -> None:
        self.files, self.commit, self.faults = files, commit, Faults()
        self.large = {name for name in files if not name.endswith(".json")} if large is None else large
        self.gated: set[str] = set()
        self.log: list[Request] = []
        self.sent = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def bodies(self, name: str) -> list[Request]:
        """Requests for the content of a file, each counted once although it may be redirected."""
        prefix = "/cdn/" if any(large.endswith(f"/{name}") for large in self.large) else "/"
        found = [r for r in self.log if r.method == "GET" and r.path.endswith(f"/{name}") and r.path.startswith(prefix)]
        return [r for r in found if prefix == "/cdn/" or not r.path.startswith("/cdn/")]


class Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.log.append(Request(self.command, unquote(self.path), headers))
        try:
            self._route(unquote(self.path))
        except OSError:
            self.close_connection = True

    def _route(self, path: str) -> None:
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if self.hub.faults.statuses:
            self._status(self.hub.faults.statuses.popleft())
        elif path.startswith("/cdn/"):
            self._cdn(path.removeprefix("/cdn/"))
        elif match is None or match[2] not in {"main", self.hub.commit} or f"{match[1]}/{match[3]}" not in self.hub.files:
            self._status(404)
        elif match[1] in self.hub.gated and not self.headers.get("authorization"):
            self._status(401)
        else:
            self._file(f"{match[1]}/{match[3]}")

    def _file(self, name: str) -> None:
        data = self.hub.files[name]
        if self.hub.faults.plain:
            self._send(name, {})
        elif name in self.hub.large:
            self._redirect(name, data)
        else:
            self._send(name, {"X-Repo-Commit": self.hub.commit, "ETag": f'"{blob_id(data)}"'})

    def _redirect(self, name: str, data: bytes) -> None:
        self.send_response(302)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("X-Linked-ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Location", f"{self.hub.faults.redirect_to or ''}/cdn/{name}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _cdn(self, name: str) -> None:
        if self.hub.faults.expired_cdn:
            self.hub.faults.expired_cdn -= 1
            self._status(403)
        elif name in self.hub.files:
            self._send(name, {"ETag": '"an-opaque-value-of-the-store"'})
        else:
            self._status(404)

    def _send(self, name: str, headers: dict[str, str]) -> None:
        data = self.hub.files[name]
        start = 0 if self.hub.faults.ignore_range else Request("", "", {"range": self.headers.get("range", "")}).start
        if start >= len(data) and start:
            self._status(416)
            return
        self.send_response(206 if start else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.hub.faults.endless:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            self._body(data, start)

    def _body(self, data: bytes, start: int) -> None:
        faults = self.hub.faults
        if faults.flip_bit:
            data = data[:-1] + bytes([data[-1] ^ 1])
        end = min(len(data), start + (faults.drop_after.popleft() if faults.drop_after else len(data)))
        for at in range(start, end, CHUNK):
            piece = data[at : min(at + CHUNK, end)]
            self.wfile.write(piece)
            self.hub.sent += len(piece)
            if faults.chunk_pause_s:
                time.sleep(faults.chunk_pause_s)
        if end < len(data):
            self.close_connection = True

    def _status(self, status: int) -> None:
        self.send_response(status)
        if self.hub.faults.retry_after:
            self.send_header("Retry-After", self.hub.faults.retry_after)
        if self.hub.faults.error_code:
            self.send_header("X-Error-Code", self.hub.faults.error_code)
        self.send_header("Content-Length", "0")
        self.end_headers()
