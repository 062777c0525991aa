"""A stand-in for the part of Label Studio that serves the files of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.answering import answering


@dataclass
class Files:
    """What is served by path or for every other, and what was asked: path and Authorization of every request."""

    url: str = ""
    content: dict[str, bytes] = field(default_factory=dict)
    everything: bytes | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serving_files() -> Iterator[Files]:
    files = Files()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.asked.append((self.path, self.headers["authorization"]))
            body = files.content.get(self.path, files.everything)
            self.send_response(404 if body is None else 200)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as port:
        files.url = f"http://127.0.0.1:{port}"
        yield files
