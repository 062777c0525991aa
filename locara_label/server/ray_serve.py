"""The server as a deployment of Ray Serve: replicas on a cluster, and in front of them what sends a task to the same one again.

    python -m locara_label.server.ray_serve --replicas 2 --port 9090

Needs the extra `ray-serve`. A front takes the requests; it knows nothing of models, and asks another replica when one dies.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import re
import secrets
import signal
import threading
from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message

from locara_label import settings as environment
from locara_label.batch.ray_cluster import prepare
from locara_label.server.answers import answer
from locara_label.server.app import MAX_PREDICT_BODY, create_app
from locara_label.server.opening import open_service

prepare()

import ray  # noqa: E402 - after what it reads
from ray import serve  # noqa: E402
from ray.exceptions import RayActorError  # noqa: E402

NAME = "locara-label"
_PLACES = 10_000
"""Tasks and sessions that the front remembers the replica of."""
_ONGOING = 1000
_TRIES = 3
_LAST_S = 5.0
_SCOPE = (
    "type",
    "http_version",
    "method",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "headers",
    "scheme",
    "client",
    "server",
)
_SESSION = re.compile(r"/v1/video/sessions/([\w-]+)")
_TASK = re.compile(rb'"tasks":\s*\[\s*\{\s*"id":\s*(\d+)')

Piece = tuple[int, list[tuple[bytes, bytes]]] | bytes
"""First status and headers, then the body."""


def place_of(path: str, body: bytes) -> str:
    """What a request is about: a session on a video, or a task of Label Studio; empty for neither."""
    session, task = _SESSION.search(path), _TASK.search(body)
    return session[1] if session else task[1].decode() if task else ""


async def _here(_: object, place: str) -> str:
    """That a replica has it is all that there is to know."""
    return place


class Replica:
    """One server, without a port of its own."""

    _here = serve.multiplexed(max_num_models_per_replica=_PLACES)(_here)

    def __init__(self) -> None:
        self._service = open_service()
        self._app = create_app(self._service)
        self._service.start()

    def __del__(self) -> None:
        if hasattr(self, "_service"):
            self._service.close()

    async def answer(self, scope: Mapping[str, Any], body: bytes) -> AsyncIterator[Piece]:
        """Goes through the application with a request that is here already, and hands on what it says, as it says it."""
        if place := serve.get_multiplexed_model_id():
            await self._here(place)
        said: asyncio.Queue[Message | None] = asyncio.Queue(8)
        given, gone = [body], asyncio.Event()

        async def receive() -> Message:
            if not given:
                await gone.wait()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": given.pop(), "more_body": False}

        async def run() -> None:
            try:
                await self._app(dict(scope), receive, said.put)
            finally:
                await said.put(None)

        work = asyncio.create_task(run())
        try:
            while (message := await said.get()) is not None:
                yield _piece(message)
        finally:
            gone.set()
            await _ended(work, said)


def _piece(message: MutableMapping[str, Any]) -> Piece:
    if message["type"] == "http.response.start":
        return message["status"], [(bytes(name), bytes(value)) for name, value in message["headers"]]
    return bytes(message.get("body", b""))


async def _ended(work: asyncio.Task[None], said: asyncio.Queue[Message | None]) -> None:
    """Lets the application notice that nobody listens any more."""
    ends = asyncio.get_running_loop().time() + _LAST_S
    while not work.done() and asyncio.get_running_loop().time() < ends:
        while not said.empty():
            said.get_nowait()
        await asyncio.wait([work], timeout=0.05)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


class Front:
    """Where requests arrive."""

    def __init__(self, replicas: Any) -> None:
        self._replicas = replicas

    async def __call__(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_PREDICT_BODY:
                text = f"the body is larger than {MAX_PREDICT_BODY} bytes"
                return answer({"error": {"code": "request.too_large", "message": text}}, 413)
        scope = {name: request.scope[name] for name in _SCOPE if name in request.scope}
        again = request.method == "GET" or not _SESSION.search(request.url.path)  # a prompt may show a second object
        for _ in range(_TRIES if again else 1):
            pieces = self._asked(scope, body).__aiter__()
            try:
                status, headers = await anext(pieces)
            except RayActorError:  # it died before it said anything
                continue
            response = StreamingResponse(_rest(pieces), status)
            response.raw_headers = list(headers)
            return response
        return answer({"error": {"code": "http.503", "message": "no replica is there"}}, 503)

    def _asked(self, scope: Mapping[str, Any], body: bytes) -> Any:
        options = {"stream": True, "multiplexed_model_id": place_of(scope["path"], body)}
        return self._replicas.options(**options).answer.remote(scope, body)


async def _rest(pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        if isinstance(piece, bytes):
            yield piece


def build(replicas: int = 2, cpus: float = 1, gpus: float = 0) -> Any:
    """The application, for `serve.run`; each replica reads the settings of its own process.

    Args:
        replicas: that answer.
        cpus: that each needs.
        gpus: likewise; a part of a device, such as 0.25, lets several have it.
    """
    resources = {"num_cpus": cpus, "num_gpus": gpus}
    behind = serve.deployment(name="replica", num_replicas=replicas, ray_actor_options=resources, max_ongoing_requests=_ONGOING)
    front = serve.deployment(name="front", ray_actor_options={"num_cpus": 0}, max_ongoing_requests=_ONGOING)
    return front(Front).bind(behind(Replica).bind())


def _joining(address: str | None, cpus: int) -> dict[str, Any]:
    if address is not None:
        return {"address": address}
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of this cluster alone, and in no file
    return {"address": "local", "_node_ip_address": "127.0.0.1", "include_dashboard": False, "num_cpus": cpus}


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--cpus", type=float, default=1, help="of each replica")
    parser.add_argument("--gpus", type=float, default=0, help="of each replica")
    parser.add_argument("--address", help="of a cluster; left out, one is started on this machine")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    given = parser.parse_args()
    environment.load()  # what is wrong is said here, and not by every replica
    ray.init(log_to_driver=False, **_joining(given.address, math.ceil(given.replicas * given.cpus)))
    serve.start(http_options={"host": given.host, "port": given.port})
    serve.run(build(given.replicas, given.cpus, given.gpus), name=NAME, route_prefix="/")
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    print(f"locara-label runs on http://{given.host}:{given.port} with {given.replicas} replicas", flush=True)  # noqa: T201
    over.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    from locara_label.server.ray_serve import main as importable  # classes of __main__ would be sent to replicas as code

    importable()
