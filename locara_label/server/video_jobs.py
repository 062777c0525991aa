"""Runs through the videos of tasks, one at a time: those that somebody waits for first, then the oldest."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from locara_label.errors import LocaraError, QueueFull

log = logging.getLogger("locara_label.server")

MAX_JOBS = 1000


class Key(NamedTuple):
    """A video of a task: the ids of project and task, and the name of the Video tag."""

    project: int
    task: int
    to_name: str


@dataclass(eq=False)
class Wait:
    """A request that waits for a run.

    Attributes:
        ends_s: when it gives up, on the clock of `time.monotonic`.
        over: it can be answered: the run is done or has failed, or will not be done in time.
        error: why the run failed.
    """

    ends_s: float
    over: threading.Event = field(default_factory=threading.Event)
    error: LocaraError | None = None

    @classmethod
    def of(cls, seconds: float) -> Wait:
        return cls(time.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        return max(0.0, self.ends_s - time.monotonic())


@dataclass(eq=False)
class Job:
    """What is to be done of a video; all that it is about is in the store.

    Attributes:
        key: of the video.
        video: its reference, as the task's data gives it.
        order: of its submission.
        waits: requests that wait for it.
        changed: something new is wanted since the run began.
        unattended: somebody was answered before it was done, or nobody waits: what it finds has to be written to Label Studio.
        done, frames: frames gone through, and to go through, of the run under way.
        texts: what is asked in words, and not yet done.
        rests_s: others go first until then, on the clock of `time.monotonic`.
        flush: has what was found so far stored.
    """

    key: Key
    video: str
    order: int
    waits: list[Wait] = field(default_factory=list)
    changed: bool = False
    unattended: bool = False
    done: int = 0
    frames: int = 0
    texts: list[Any] = field(default_factory=list)
    rests_s: float = 0.0
    flush: Callable[[], None] = lambda: None

    @property
    def urgent(self) -> bool:
        return bool(self.waits)

    def release(self, error: LocaraError | None = None) -> None:
        """Lets all who wait go on."""
        waits, self.waits = self.waits, []
        for wait in waits:
            wait.error = error
            wait.over.set()


Advance = Callable[[Job, Callable[[], bool]], bool]
"""Works at a job until it is done (True), or until it should give way (False), which the second argument tells."""


class Jobs:
    """One thread that works at the most urgent job."""

    def __init__(self, advance: Advance, ended: Callable[[Key], object] = lambda _: None) -> None:
        """`ended` is told when a job is done, or has failed."""
        self._advance, self._ended = advance, ended
        self._jobs: dict[Key, Job] = {}
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._running: Job | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def __contains__(self, key: Key) -> bool:
        with self._changed:
            return key in self._jobs

    def submit(self, key: Key, video: str, wait: Wait | None = None, texts: Sequence[Any] = ()) -> Job:
        """Has a video gone through, as the store says; a job for it that is there already goes on with what is new.

        Raises:
            QueueFull: too many wait, or the server closes.
        """
        with self._changed:
            job = self._jobs.get(key)
            if job is None:
                if self._closed or len(self._jobs) >= MAX_JOBS:
                    raise QueueFull(f"{len(self._jobs)} videos wait already", retry_after_s=30)
                job = self._jobs[key] = Job(key, video, next(self._order), unattended=wait is None)
            job.changed, job.video = True, video
            if wait is not None:
                job.waits.append(wait)
            job.texts += texts
            self._start()
            self._changed.notify_all()
            return job

    def leave(self, job: Job, wait: Wait) -> None:
        """A request waits no longer; what it wanted goes on."""
        with self._changed:
            if wait in job.waits:
                job.waits.remove(wait)
                job.unattended = True

    def end(self) -> None:
        """Begins no more; the run under way ends after its frame. What is left stays in the store."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Waits for that end."""
        self.end()
        if self._thread is not None:
            self._thread.join()

    def state(self) -> list[dict[str, object]]:
        """The jobs, first the one that runs, then in the order in which they come."""
        with self._changed:
            running = self._running
            ordered = sorted(self._jobs.values(), key=lambda job: (job is not running, *_rank(job)))
            return [{**job.key._asdict(), "running": job is running, "frames": job.frames, "done": job.done} for job in ordered]

    @property
    def waiting(self) -> int:
        """Jobs that do not run."""
        with self._changed:
            return len(self._jobs) - (self._running is not None)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="masklets", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.changed = False
            done = self._advanced(job)
            with self._changed:
                self._running = None
                if done and not job.changed:
                    del self._jobs[job.key]
                    job.release()
                gone = job.key not in self._jobs
            if gone:
                self._ended(job.key)

    def _advanced(self, job: Job) -> bool:
        try:
            return self._advance(job, lambda: self._gives_way(job))
        except LocaraError as error:
            job.release(error)
        except Exception:
            log.exception("a run through the video of task %s failed in a way that nobody thought of", job.key.task)
            job.release(LocaraError("the server failed; its log says how", code="internal"))
        return True

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            self._running = None if self._closed else min(self._jobs.values(), key=_rank)
            return self._running

    def _gives_way(self, job: Job) -> bool:
        """Whether a run should end here: the server closes, more is wanted of it, or another is more urgent."""
        with self._changed:
            return self._closed or job.changed or any(_rank(other) < _rank(job) for other in self._jobs.values())


def _rank(job: Job) -> tuple[bool, bool, int]:
    return job.rests_s > time.monotonic(), not job.urgent, job.order
