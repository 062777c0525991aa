"""Server-sent events, without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message

from locara_label.server import events
from locara_label.server.events import Event, EventStream, Feed

LAST = Event("done", lambda: {"frames": 2}, last=True)


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def told(send: Callable[[Message], Awaitable[None]], receive: Callable[[], Awaitable[Message]], *given: Event) -> list[str]:
    """Sends a feed with some events; what happened to the stream."""
    happened: list[str] = []

    async def stream() -> None:
        feed = Feed()
        thread = threading.Thread(target=lambda: [feed.put(event) for event in given])
        thread.start()
        thread.join()
        await asyncio.wait_for(EventStream(feed, lambda: happened.append("gone"))({"type": "http"}, receive, send), 20)

    asyncio.run(stream())
    return happened


def test_events_go_out_in_their_order() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    frames = [Event("frame", lambda at=at: {"frame": at, "text": "a\nb"}) for at in range(2)]
    assert told(send, never, *frames, LAST) == ["gone"]
    assert b"content-length" not in dict(sent[0]["headers"])
    assert [message["body"] for message in sent[1:]] == [
        b'event: frame\ndata: {"frame":0,"text":"a\\nb"}\n\n',
        b'event: frame\ndata: {"frame":1,"text":"a\\nb"}\n\n',
        b'event: done\ndata: {"frames":2}\n\n',
    ]
    assert [message["more_body"] for message in sent[1:]] == [True, True, False]


def test_it_ends_when_the_client_leaves() -> None:
    async def send(_: Message) -> None:
        pass

    async def receive() -> Message:
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    assert told(send, receive) == ["gone"]


def test_it_ends_when_the_client_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SLOW_S", 0.05)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    assert told(send, never, LAST) == ["gone"]


def test_a_feed_without_a_loop_takes_events() -> None:
    async def made() -> Feed:
        return Feed()

    asyncio.run(made()).put(LAST)
