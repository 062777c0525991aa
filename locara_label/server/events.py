"""Server-sent events: what a thread does, told as it happens to a client who may leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, create_task_group, to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEARTBEAT_S = 10.0
"""Without a word for so long a comment is sent, so that proxies keep the connection."""
SLOW_S = 60.0
"""A client who takes nothing for so long counts as gone."""
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class Event:
    """A name, and what makes its data; that is called in a thread when the event is sent."""

    name: str
    data: Callable[[], Any]
    last: bool = False


class Feed:
    """Events from threads to the event loop that made it. They wait as they are, so a client who reads slowly holds nobody up."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next(self, timeout_s: float) -> Event | None:
        """The next event, or None where there is none for so long."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._events.get()
        except TimeoutError:
            return None


class EventStream(Response):
    """Sends a feed to its last event. However it ends, `gone` is called: nobody reads any more."""

    def __init__(self, feed: Feed, gone: Callable[[], None]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._feed, self._gone, self._writing = feed, gone, CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with create_task_group() as group:
                group.start_soon(until_gone, receive, group.cancel_scope.cancel)
                with suppress(TimeoutError):
                    await self._send_all(send)
                group.cancel_scope.cancel()
        finally:
            self._gone()

    async def _send_all(self, send: Send) -> None:
        more = True
        while more:
            event = await self._feed.next(HEARTBEAT_S)
            body = b": still here\n\n" if event is None else await to_thread.run_sync(_written, event, limiter=self._writing)
            more = event is None or not event.last
            async with asyncio.timeout(SLOW_S):
                await send({"type": "http.response.body", "body": body, "more_body": more})


async def until_gone(receive: Receive, then: Callable[[], None]) -> None:
    """Calls `then` when the client has left; after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    then()


def _written(event: Event) -> bytes:
    data = json.dumps(event.data(), allow_nan=False, separators=(",", ":"))
    return f"event: {event.name}\ndata: {data}\n\n".encode()
