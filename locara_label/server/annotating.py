"""Label Studio's requests: /setup, a batch of tasks, a click, webhooks.

The editor shows no error of a backend: an answer that failed looks like one that never came. So whatever goes wrong is written
into a TextArea of the config where there is one, and always into the log and the metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from locara_label.despeckle import despeckle
from locara_label.engine.engine import Size
from locara_label.engine.tickets import Ticket
from locara_label.errors import BadPrompt, BadRequest, Cancelled, LocaraError
from locara_label.hosts.label_studio import results
from locara_label.hosts.label_studio.config import LabelingConfig, ObjectTag
from locara_label.hosts.label_studio.fields import Fields, text
from locara_label.hosts.label_studio.prompts import ObjectPrompt, PromptRequest
from locara_label.hosts.label_studio.requests import PredictRequest, Task, parse_predict, parse_setup
from locara_label.hosts.label_studio.results import Region
from locara_label.hosts.label_studio.setup_check import problems
from locara_label.hosts.label_studio.video_regions import noted
from locara_label.models.base import PromptModel
from locara_label.server.background import Background
from locara_label.server.core import Core
from locara_label.server.prelabels import Prelabels
from locara_label.server.recording import Groups, Recorder
from locara_label.server.texting import TextAnswer, check_size
from locara_label.server.video_tasks import VideoTasks
from locara_label.types import Candidate, Prompt

log = logging.getLogger("locara_label.server")

MARGIN_S = 2
"""What is left of a batch's time for the answer itself."""
_LATE = frozenset({"run.deadline", "run.queue_full"})
_OVER_S = 0.05
"""With less left a picture that came too late is not at fault: it had what the tasks before it left."""
_ACTIONS = frozenset({
    "START_TRAINING", "PROJECT_CREATED", "PROJECT_UPDATED", "PROJECT_DELETED", "TASKS_CREATED", "TASKS_DELETED",
    "ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "LABEL_LINK_CREATED",
    "LABEL_LINK_UPDATED", "LABEL_LINK_DELETED",
})  # fmt: skip
"""Counted by name. Others together: anybody may send a webhook, and every name that is counted stays in memory."""


