"""What all routes share: the models and their engines, the reading of pictures, the counting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sized
from typing import Any

from locara_label.engine.embeddings import Budget, Embeddings
from locara_label.engine.engine import Bounds, Engine, Picture
from locara_label.engine.granted import rules
from locara_label.engine.lanes import Lane, Lanes, Priority
from locara_label.engine.loading import load_video_model
from locara_label.engine.text_engine import LabelEngine, TextEngine
from locara_label.engine.tickets import Ticket
from locara_label.engine.tracking import DEFAULT_VIDEO_MODEL
from locara_label.engine.turns import LaneTurns
from locara_label.engine.video_files import VideoFiles
from locara_label.engine.video_sessions import SessionBudget, VideoSessions
from locara_label.errors import BadPrompt, NotAllowed
from locara_label.fetch import Fetcher
from locara_label.images import Limits
from locara_label.models.base import Limit, PromptModel, SegmentationModel, TextModel, VideoModel
from locara_label.models.grounded import GroundedSam2
from locara_label.server.metrics import Metrics
from locara_label.server.models import Load, Models
from locara_label.settings import Settings
from locara_label.types import Candidate, Prompt
from locara_label.video.limits import VideoLimits

log = logging.getLogger("locara_label.server")

ClickEngine = Engine[Prompt, Candidate]

_MAX_MODELS = 8
_MAX_LABEL_SETS = 64


class Core:
    """One server: its models, its cache, what it may read, and what it counts. Safe to use from many threads.

    Attributes:
        version: of every prediction and answer. Label Studio compares it with that of each stored prediction to find the tasks
            that have none, so it names the model that pre-labels and its weights.
        prompt_model: answers clicks.
        prompt_weights: the folder that its files were read from; None for those of the store.
        engine: answers clicks, and pre-labels with a model that has classes of its own, for all users.
        text: answers text prompts; None if no model understands text.
        video_sessions: of all users.
        video_files: of videos that sessions need.
        video_runs: whole runs through videos, one at a time; see `video_turns`.
        long_answers: called when the server is told to stop, to end answers that would go on for long.
        ends: called when it closes, once nothing runs any more.
    """

    def __init__(self, settings: Settings, models: Models) -> None:
        server = settings.server
        self.settings = settings
        self.fetcher = Fetcher(rules(settings))
        budget = Budget(server.embedding_bytes, server.embedding_age_s)
        secret = server.basic_auth.get_secret_value() if server.basic_auth else ""
        self._embeddings = Embeddings(budget, server.embedding_dir, secret=secret.encode())
        self._bounds = Bounds(server.waiting, server.predict_s, Limits(settings.max_image_bytes, settings.max_pixels))
        self._lanes = Lanes.of(server.waiting)
        self.prompt_model, self.prompt_weights = models.prompt, models.prompt_weights
        self._grounded = models.prelabel if isinstance(models.prelabel, GroundedSam2) else None
        self.engine = self._engine(models.prompt, None if isinstance(models.prelabel, GroundedSam2) else models.prelabel)
        self.text = None if models.text is None else self._text_engine(models.text, models.prompt)
        self._labels = None if self._grounded is None else self._label_engine(self._grounded)
        self._label_sets: dict[tuple[str, ...], LabelEngine] = {}
        self.version = models.version or (models.prelabel or models.prompt).name
        self.metrics = Metrics(self.engine, self.text)
        self._load = models.load
        self._load_video = models.load_video or (lambda name: load_video_model(name, settings=settings))
        self._video_models: dict[str, VideoModel] = {}
        self.video_sessions = VideoSessions(
            SessionBudget(server.video_sessions, server.video_session_bytes, idle_s=server.video_idle_s, age_s=server.video_age_s)
        )
        limits = VideoLimits(max_bytes=server.video_bytes, max_frames=server.video_frames)
        self.video_files = VideoFiles(self.fetcher.rules, limits, server.video_disk_bytes, server.video_fetch_s)
        self.video_runs = Lane("tracking", 1, server.waiting)
        self.long_answers: list[Callable[[], None]] = []
        self.ends: list[Callable[[], None]] = []
        self.metrics.watch_videos(self.video_sessions, self.video_runs)
        self._others: dict[str, ClickEngine] = {}
        self._lock, self._video_lock = threading.Lock(), threading.Lock()

    def start(self) -> None:
        """Called once the server listens."""
        log.info("%s; clicks are answered on %s", self.said, self.prompt_model.provider)

    def close(self) -> None:
        """Finishes what runs, gives up what waits; runs through videos end where they are."""
        self.video_sessions.close()
        self.video_runs.close()
        self.video_files.close()
        self._lanes.close()
        for end in self.ends:
            end()

    @property
    def said(self) -> str:
        """One line: which model does what."""
        served = self._served()
        uses = {"clicks": "answers clicks", "text": "answers text", "prelabels": "pre-labels"}
        return "; ".join(f"{served.get(use, 'nothing')} {does}" for use, does in uses.items())

    @property
    def prelabels(self) -> bool:
        """Whether there is a model that fills new tasks."""
        return self._grounded is not None or self.engine.segmentation_model is not None

    @property
    def looks_for_labels(self) -> bool:
        """Whether that model is asked for the labels of each project."""
        return self._grounded is not None

    def prelabel_engine(self, phrases: tuple[str, ...]) -> ClickEngine | LabelEngine:
        """What fills new tasks of a project; one that understands text looks for `phrases`, others know their own classes.

        Raises:
            BadOption, BadPrompt: see `LabelEngine`.
        """
        if self._labels is None:
            return self.engine
        with self._lock:
            if phrases not in self._label_sets:
                while len(self._label_sets) >= _MAX_LABEL_SETS:
                    self._label_sets.pop(next(iter(self._label_sets)))
                self._label_sets[phrases] = LabelEngine(self._labels, phrases, self.settings.server.max_regions)
            return self._label_sets[phrases]

    def state(self) -> dict[str, Any]:
        """Whether new work is taken, and how much waits."""
        waiting = {lane.name: lane.depth for lane in self._lanes}
        return {
            "ready": max(waiting.values()) < self._bounds.waiting,
            "waiting": {**waiting, self.video_runs.name: self.video_runs.depth},
            "models": self._served(),
            "video_sessions": len(self.video_sessions),
        }

    def models(self) -> dict[str, Any]:
        """The catalogue with each model's state, and what this server answers with."""
        from locara_label.weights import catalogue

        store = self.settings.store()
        rows = [{"name": row.name, "task": row.task, "state": store.state(row).to_json()} for row in catalogue.rows()]
        return {"models": rows, "serving": self._served()}

    def picture(self, reference: str, *, task_id: int | None = None, project_id: int | None = None) -> Picture:
        """A reference of a task as a picture that the engine can read.

        Raises:
            NotAllowed, FetchFailed: as far as can be told without reading; see `Fetcher.identity`.
        """
        key = self.fetcher.identity(reference, task_id=task_id, project_id=project_id)

        def read(limit: Limit) -> bytes:
            return self.fetcher.read(
                reference, deadline_s=limit.deadline_s, stop=limit.stop, task_id=task_id, project_id=project_id
            )

        return Picture(key, read)

    def click_ticket(self) -> Ticket:
        """For a request that a person waits for."""
        return Ticket(self.settings.server.click_s)

    def text_ticket(self) -> Ticket:
        """For a text prompt, which a person waits for too, but which asks a slow model."""
        return Ticket(self.settings.server.text_s)

    def text_engine(self) -> TextEngine:
        """Raises BadPrompt: code prompt.text; no model that understands text is loaded."""
        if self.text is None:
            raise BadPrompt("no model that understands text is loaded; click on the object or draw a box", code="prompt.text")
        return self.text

    def engine_of(self, name: str | None) -> ClickEngine:
        """The engine of a model that a request names; None means the server's own.

        Raises:
            NotAllowed: code model.not_allowed; no setting grants the model.
            ModelError: it cannot be loaded.
        """
        own = (self.prompt_model, self.engine.segmentation_model)
        if name is None or name in {model.name for model in own if model is not None}:
            return self.engine
        granted = self.settings.capabilities.models
        if self._load is None or not {name, "*"}.intersection(granted):
            raise _not_granted(name)
        with self._lock:
            if name not in self._others:
                self._others[name] = self._loaded(name, self._load)
            return self._others[name]

    @property
    def video_model_name(self) -> str:
        """Of the model that follows objects through video."""
        return self.settings.server.video_model or DEFAULT_VIDEO_MODEL

    def video_model(self, name: str | None = None) -> VideoModel:
        """The model that follows objects, or another one that a request names; loaded when it is first needed.

        Raises:
            NotAllowed: as `engine_of`.
            ModelError: it cannot be loaded.
        """
        asked = name or self.video_model_name
        if asked != self.video_model_name and not {asked, "*"}.intersection(self.settings.capabilities.models):
            raise _not_granted(asked)
        with self._video_lock:
            if asked not in self._video_models:
                _check_count(self._video_models)
                self._video_models[asked] = self._load_video(asked)
            return self._video_models[asked]

    def video_turns(self, deadline_s: float, priority: Priority = Priority.PRELABEL) -> LaneTurns:
        """How a video's frames get their turns on the device: behind the clicks that wait, unless a person waits for them."""
        return LaneTurns(self._lanes.encoding, Ticket(deadline_s), priority)

    def _loaded(self, name: str, load: Load) -> ClickEngine:
        _check_count(self._others)
        return self._engine(*load(name))

    def _engine(self, prompt_model: PromptModel | None, prelabel_model: SegmentationModel | None) -> ClickEngine:
        return Engine(prompt_model, prelabel_model, embeddings=self._embeddings, bounds=self._bounds, lanes=self._lanes)

    def _text_engine(self, text_model: TextModel, prompt_model: PromptModel) -> TextEngine:
        return TextEngine(
            text_model,
            prompt_model,
            embeddings=self._embeddings,
            bounds=self._bounds,
            lanes=self._lanes,
            known=self.engine.known,
        )

    def _label_engine(self, model: GroundedSam2) -> TextEngine:
        """One engine does both where the models are the same."""
        if self.text is not None and (self.text.text_model, self.text.prompt_model) == (model.text_model, model.prompt_model):
            return self.text
        return self._text_engine(model.text_model, model.prompt_model)

    def _served(self) -> dict[str, str]:
        models = {
            "clicks": self.prompt_model,
            "text": None if self.text is None else self.text.text_model,
            "prelabels": self._grounded or self.engine.segmentation_model,
        }
        return {use: model.name for use, model in models.items() if model is not None} | {"video": self.video_model_name}


def _not_granted(name: str) -> NotAllowed:
    return NotAllowed(f"requests may not have {name!r:.120} loaded; grant it in capabilities.models", code="model.not_allowed")


def _check_count(loaded: Sized) -> None:
    if len(loaded) >= _MAX_MODELS:
        raise NotAllowed(f"{_MAX_MODELS} models are loaded already", code="model.too_many")
