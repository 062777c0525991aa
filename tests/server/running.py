"""A real server on a free port, and a client that says exactly what it sends."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from locara_label.server.app import create_app
from locara_label.server.reasons import Protocol
from locara_label.server.service import Service


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["error"]["code"])


@dataclass(frozen=True)
class Client:
    port: int

    def send(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, None, headers)

    def post(self, path: str, content: Any, **headers: str) -> Reply:
        return self.send("POST", path, json.dumps(content).encode(), {"content-type": "application/json", **headers})


class _Server(uvicorn.Server):
    """Ends at once where nobody is connected; uvicorn looks every tenth of a second, and hundreds of tests would wait for it."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
            await server.wait_closed()
        await self.lifespan.shutdown()


@contextmanager
def serving(service: Service) -> Iterator[Client]:
    """The service behind uvicorn in a thread."""
    config = uvicorn.Config(
        create_app(service),
        host="127.0.0.1",
        port=0,
        log_config=None,
        timeout_graceful_shutdown=5,
        http=Protocol,
        ws="none",
        h11_max_incomplete_event_size=32 << 10,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        while not server.started and thread.is_alive():
            threading.Event().wait(0.01)
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
