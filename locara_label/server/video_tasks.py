"""Label Studio's video tasks: boxes that a person draws become objects that are followed through the video.

What is wanted is stored before anything is done, and what is found as it is found. So an answer is what the store has: all of it
where the run is short, else what exists, and the run goes on and writes a prediction.
"""

from __future__ import annotations

import logging
import threading

from locara_label.errors import BadPrompt, BadRequest, Cancelled, QueueFull, StoreFailed
from locara_label.hosts.label_studio.config import LabelingConfig, ObjectTag
from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record, is_stored
from locara_label.hosts.label_studio.prompts import PromptRequest
from locara_label.hosts.label_studio.requests import PredictRequest
from locara_label.hosts.label_studio.results import OWN_WORDS, Region
from locara_label.hosts.label_studio.video_objects import VideoObject, region_name
from locara_label.hosts.label_studio.video_regions import View, noted
from locara_label.hosts.label_studio.video_wishes import wish
from locara_label.rle import Size
from locara_label.server.core import Core
from locara_label.server.video_answers import Answers, with_messages
from locara_label.server.video_claims import Claims, Watch
from locara_label.server.video_finding import Tracked
from locara_label.server.video_jobs import Jobs, Key, Wait
from locara_label.server.video_pending import PendingTexts
from locara_label.server.video_predictions import Predictions
from locara_label.server.video_texts import Text, text_of
from locara_label.server.video_tracking import Tracking
from locara_label.server.video_views import kept_view, view_of

log = logging.getLogger("locara_label.server")

MARGIN_S = 2
"""What is left of a request's time for the answer itself."""


