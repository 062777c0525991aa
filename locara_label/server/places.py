"""Room for requests: how many may be under way, and how long their bodies may take to come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response

from locara_label.errors import BadRequest, QueueFull

BODY_S = 30

Endpoint = Callable[[Request], Awaitable[Response]]


class Places:
    """How many requests may be under way: so many in threads, the rest waiting for one. Only for the event loop's own thread."""

    def __init__(self, threads: int, most: int | None = None) -> None:
        self.threads = CapacityLimiter(threads)
        self._left = most or threads

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises QueueFull."""
        if not self._left:
            raise QueueFull("too many requests at once", retry_after_s=2)
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


async def body_of(request: Request) -> bytes:
    """All of a request's body. Raises BadRequest: it is too slow."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.body()
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {BODY_S} s", code="request.slow") from None