class Annotating:
    """Answers Label Studio with the models of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.background = Background(core)
        self.videos = VideoTasks(core)
        self.recorder = Recorder(core.settings.masklets, core.metrics, wanted=core.settings.server.record)

    def start(self) -> None:
        """Called once the server listens."""
        self.videos.start()

    def close(self) -> None:
        """Gives up background work; the tasks that are left have no prediction and are asked for again."""
        self.background.close()
        self.videos.close()
        self.recorder.close()

    def setup(self, fields: Fields) -> dict[str, Any]:
        """The version, and what is wrong with the config.

        Raises:
            BadRequest: code config.unusable, with the XML that is missing; the config has no picture, or no place for a mask.
        """
        request = parse_setup(fields)
        found = problems(request.config())
        for problem in found:
            log.warning("project %s: %s Add: %s", request.project, problem.message, problem.xml)
        fatal = [f"{problem.message} Add: {problem.xml}" for problem in found if problem.is_fatal]
        if fatal:
            raise BadRequest(" ".join(fatal), code="config.unusable")
        return {"model_version": self.core.version, "problems": [problem.message for problem in found]}

    def webhook(self, fields: Fields) -> dict[str, Any]:
        """Something happened in Label Studio; nothing depends on it, as anybody may say so."""
        action = text(fields.get("action"), "action", "request.webhook", 100)
        self.core.metrics.webhook(action if action in _ACTIONS else "other")
        return {"status": "ok"}

    def predict(self, fields: Fields) -> dict[str, Any]:
        """Predictions for a batch of tasks, or the answer to a click."""
        request = parse_predict(fields)
        if request.context is None:
            return self._batch(request)
        if request.context.is_empty:
            return self._answer([])
        with self.recorder.answering(request, request.context, self._model(request.context)) as groups:
            return self._interactive(request, request.context, groups)

    def _answer(self, regions: Sequence[Region]) -> dict[str, Any]:
        version = self.core.version
        return results.answer([results.prediction(regions, version)], version)

    def _model(self, context: PromptRequest) -> str:
        """Name of what answers a context."""
        if context.videos or context.objects:
            return self.core.video_model_name if context.videos else self.core.prompt_model.name
        return "" if self.core.text is None else self.core.text.text_model.name

    def _interactive(self, request: PredictRequest, context: PromptRequest, groups: Groups) -> dict[str, Any]:
        """The answer; `groups` gets the regions in it, by object shown."""
        config, task = request.config(), request.tasks[0]
        shown = _shown(config, context)
        try:
            groups += self._masks(request, context, config, shown)
        except Cancelled:
            raise
        except LocaraError as error:
            if context.videos:
                self._tell(f"task {task.id}", error)
                return self._answer([noted(one.fields, error.message) for one in context.videos])
            area = config.message_area(shown.name)
            if area is None:
                raise
            self._tell(f"task {task.id}", error)
            return self._answer([results.message_region(error.message, area, shown.name, context.item_index)])
        if shown.kind == "image":
            self.background.encode_ahead(request.project, task, shown)
        return self._answer([region for group in groups for region in group])

    def _masks(self, request: PredictRequest, context: PromptRequest, config: LabelingConfig, shown: ObjectTag) -> Groups:
        """Regions by object shown."""
        if shown.kind == "video":
            return [self.videos.regions(request, context, config, shown)]
        if not context.objects:
            return [TextAnswer(self.core, request, context, config, shown).regions()]
        task, page = request.tasks[0], context.item_index or 0
        picture = self.core.picture(_url(task, shown, page), task_id=task.id, project_id=request.project)
        replaces = (request.project, task.id, shown.name, *(one.region_ids[0] for one in context.objects))
        ticket = self.core.click_ticket()
        answer = self.core.engine.prompt(picture, self._prompts(context), ticket, replaces)
        place = results.Picture(shown.name, answer.size, context.image_rotation, page if shown.value_list is not None else None)
        pairs = zip(context.objects, answer.candidates, strict=True)
        return [self._regions(one, candidates, config, place) for one, candidates in pairs]

    def _prompts(self, context: PromptRequest) -> Callable[[Size], list[Prompt]]:
        wanted = max(context.candidates, self.core.settings.server.candidates)

        def prompts(size: Size) -> list[Prompt]:
            check_size(context.size, size)
            return [_fitting(one.prompt, wanted, self.core.prompt_model) for one in context.objects]

        return prompts

    def _regions(
        self, one: ObjectPrompt, candidates: Sequence[Candidate], config: LabelingConfig, place: results.Picture
    ) -> list[Region]:
        output = config.output(place.to_name, one.label)
        if output is None:
            raise BadRequest(f"no control of {place.to_name!r} can show a mask", code="config.unusable")
        least = self.core.settings.server.despeckle
        cleaned = [replace(found, mask=despeckle(found.mask, least)) for found in candidates] if least else candidates
        visible = [found for found in cleaned if found.mask.area]
        if not visible:
            raise BadPrompt("nothing was found there", code="prompt.nothing")
        return results.candidate_regions(
            visible,
            one.label,
            output,
            place,
            model_version=self.core.version,
            region_id=one.refines,
            tolerance_px=self.core.settings.server.polygon_tolerance,
        )

    def _batch(self, request: PredictRequest) -> dict[str, Any]:
        """One entry a task: a prediction, or an empty list, which leaves the task without one, to be asked for again."""
        version = self.core.version
        config = request.config()
        if not self.core.prelabels or (config.videos and not config.images):
            self._warm(request)
            return results.answer([[] for _ in request.tasks], version)  # type: ignore[misc]
        work = Prelabels(self.core, request)
        seconds = self.core.settings.server.predict_s
        ticket = Ticket(max(seconds - MARGIN_S, seconds / 2))
        entries = [self._entry(work, task, ticket) for task in request.tasks]
        self._warm(request)
        late = [task for task, entry in zip(request.tasks, entries, strict=True) if entry is None]
        if late:
            self.background.prelabel(request.project, request.label_config, late)
        return results.answer([entry or [] for entry in entries], version)  # type: ignore[misc]

    def _entry(self, work: Prelabels, task: Task, ticket: Ticket) -> dict[str, Any] | list[Any] | None:
        """A prediction, [] for a failure that was told, None for a task that the time is not enough for."""
        if not ticket.remaining_s:
            return None
        try:
            return work.prediction(task, ticket)
        except LocaraError as error:
            if error.code in _LATE or (error.code == "fetch.timeout" and ticket.remaining_s < _OVER_S):
                return None
            self._tell(f"task {task.id}", error)
            return work.message(error) or []
        except Exception:
            log.exception("task %s failed in a way that nobody thought of", task.id)
            self.core.metrics.errors.labels("internal").inc()
            return []

    def _warm(self, request: PredictRequest) -> None:
        """A task that is opened comes alone: it will be clicked on in a moment."""
        if len(request.tasks) == 1:
            for shown in request.config().images:
                self.background.warm(request.project, request.tasks[0], shown)

    def _tell(self, where: str, error: LocaraError) -> None:
        self.core.metrics.errors.labels(error.code).inc()
        log.warning("%s: [%s] %s", where, error.code, error.message, extra={"code": error.code})


def _shown(config: LabelingConfig, context: PromptRequest) -> ObjectTag:
    first = next(iter((*config.images, *config.videos)), None)
    shown = config.object(context.to_name) if context.to_name is not None else first
    if shown is None or shown.kind not in {"image", "video"}:
        raise BadRequest(f"{context.to_name!r} is no Image and no Video of the labeling config", code="request.to_name")
    return shown


def _url(task: Task, shown: ObjectTag, page: int) -> str:
    urls = task.urls(shown)
    if page >= len(urls):
        raise BadRequest(f"task {task.id} has {len(urls)} pages, not {page + 1}", code="task.page")
    return urls[page]


def _fitting(prompt: Prompt, candidates: int, model: PromptModel) -> Prompt:
    """The same wish, as the model can take it: one that cannot start from a mask gets the box around it."""
    if prompt.mask is None or model.refines:
        return replace(prompt, candidates=3 if candidates > 1 else 1)
    return replace(prompt, mask=None, box=prompt.box or prompt.mask.box, candidates=3 if candidates > 1 else 1)
