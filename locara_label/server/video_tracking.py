"""Runs through the videos of tasks: which session, whose turn, how long, and what becomes of failures."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from locara_label.engine.lanes import Priority
from locara_label.engine.turns import Turns, in_turns
from locara_label.engine.video_files import VideoFile
from locara_label.errors import Cancelled, DeadlineExceeded, LocaraError, QueueFull
from locara_label.hosts.label_studio.masklets import MaskletStore, Record
from locara_label.rle import Size
from locara_label.server.core import Core
from locara_label.server.texting import quoted
from locara_label.server.video_finding import Run, Tracked, failed
from locara_label.server.video_jobs import Job, Key
from locara_label.server.video_pending import PendingTexts
from locara_label.server.video_texts import Text
from locara_label.video.timeline import Timeline
from locara_label.video.video import Video

log = logging.getLogger("locara_label.server")

OWNER = "label-studio"
_SURE_STEPS, _SURE_S = 6, 1.5
"""How much of a run has to be done before its end is foretold."""
_ANSWER_S, _AGAIN_S = 1.0, 0.2
_UNTHOUGHT = "the server failed; its log says how"
_MOST_AT_ONCE = 61
"""Videos that are fetched at once."""
_KEPT_SESSIONS = 64
"""Of videos that may be corrected without being gone through again; what they cost is up to the registry."""

GivesWay = Callable[[], bool]


class Told(Protocol):
    """Who wants to know how a run goes."""

    def __call__(self, job: Job, *, done: bool) -> None: ...


class Tracking:
    """Does the work of jobs with the core's sessions.

    Attributes:
        told: is told how runs go.
    """

    told: Told

    def __init__(self, core: Core, store: Callable[[], MaskletStore], records: threading.Lock, pending: PendingTexts) -> None:
        """`store` opens the store when it is first needed; `records` is held by who reads a record of the store to change it."""
        self._core, self._stored, self._records, self._pending = core, store, records, pending
        self._tracked: OrderedDict[Key, Tracked] = OrderedDict()
        self._opening = [threading.Lock() for _ in range(_MOST_AT_ONCE)]
        # those that are being opened cannot make room for each other
        self._room = threading.Semaphore(max(1, core.settings.server.video_sessions // 2))
        self._turns: Turns | None = None
        self._lock = threading.Lock()

    def advance(self, job: Job, gives_way: GivesWay) -> bool:
        """Goes on with a job; whether it is done.

        Raises:
            LocaraError: it failed; its records say why.
        """
        records = self._wanted(job.key)
        if not records and not job.texts:
            self.told(job, done=True)
            return True
        try:
            return self._run(job, records, gives_way)
        except (Cancelled, DeadlineExceeded, QueueFull) as error:  # the server closes, or the device has no time now
            log.info("task %s waits again: %s", job.key.task, error)
            time.sleep(_AGAIN_S)
            return False
        except Exception as error:
            failure = (
                error if isinstance(error, LocaraError) else LocaraError("the server failed; its log says how", code="internal")
            )
            if failure is not error:
                log.exception("a run through the video of task %s failed in a way that nobody thought of", job.key.task)
            self._fail(job, failure)
            raise failure from error

    def _fail(self, job: Job, error: LocaraError) -> None:
        """What was wanted has failed, for the annotator too."""
        log.warning("task %s: [%s] %s", job.key.task, error.code, error.message, extra={"code": error.code})
        self._core.metrics.errors.labels(error.code).inc()
        with self._records, self._store.alone(job.key.project, job.key.task):
            for record in self._wanted(job.key):
                self._store.put(failed(record, error))
        self._end_texts(job, job.texts, f"[{error.code}] {error.message}")
        self.told(job, done=True)

    def _end_texts(self, job: Job, texts: Sequence[Text], failure: str | None) -> None:
        """Texts are done with; what nobody waits for has to be told later."""
        for text in texts:
            told = ". ".join(text.missing()) if failure is None else f"{quoted(text.sought.phrases)}: {failure}"
            text.failure = told if told and job.unattended and not text.answered else None
        self._pending.end(job.key, texts)
        job.texts = [text for text in job.texts if text not in texts]

    def tracked(self, key: Key, video: str) -> Tracked:
        """The session of a video, opened where there is none.

        Raises:
            NotAllowed, FetchFailed, BadVideo, MissingRuntime, ModelError: it cannot be opened.
            QueueFull: too many are open and in use.
        """
        with self._opening[hash(key) % len(self._opening)]:
            tracked = self._known(key, video)
            if tracked is None:
                with self._room:
                    tracked = self._opened(key, video)
            with self._lock:
                self._tracked[key] = tracked
                self._tracked.move_to_end(key)
                gone = [self._tracked.popitem(last=False) for _ in range(len(self._tracked) - _KEPT_SESSIONS)]
        for one, other in gone:
            self._close(one, other)
        return tracked

    def stop(self) -> None:
        """Ends the frame under way, from another thread."""
        turns = self._turns
        if turns is not None:
            turns.cancel()

    def _known(self, key: Key, video: str) -> Tracked | None:
        tracked, session_id = self._tracked.get(key), self._core.video_sessions.find(OWNER, _name(key))
        if tracked is not None and tracked.session_id == session_id and tracked.video == video:
            return tracked
        if session_id is not None:
            self._core.video_sessions.stop(OWNER, session_id)
        return None

    def _opened(self, key: Key, video: str) -> Tracked:
        file = self._fetched(key, video)
        seen: list[tuple[Size, Timeline]] = []

        def opened() -> Video:
            opened = file.open()
            seen[:] = [(opened.size, opened.timeline)]
            return opened

        text = {} if self._core.text is None else {"text_model": self._core.text.text_model}
        model = self._core.video_model()
        session_id = self._core.video_sessions.start(OWNER, model, opened, name=_name(key), free=file.free, **text)
        return Tracked(session_id, video, *seen[0])

    def _fetched(self, key: Key, video: str) -> VideoFile:
        """The file of a video; where the disk is full, sessions that are done make room."""
        while True:
            try:
                return self._core.video_files.fetch(video, task_id=key.task, project_id=key.project)
            except QueueFull:
                with self._lock:
                    oldest = next(((one, found) for one, found in self._tracked.items() if one != key), None)
                    if oldest is None:
                        raise
                    self._tracked.pop(oldest[0])
                self._close(*oldest)

    def _close(self, key: Key, tracked: Tracked) -> None:
        if self._core.video_sessions.find(OWNER, _name(key)) == tracked.session_id:
            self._core.video_sessions.stop(OWNER, tracked.session_id)

    @property
    def _store(self) -> MaskletStore:
        return self._stored()

    def _wanted(self, key: Key) -> list[Record]:
        return [record for record in self._of_video(key) if record.state == "running"]

    def _of_video(self, key: Key) -> list[Record]:
        return [record for record in self._store.of_task(key.project, key.task) if record.to_name == key.to_name]

    def _run(self, job: Job, records: list[Record], gives_way: GivesWay) -> bool:
        tracked = self.tracked(job.key, job.video)
        priority = Priority.CLICK if job.urgent else Priority.PRELABEL
        turns = self._core.video_turns(self._core.settings.server.video_run_s, priority)
        self._turns = turns
        known = [record for record in self._of_video(job.key) if record.state == "done" and record.video == job.video]
        with self._core.video_sessions.use(OWNER, tracked.session_id, turns, run=True) as session:
            run = Run(self._store, self._records, session, tracked, records, others=known if job.texts else ())
            job.flush = run.save
            texts = list(job.texts)
            with run.saved():
                run.show(turns)
                for text in texts:
                    run.ask(job.key, text, turns)
                ended = self._follow(job, run, turns, gives_way)
            if ended:
                run.finish()
                self._end_texts(job, texts, None)
        self.told(job, done=ended)
        return ended

    def _follow(self, job: Job, run: Run, turns: Turns, gives_way: GivesWay) -> bool:
        """Whether it came to the end."""
        again = run.asked_every
        job.done, job.frames = 0, run.session.video.count if again else run.left()
        if not job.frames:
            return True
        began, count = time.monotonic(), run.session.video.count
        steps = turns.take(lambda limit: run.session.propagate("both", max_frames=count, limit=limit, redetect=again))
        for step in in_turns(steps, turns):
            run.add(step)
            job.done += 1
            if job.urgent and _too_long(job, time.monotonic() - began):
                run.save()
                job.unattended = True
                job.release()
            if job.unattended and not job.urgent:
                self.told(job, done=False)
            if gives_way():
                return False
        return True


def _name(key: Key) -> str:
    return f"{key.project}/{key.task}/{key.to_name}"


def _too_long(job: Job, seconds: float) -> bool:
    """Whether the run will still go on when the first who waits gives up."""
    if job.done < _SURE_STEPS or seconds < _SURE_S:
        return False
    left_s = min(wait.left_s for wait in job.waits) - _ANSWER_S
    return seconds / job.done * (job.frames - job.done) > left_s
