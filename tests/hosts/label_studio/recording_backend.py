"""An ML backend that keeps what Label Studio sends and answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.answering import answering

Answer = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class RecordingBackend:
    """What arrived, as (path, JSON body), and what `/predict` answers; `statuses` makes paths fail."""

    url: str = ""
    version: str = "recorder-1"
    answer: Answer = lambda body: {"results": [{"result": [], "score": 0.0} for _ in body["tasks"]]}
    received: list[tuple[str, Any]] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)

    def bodies(self, path: str) -> list[Any]:
        return [body for where, body in list(self.received) if where == path]

    def respond(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        self.received.append((path, body))
        if path in self.statuses:
            return self.statuses[path], {"error": "as the test asked"}
        if path == "/predict":
            return 200, {"model_version": self.version, **self.answer(body)}
        known = {"/health": {"status": "UP"}, "/setup": {"model_version": self.version}, "/webhook": {}}
        return (200, known[path]) if path in known else (404, {})


@contextmanager
def recording() -> Iterator[RecordingBackend]:
    backend = RecordingBackend()
    with answering(_handler(backend)) as port:
        backend.url = f"http://127.0.0.1:{port}"
        yield backend


def _handler(backend: RecordingBackend) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            self._answer(json.loads(content) if content else None)

        def _answer(self, body: Any) -> None:
            status, answer = backend.respond(self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
