"""HTTP on one connection: reasons in status lines, and no patience with heads that do not come.

Label Studio shows the owner of a project the status line of a refused /setup, and nothing else.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER = "x-reason"
HEAD_S = 10.0
_MAX = 2000
_HEAD_BYTES = 32 << 10


def reason(message: str) -> str:
    """One line of ASCII; other letters as XML writes them."""
    line = " ".join(message.split())[:_MAX]
    return "".join(letter for letter in line if letter.isprintable()).encode("ascii", "xmlcharrefreplace").decode("ascii")


class _Connection(h11.Connection):
    def send(self, event: Any) -> Any:
        if isinstance(event, h11.Response):
            event = _with_reason(event)
        return super().send(event)


def _with_reason(event: h11.Response) -> h11.Response:
    told = next((value for name, value in event.headers if name == HEADER.encode()), None)
    if told is None:
        return event
    return h11.Response(status_code=event.status_code, headers=list(event.headers), reason=told)


class Protocol(H11Protocol):
    """Uvicorn's, with the header `HEADER` of an answer as the reason of its status, and less patience.

    A connection whose next request does not begin, or whose head is not whole `HEAD_S` seconds after its first byte, is closed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(h11.SERVER, self.config.h11_max_incomplete_event_size or _HEAD_BYTES)
        self._waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What makes no sense may come when an answer was begun; then the connection ends without another."""
        with suppress(h11.LocalProtocolError):
            super().send_400_response(msg)
        self.transport.close()

    def _await_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._waits is None:
            self._waits = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None
