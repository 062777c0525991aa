"""Runs through the videos of sessions, one at a time, told frame by frame to whoever asked for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from locara_label.engine.tracking import MAX_FRAMES, Direction
from locara_label.engine.tracks import Step
from locara_label.engine.turns import in_turns
from locara_label.engine.video_recipe import Recorded
from locara_label.errors import BadOption, BadPrompt, BadRequest, Cancelled, LocaraError
from locara_label.hosts.label_studio.fields import Fields, number, whole
from locara_label.server.core import Core
from locara_label.server.events import Event
from locara_label.server.video import CODE, Call, described_frame, flag
from locara_label.server.video_sharing import SharedSessions

log = logging.getLogger("locara_label.server")

_TELL_FRAMES = 10
_FARTHEST_S = 1e7


@dataclass(frozen=True)
class Wanted:
    """What a body asks for; see `Session.propagate`. The start is a frame or a time, or neither."""

    direction: Direction
    start: int | None
    start_s: float | None
    max_frames: int
    stride: int
    redetect: int | None
    pointers: bool

    @classmethod
    def of(cls, given: Fields, frames: int) -> Wanted:
        """Raises BadRequest: the body is not this, for a video of so many frames."""
        direction = given.get("direction", "forward")
        if direction not in ("forward", "backward", "both"):
            raise BadRequest(f"direction is forward, backward or both, got {direction!r:.60}", code=CODE)
        start, start_s, redetect = given.get("start"), given.get("start_s"), given.get("redetect")
        if start is not None and start_s is not None:
            raise BadRequest("a run starts at start, or at start_s", code=CODE)
        return cls(
            cast("Direction", direction),
            None if start is None else whole(start, "start", CODE, frames - 1),
            None if start_s is None else number(start_s, "start_s", CODE, 0, _FARTHEST_S),
            _positive(given.get("frames", MAX_FRAMES), "frames"),
            _positive(given.get("stride", 1), "stride"),
            None if redetect is None else _positive(redetect, "redetect"),
            flag(given, "pointers"),
        )

    def at_most(self, session: Recorded) -> int:
        """Frames that the run may come to."""
        count, ways = session.video.count, 2 if self.direction == "both" else 1
        return min(self.max_frames * ways, -(-count // self.stride) + ways - 1)


class Runs:
    """The runs that wait or are under way."""

    def __init__(self, core: Core, sessions: SharedSessions) -> None:
        self._core, self._sessions = core, sessions
        self._runs: set[Run] = set()
        self._lock = threading.Lock()
        core.long_answers.append(self._cancel_all)

    def start(self, call: Call, tell: Callable[[Event], None]) -> Run:
        """Queues a run.

        Args:
            call: with `direction`, `start` or `start_s`, `frames` (in each direction), `stride`, `redetect` and `pointers`.
            tell: takes events, from any thread: `progress`, `frame`, and in the end `done` or `error`.

        Raises:
            BadRequest: the body is not this, there is no such session, or a run of it is under way.
            BadPrompt: no object was shown yet.
            QueueFull: too many wait.
        """
        view = self._sessions.view(call.owner, call.session_id)
        wanted = Wanted.of(call.fields, view.extent.frames)
        if view.running:
            raise BadRequest("a run of the session is under way; cancel it, or wait for its end", code="video.busy")
        if not view.objects and wanted.redetect is None:
            raise BadPrompt("no object was shown yet", code="prompt.empty")
        run = Run(self._core, self._sessions, call, wanted, tell)
        with self._lock:
            self._runs.add(run)
        run.ended.add_done_callback(lambda _: self._over(run))
        try:
            run.queue()
        except BaseException:
            self._over(run)
            raise
        return run

    def cancel(self, call: Call) -> dict[str, Any]:
        """Ends the session's runs, where they are. Raises BadRequest: there is no such session."""
        under_way = self._sessions.cancel(call.owner, call.session_id)
        with self._lock:
            runs = [run for run in self._runs if run.call.session_id == call.session_id]
        for run in runs:
            run.cancel()
        return {"session": call.session_id, "cancelled": under_way or bool(runs)}

    def _cancel_all(self) -> None:
        with self._lock:
            runs = list(self._runs)
        for run in runs:
            run.cancel()

    def _over(self, run: Run) -> None:
        with self._lock:
            self._runs.discard(run)


class Run:
    """One run.

    Attributes:
        call: that asked for it.
        ended: once the last event was told.
    """

    def __init__(self, core: Core, sessions: SharedSessions, call: Call, wanted: Wanted, tell: Callable[[Event], None]) -> None:
        self.call, self.ended = call, Future[None]()
        self._core, self._sessions, self._wanted, self._tell = core, sessions, wanted, tell
        self._turns = core.video_turns(core.settings.server.video_run_s)
        self._job: Future[None] | None = None
        self._done = 0

    def queue(self) -> None:
        """Raises QueueFull."""
        self._progress("waiting")
        self._job = self._core.video_runs.submit(self._work)
        self._job.add_done_callback(self._given_up)

    def cancel(self) -> None:
        """Ends it, whatever it does; what is found stays."""
        self._turns.cancel()
        if self._job is not None:
            self._job.cancel()

    def _given_up(self, job: Future[None]) -> None:
        if job.cancelled():
            self._end("done", {"state": "cancelled", "frames": 0})

    def _work(self) -> None:
        try:
            self._follow()
            self._end("done", {"state": "done", "frames": self._done})
        except Cancelled:
            self._end("done", {"state": "cancelled", "frames": self._done})
        except LocaraError as error:
            self._fail(error)
        except Exception:
            log.exception("a run failed in a way that nobody thought of")
            self._fail(LocaraError("the server failed; its log says how", code="internal"))

    def _follow(self) -> None:
        wanted, turns = self._wanted, self._turns
        with self._sessions.use(self.call.owner, self.call.session_id, turns, run=True) as session:
            at_most = wanted.at_most(session)
            self._progress("running", at_most)
            start = wanted.start if wanted.start_s is None else session.frame_at(wanted.start_s)
            steps = turns.take(
                lambda limit: session.propagate(
                    wanted.direction, start, wanted.max_frames, wanted.stride, limit, redetect=wanted.redetect
                )
            )
            for step in in_turns(steps, turns):
                self._done += 1
                self._tell(Event("frame", lambda step=step: self._described(session, step)))  # type: ignore[misc]
                if self._done % _TELL_FRAMES == 0:
                    self._progress("running", at_most)

    def _described(self, session: Recorded, step: Step) -> dict[str, Any]:
        return described_frame(session, step.frame, step.objects, pointers=self._wanted.pointers)

    def _progress(self, state: str, at_most: int | None = None) -> None:
        told = {"state": state, "frames": self._done, "at_most": at_most}
        self._tell(Event("progress", lambda: told))

    def _fail(self, error: LocaraError) -> None:
        self._core.metrics.errors.labels(error.code).inc()
        log.warning("a run failed after %d frames: [%s] %s", self._done, error.code, error.message, extra={"code": error.code})
        self._end("error", {"error": error.to_json(), "frames": self._done})

    def _end(self, name: str, told: dict[str, Any]) -> None:
        self._tell(Event(name, lambda: told, last=True))
        self.ended.set_result(None)


def _positive(value: Any, name: str) -> int:
    found = whole(value, name, CODE)
    if not found:
        raise BadOption(f"{name} is not below 1, got {found}", code="option.range")
    return found
