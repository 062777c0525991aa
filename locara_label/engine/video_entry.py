"""One session on a video of many, as `VideoSessions` keeps it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from locara_label.engine.turns import Turns
from locara_label.engine.video_recipe import Recipe, Recorded
from locara_label.engine.video_views import Extent, ObjectView
from locara_label.errors import BadRequest
from locara_label.models.base import VideoModel
from locara_label.video.video import Video

_LOOK_S = 0.1
"""How long a wait for a session goes on before it looks again whether anybody still waits."""


@dataclass(eq=False)
class Entry:
    """One session; `users`, `session`, `closed` and times belong to the lock of all sessions, `turns` to who holds `held`."""

    owner: str
    name: str | None
    model: VideoModel
    opener: Callable[[], Video]
    free: Callable[[], None]
    began_s: float
    used_s: float
    recipe: Recipe
    session: Recorded | None = None
    extent: Extent | None = None
    objects: dict[int, ObjectView] = field(default_factory=dict)
    held: threading.Lock = field(default_factory=threading.Lock)
    turns: Turns | None = None
    running: bool = False
    users: int = 1
    opening: bool = False
    closed: bool = False

    @property
    def open(self) -> bool:
        return self.session is not None or self.opening


@contextmanager
def holding(entry: Entry, turns: Turns, *, run: bool) -> Iterator[None]:
    """A session for the caller alone. Raises BadRequest: code video.busy; or what `turns.check` does."""
    if not entry.held.acquire(blocking=False):
        if entry.running:
            raise BadRequest("a run of the session is under way; cancel it, or wait for its end", code="video.busy")
        while not entry.held.acquire(timeout=_LOOK_S):
            turns.check()
    entry.turns, entry.running = turns, run
    try:
        yield
    finally:
        entry.turns, entry.running = None, False
        entry.held.release()


def bytes_of(entry: Entry) -> int:
    """What a session holds in memory."""
    return entry.recipe.nbytes if entry.session is None else entry.session.nbytes


def unknown(session_id: str) -> NoReturn:
    """Raises BadRequest: code video.unknown_session."""
    raise BadRequest(f"{session_id!r:.60} is no session", code="video.unknown_session")
