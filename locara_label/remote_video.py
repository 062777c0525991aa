"""Objects through a video whose models are in a running `locara-label serve`: the file goes there, masks come back.

A session here is used as `engine.tracking.Session` is. It knows what the server found, so that nothing is asked for twice.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from locara_label.engine.tracking import MAX_FRAMES, Direction
from locara_label.engine.tracks import Found, Step
from locara_label.errors import (
    BadMask,
    BadOption,
    BadPrompt,
    BadRequest,
    BadVideo,
    Cancelled,
    DeadlineExceeded,
    LocaraError,
    RunError,
)
from locara_label.models.base import NO_LIMIT, Clock, Limit
from locara_label.remote import Body, Kinds, Server, prompt_json, refusal
from locara_label.types import Prompt

SESSIONS = "/v1/video/sessions"
KINDS: Kinds = {
    "video": BadVideo,
    "mask": BadMask,
    "prompt": BadPrompt,
    "option": BadOption,
    "request.too_large": BadRequest,
}
"""Refusals that are about one video; the others are about the server, and would come for each."""
_PIECE = 1 << 18
_LOOK_S = 0.1
_CLOSE_S = 5.0
_MOST_POINTER, _MOST_DAMAGE = 1 << 16, 1000

Told = tuple[str, dict[str, Any]] | LocaraError


@dataclass(frozen=True, slots=True)
class RemoteVideo:
    """A video as its server tells of it; see `video.Video` for the attributes."""

    size: tuple[int, int]
    count: int
    rate: float
    duration_s: float
    damaged: str | None


@dataclass(frozen=True, slots=True)
class RemoteTrack:
    """What is known of one object: what was found of it, by frame."""

    found: dict[int, Found] = field(default_factory=dict)


class RemoteSession:
    """Objects of one video, for one thread; close it, or use it in a `with` block.

    Attributes:
        video: as it was when it was opened, or at the end of the last run.
        tracks: by the numbers that `prompt` was given.
    """

    def __init__(
        self, server: Server, path: Path | str, model: str | None = None, limit: Limit = NO_LIMIT, *, pointers: bool = False
    ) -> None:
        """Sends the file, as it is read, and opens a session on it.

        Args:
            server: that does the work.
            path: of the file.
            model: None takes the server's own.
            limit: ends the sending between two pieces.
            pointers: answers come with the objects' pointers.

        Raises:
            BadVideo: there is no such file, it changes meanwhile, or the server cannot open it.
            BadRequest: code request.too_large; the server takes no video of that size.
            Cancelled, DeadlineExceeded: see `limit`.
            RunError: the server refuses, with its own code, or does not answer, code `run.server`.
        """
        self.tracks: dict[int, RemoteTrack] = {}
        self._server, self._pointers = server, pointers
        self._theirs: dict[int, int] = {}
        file = Path(path)
        query = "" if model is None else f"?model={quote(model, safe='')}"
        made = server.ask("POST", SESSIONS + query, _sent(file, Clock(limit)), KINDS)
        name = made.get("session")
        if not isinstance(name, str) or not name:
            raise server.odd("no session")
        self._at = f"{SESSIONS}/{quote(name, safe='')}"
        self.video = self._described(made)

    def prompt(self, frame: int, object_id: int, prompt: Prompt, limit: Limit = NO_LIMIT) -> Found:
        """See `Session.prompt`; a limit is looked at before and after the question.

        Raises:
            BadPrompt, BadOption, BadMask, BadVideo: as there.
            Cancelled, DeadlineExceeded: see `limit`.
            RunError: see `__init__`.
        """
        clock = Clock(limit)
        theirs = self._theirs.get(object_id, len(self._theirs) + 1)
        asked = {**prompt_json(prompt), "frame": frame, "object": theirs, "pointers": self._pointers}
        told = self._server.ask("POST", f"{self._at}/prompt", Body.json(asked), KINDS)
        self._theirs[object_id] = theirs
        found = self._kept(told).objects.get(object_id)
        if found is None:
            raise self._server.odd("an answer without the object")
        clock.check()
        return found

    def propagate(
        self, direction: Direction, start: int | None = None, frames: int = MAX_FRAMES, stride: int = 1, limit: Limit = NO_LIMIT
    ) -> Iterator[Step]:
        """See `Session.propagate`. Closing the iterator, or its limit, ends the run there too.

        Raises:
            BadOption, BadPrompt, BadVideo, Cancelled, DeadlineExceeded: as there.
            RunError: see `__init__`; also where the server goes away in the middle.
        """
        clock, gone, told = Clock(limit), threading.Event(), SimpleQueue[Told]()
        asked = {"direction": direction, "start": start, "frames": frames, "stride": stride, "pointers": self._pointers}
        listening = threading.Thread(target=self._listen, args=(Body.json(asked), told, gone), name="run", daemon=True)
        listening.start()
        try:
            yield from self._steps(told, clock)
        except (GeneratorExit, Cancelled, DeadlineExceeded):
            with suppress(LocaraError):
                self._server.ask("POST", f"{self._at}/cancel", replace(Body.json({}), timeout_s=_CLOSE_S))
                listening.join(_CLOSE_S)  # until its end is told: before that the session is busy
            gone.set()
            raise

    def close(self) -> None:
        """Frees all that the server holds; where it does not hear of it, it does so later."""
        with suppress(LocaraError):
            self._server.ask("DELETE", self._at, Body(lambda: None, {}, _CLOSE_S))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _steps(self, told: SimpleQueue[Told], clock: Clock) -> Iterator[Step]:
        for _ in range(2 * self.video.count + 1):
            name, data = _next(told, clock)
            if name != "frame":
                self._check_ended(name, data)
                self.video = self._described(self._server.ask("GET", self._at, None, KINDS))
                return
            yield self._kept(data)
        raise self._server.odd("more frames than the video has")

    def _listen(self, body: Body, told: SimpleQueue[Told], gone: threading.Event) -> None:
        """Puts what a run tells, but for its progress, and its end or why there is none. In a thread, as reading waits."""
        try:
            for name, data in self._server.events(f"{self._at}/propagate", body, KINDS):
                if name != "progress":
                    told.put((name, data))
                if gone.is_set() or name in ("done", "error"):
                    return
            told.put(RunError(f"the server {self._server.address.shown} went away during a run", code="run.server"))
        except LocaraError as error:
            told.put(error)

    def _check_ended(self, name: str, data: dict[str, Any]) -> None:
        if name == "error":
            raise refusal(data.get("error"), "the run failed", KINDS)
        if (name, data.get("state")) != ("done", "done"):
            text = f"the server {self._server.address.shown} ended the run before its last frame"
            raise RunError(text, code="run.server")

    def _described(self, told: Mapping[str, Any]) -> RemoteVideo:
        damage = told.get("damage")
        try:
            height, width = (int(number) for number in told["size"])
            count, rate, duration_s = int(told["frames"]), float(told["rate"]), float(told["duration_s"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._server.odd("a video without size or length") from error
        if min(height, width, count) <= 0 or not (0 < rate < math.inf and 0 <= duration_s < math.inf):
            raise self._server.odd("a video without size or length")
        return RemoteVideo((height, width), count, rate, duration_s, None if damage is None else str(damage)[:_MOST_DAMAGE])

    def _kept(self, told: dict[str, Any]) -> Step:
        """What was found on a frame, by the caller's numbers; kept."""
        frame, time_s = told.get("frame"), told.get("time_s")
        if type(frame) is not int or not 0 <= frame < self.video.count or not isinstance(time_s, int | float):
            raise self._server.odd(f"frame {frame!r:.40}, time {time_s!r:.40}")
        found = {self._ours(one): self._found(one) for one in self._server.listed(told.get("objects"))}
        for number, one in found.items():
            self.tracks.setdefault(number, RemoteTrack()).found[frame] = one
        return Step(frame, float(time_s), found)

    def _ours(self, one: Any) -> int:
        theirs = one.get("object") if isinstance(one, dict) else None
        for number, known in self._theirs.items():
            if known == theirs:
                return number
        raise self._server.odd("an object that nobody showed")

    def _found(self, one: dict[str, Any]) -> Found:
        mask = self._server.mask_of(one)
        if mask.size != self.video.size:
            raise self._server.odd(f"a mask of {mask.size} pixels for a video of {self.video.size}")
        present, prompted = (one.get(name) is True for name in ("present", "prompted"))
        return Found(mask, self._server.share_of(one, "score"), present and mask.area > 0, self._pointer(one), prompted)

    def _pointer(self, one: dict[str, Any]) -> NDArray[np.float32] | None:
        given = one.get("pointer")
        if given is None:
            return None
        try:
            pointer = np.asarray(self._server.listed(given)[:_MOST_POINTER], np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._server.odd("a pointer that is no list of numbers") from error
        if pointer.ndim != 1:
            raise self._server.odd("a pointer that is no list of numbers")
        return pointer


def _next(told: SimpleQueue[Told], clock: Clock) -> tuple[str, dict[str, Any]]:
    while True:
        clock.check()
        with suppress(Empty):
            found = told.get(timeout=_LOOK_S)
            if isinstance(found, LocaraError):
                raise found
            return found


def _sent(path: Path, clock: Clock) -> Body:
    """A file as the body of a request. Raises BadVideo: it cannot be read."""
    if not path.is_file():
        if path.exists():
            raise BadVideo(f"{path} is not a regular file", code="video.unreadable")
        raise BadVideo(f"{path} is not there", code="video.missing")
    size = path.stat().st_size
    headers = {"content-type": "application/octet-stream", "content-length": str(size)}
    return Body(lambda: _pieces(path, size, clock), headers)


def _pieces(path: Path, size: int, clock: Clock) -> Iterator[bytes]:
    """So many bytes of a file."""
    with _reading(path):
        file = path.open("rb")
    with file:
        while size:
            clock.check()
            with _reading(path):
                piece = file.read(min(_PIECE, size))
            if not piece:
                raise BadVideo(f"{path} became shorter while it was sent", code="video.changed")
            size -= len(piece)
            yield piece


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadVideo(f"{path} cannot be read: {error.strerror or error}", code="video.unreadable") from error