class VideoTasks:
    """Answers requests of video tasks with the models of one core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._opening, self._records = threading.Lock(), threading.Lock()
        self._opened: MaskletStore | None = None
        self._closed = False
        self._pending = PendingTexts(lambda: self.store)
        self._tracking = Tracking(core, lambda: self.store, self._records, self._pending)
        self._answers = Answers(core, lambda: self.store, self._pending, self._tracking.tracked)
        self._tracking.told = Predictions(core, self._answers.prediction).told
        self._claims = Claims(lambda: self.store)
        self.jobs = Jobs(self._claims.first(self._tracking.advance), self._claims.free)
        self._watch = Watch(self._go_on)
        core.metrics.watch_masklets(self.jobs)

    @property
    def store(self) -> MaskletStore:
        """The store of masklets, opened when it is first needed. Raises StoreFailed."""
        with self._opening:
            if self._opened is None:
                if self._closed:
                    raise Cancelled("the server closes")
                self._opened = MaskletStore(self._core.settings.masklets)
            return self._opened

    def start(self) -> None:
        """Goes on with what was not done when the last server of this store ended."""
        try:
            if is_stored(self._core.settings.masklets):
                self._go_on()
        except StoreFailed as error:
            log.error("masklets: [%s] %s", error.code, error.message, extra={"code": error.code})  # noqa: TRY400
        if self._core.settings.server.store is not None:
            self._watch.start()

    def _go_on(self) -> None:
        """Takes on what is not done and no server of this store has."""
        left: dict[Key, str] = {}
        for record in self.store.unfinished():
            left[_key(record)] = record.video
        texts = list(self._pending.left())
        left |= {key: video for key, video, _ in texts}
        for key, video in left.items():
            if key in self.jobs or not self._claims.take(key):
                continue
            log.info("task %s of project %s: its masklets are gone on with", key.task, key.project)
            self.jobs.submit(key, video, texts=[text for of, _, text in texts if of == key])

    def close(self) -> None:
        """Ends the run under way; the next start goes on with it, or another server of this store."""
        self.jobs.end()
        self._tracking.stop()
        self._watch.close()
        self.jobs.close()
        self._claims.close()
        with self._opening:
            self._closed = True
            if self._opened is not None:
                self._opened.close()

    def regions(self, request: PredictRequest, context: PromptRequest, config: LabelingConfig, shown: ObjectTag) -> list[Region]:
        """The objects of a context, followed as far as the time allows.

        Raises:
            BadRequest, BadPrompt, LocaraError: nothing can be followed.
        """
        objects = [one for one in context.videos if one.label is not None or not _has_labels(config, shown)]
        if not objects and (context.text is None or context.videos):
            return []
        key = _key_of(request, shown)
        tracked = self._tracking.tracked(key, request.tasks[0].urls(shown)[0])
        view = view_of(objects, shown, request, tracked.timeline)
        text = None if objects else text_of(self._core, context, config, shown, view)
        if text is not None:
            found, told = self._named(key, tracked.video, text, view, request.tasks[0].regions)
            return [*found, *self._answers.messages(told, config, shown)]
        with self._records, self.store.alone(key.project, key.task):
            wanted = [self._wanted_or_not(one, key, tracked, view) for one in objects]
        if any(record.state != "done" for record in wanted if isinstance(record, Record)):
            self._run(key, tracked.video, None)
        told = self._answers.untold(key, [one.region_id for one in objects])
        return with_messages([self._answer(one, record, view) for one, record in zip(objects, wanted, strict=True)], told)

    def _named(self, key: Key, video: str, text: Text, view: View, there: frozenset[str]) -> tuple[list[Region], list[str]]:
        """What a text has found so far, and what there is to say; raises BadPrompt where that is nothing, and will be."""
        self._run(key, video, text)
        text.answered = text.ended
        told = [*text.told(), *text.told_of(there)]
        if not text.ended:
            told.insert(0, f"the video is still being gone through; {self._answers.where}")
        elif not text.found:
            raise BadPrompt(". ".join(told), code="prompt.nothing")
        return self._answers.named(key, text, view, there), [*told, *self._answers.untold(key, text.regions)]

    def _wanted_or_not(self, asked: VideoObject, key: Key, tracked: Tracked, view: View) -> Record | BadPrompt:
        """As `_wanted`; what cannot be followed keeps no other from being followed."""
        try:
            return self._wanted(asked, key, tracked, view)
        except BadPrompt as error:
            return error

    def _wanted(self, asked: VideoObject, key: Key, tracked: Tracked, view: View) -> Record:
        """The record of an object as it is wanted now, stored."""
        place = Place(key.project, key.task, asked.region_id)
        known = self.store.read(place)
        model = self._core.video_model()
        if known is not None and _video_of(known) != (tracked.video, tracked.size, len(tracked.timeline.ticks), model.name):
            known = None
        wanted = wish(asked, known, view.clock, tracked.size, view.frame_count)
        same = known is not None and known.state in {"done", "running"} and dict(known.prompts) == dict(wanted.prompts)
        record = Record(
            place=place,
            video=tracked.video,
            to_name=key.to_name,
            from_name=region_name(asked.fields, "from_name"),
            size=tracked.size,
            frame_count=len(tracked.timeline.ticks),
            label=asked.label or "",
            model=model.name,
            version=self._core.version,
            prompts=dict(wanted.prompts),
            state=known.state if same and known is not None else "running",
            wanted=kept_view(view, wanted.hidden),
        )
        if known is None:
            self.store.replace(record, ())
        elif record != known or record.prompts != known.prompts or record.wanted != known.wanted:
            self.store.put(record)
        return record

    def _run(self, key: Key, video: str, text: Text | None) -> None:
        """Has done what is left to do, and waits as long as that makes sense."""
        seconds = self._core.settings.server.predict_s
        wait = Wait.of(max(seconds - MARGIN_S, seconds / 2))
        self._claims.take(key)  # before it is in the store; where another server has the video, the job waits for that
        if text is not None:
            self._pending.add(key, video, text)
        texts = [text] if text is not None else []
        try:
            job = self.jobs.submit(key, video, wait, texts)
        except QueueFull:
            self._pending.end(key, texts)
            raise
        if not wait.over.wait(wait.left_s):
            self.jobs.leave(job, wait)
            job.flush()
        if wait.error is not None:
            raise wait.error

    def _answer(self, asked: VideoObject, wanted: Record | BadPrompt, view: View) -> Region:
        """An object as far as it was followed, or as it was sent, with what went wrong."""
        record = wanted if isinstance(wanted, BadPrompt) else self._now(wanted)
        if isinstance(record, BadPrompt) or record.state == "failed":
            reason = record.message if isinstance(record, BadPrompt) else record.error or "it cannot be followed"
            log.warning("region %s is not followed: %s", asked.region_id, reason)
            if isinstance(record, Record):
                self._answers.tell(record)
            return noted(asked.fields, reason)
        found = self._answers.region(record, view, self._answers.where)
        if found["value"]["sequence"]:
            return found
        [said] = found["meta"].get("text", ["nothing was found"])
        return noted(asked.fields, said.removeprefix(OWN_WORDS))

    def _now(self, record: Record) -> Record:
        found = self.store.read(record.place)
        if found is None:
            raise BadRequest(f"region {record.place.region!r} was removed meanwhile", code="request.region")
        return found


def _video_of(record: Record) -> tuple[str, Size, int, str]:
    return record.video, record.size, record.frame_count, record.model


def _key(record: Record) -> Key:
    return Key(record.place.project, record.place.task, record.to_name)


def _key_of(request: PredictRequest, shown: ObjectTag) -> Key:
    task = request.tasks[0].id
    if request.project is None or task is None:
        raise BadRequest("masklets belong to a task of a project; one of them has no number", code="request.task")
    return Key(request.project, task, shown.name)


def _has_labels(config: LabelingConfig, shown: ObjectTag) -> bool:
    return any(tag.shape == "labels" for tag in config.controls_of(shown.name))
