"""A client that reads server-sent events as they come."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from running import Client


class Told(NamedTuple):
    """An event: its name and its data."""

    name: str
    data: Any


class Watch:
    """An answer that is still being written."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection, self._answer = connection, answer
        self.status, self.headers = answer.status, {name.lower(): value for name, value in answer.getheaders()}
        self.comments = 0

    def __iter__(self) -> Iterator[Told]:
        lines: list[str] = []
        while line := self._answer.readline().decode():
            if line.startswith(":"):
                self.comments += 1
            elif line.strip():
                lines.append(line.strip())
            elif lines:
                event, data = lines
                lines = []
                yield Told(event.removeprefix("event: "), json.loads(data.removeprefix("data: ")))

    def until(self, name: str) -> Told:
        """The next event of a name."""
        return next(told for told in self if told.name == name)

    def leave(self) -> None:
        """Hangs up, as a browser does whose tab is closed."""
        self._answer.close()
        self._connection.close()


@contextmanager
def watching(client: Client, path: str, content: Any, headers: Mapping[str, str] | None = None) -> Iterator[Watch]:
    """The answer to a POST, from its head on."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(content).encode(), {"content-type": "application/json", **(headers or {})})
        yield Watch(connection, connection.getresponse())
    finally:
        connection.close()
