"""The part of Label Studio's API that we use, in memory, failing as a test asks: for faults that the real one does not show."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.answering import answering

LEGACY = "f" * 40
PERSONAL = "eyJhbGciOiJI.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
FILE = "/data/upload/1/"


@dataclass
class Refused(Exception):
    """An answer that is no success; status 0 closes the connection without a word."""

    status: int
    body: bytes = b'{"detail": "as the test asked"}'
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeLabelStudio:
    """One project, number 1.

    Attributes:
        before: called with method and path before anything is done.
        after: called with method and path before the answer to what was done is sent.
        asked: method and path of every request.
        access: access tokens given out so far; the last one is valid.
        files: what lies below `FILE`.
        annotations: of each task.
    """

    config: str = ""
    url: str = ""
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    annotations: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda method, path: None
    after: Callable[[str, str], None] = lambda method, path: None
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    access: list[str] = field(default_factory=list)

    def times(self, method: str, path: str) -> int:
        return self.asked.count((method, path))

    def add_pictures(self, pictures: dict[str, bytes]) -> None:
        self.files |= pictures
        for name in pictures:
            number = len(self.tasks) + 1
            self.tasks[number] = {"image": f"{FILE}{name}"}

    def respond(self, method: str, target: str, authorization: str | None, body: Any) -> bytes:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        self.asked.append((method, path))
        self.before(method, path)
        answer = self._answer(method, path, query, authorization, body)
        self.after(method, path)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    def _answer(self, method: str, path: str, query: dict[str, list[str]], authorization: str | None, body: Any) -> Any:
        if path in self.answers:
            return self.answers[path]
        if path == "/api/token/refresh/":
            if body != {"refresh": PERSONAL}:
                raise Refused(401)
            self.access.append(f"access-{len(self.access)}")
            return {"access": self.access[-1]}
        if path == "/api/version":
            return {"release": "1.23.2"}
        if authorization not in {f"Token {LEGACY}", *(f"Bearer {token}" for token in self.access[-1:])}:
            raise Refused(401)
        if path.startswith(FILE) and path.removeprefix(FILE) in self.files:
            return self.files[path.removeprefix(FILE)]
        if (match := re.fullmatch(r"/api/predictions/(\d+)/", path)) and method in {"PATCH", "DELETE"}:
            return self._change_prediction(method, int(match[1]), body)
        found = getattr(
            self, f"_{method.lower()}_{path.strip('/').removeprefix('api/').replace('/', '_').replace('-', '_')}", None
        )
        if found is None:
            found = self._of_task(method, path)
        return found(query, body)

    def _of_task(self, method: str, path: str) -> Callable[[Any, Any], Any]:
        """As the real one: the list of annotations lacks the cancelled ones, the task itself has them."""
        asked = re.fullmatch(r"/api/tasks/(\d+)/(annotations/)?", path)
        if asked is None or method != "GET":
            raise Refused(404)
        made = self.annotations.get(int(asked[1]), [])
        kept = [found for found in made if not found.get("was_cancelled")]
        return lambda query, body: kept if asked[2] else {"id": int(asked[1]), "annotations": made}

    def _get_current_user_whoami(self, query: Any, body: Any) -> Any:
        return {"email": "a@example.com"}

    def _get_projects_1(self, query: Any, body: Any) -> Any:
        return {"id": 1, "title": "fake", "label_config": self.config, "model_version": "", "task_number": len(self.tasks)}

    def _get_tasks(self, query: dict[str, list[str]], body: Any) -> Any:
        items = {item["filter"]: item["value"] for item in json.loads(query["query"][0])["filters"]["items"]}
        [wanted] = items.get("filter:tasks:predictions_model_versions", [""])
        listed = [self._row(number) for number in sorted(self.tasks) if number > items["filter:tasks:id"]]
        return {"tasks": [row for row in listed if wanted in row["predictions_model_versions"]][: int(query["page_size"][0])]}

    def _row(self, number: int) -> dict[str, Any]:
        versions = {found["model_version"] for found in self.predictions if found["task"] == number}
        shown = ",".join(versions)
        cancelled = sum(found.get("was_cancelled", False) for found in self.annotations.get(number, []))
        total = len(self.annotations.get(number, [])) - cancelled
        counted = {"total_predictions": len(versions), "total_annotations": total, "cancelled_annotations": cancelled}
        return {"id": number, "data": self.tasks[number], "predictions_model_versions": shown, **counted}

    def _get_predictions(self, query: dict[str, list[str]], body: Any) -> Any:
        return [found for found in self.predictions if found["task"] == int(query["task"][0])]

    def _post_predictions(self, query: Any, body: Any) -> Any:
        stored = {**body, "id": len(self.predictions) + 1}
        self.predictions.append(stored)
        return stored

    def _change_prediction(self, method: str, number: int, body: Any) -> Any:
        found = next((one for one in self.predictions if one["id"] == number), None)
        if found is None:
            raise Refused(404)
        if method == "DELETE":
            self.predictions.remove(found)
            return None
        found.update(body)
        return found


@contextmanager
def serving(fake: FakeLabelStudio) -> Iterator[FakeLabelStudio]:
    with answering(_handler(fake)) as port:
        fake.url = f"http://127.0.0.1:{port}"
        yield fake


def labelling(config: str) -> Callable[[], Iterator[FakeLabelStudio]]:
    """A fixture: one whose project has this labeling config."""

    @pytest.fixture
    def fake() -> Iterator[FakeLabelStudio]:
        with serving(FakeLabelStudio(config)) as found:
            yield found

    return fake


def _handler(fake: FakeLabelStudio) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        do_PATCH = do_DELETE = do_POST  # noqa: N815 - as http.server calls them

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            try:
                body = fake.respond(
                    self.command, self.path, self.headers["Authorization"], json.loads(content) if content else None
                )
                self._send(200, body, {})
            except Refused as error:
                if error.status:
                    self._send(error.status, error.body, error.headers)

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
