"""Counters and times for Prometheus, each server with a registry of its own."""

from __future__ import annotations

from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from locara_label.engine.engine import Engine
from locara_label.engine.lanes import Lane
from locara_label.engine.text_engine import TextEngine
from locara_label.engine.video_sessions import VideoSessions


class Isolated(Protocol):
    """What runs models elsewhere."""

    @property
    def deaths(self) -> int:
        """Processes that ended by themselves so far."""
        ...


class Waiting(Protocol):
    """A queue."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        ...


class Metrics:
    """What happened, and how long it took.

    Attributes:
        requests: by route and status.
        seconds: by route.
        errors: by code.
        unmapped: regions that were dropped for want of a label, by the model's class; those of texts that people typed under one.
    """

    def __init__(self, engine: Engine[Any, Any], text: TextEngine | None = None) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("locara_requests", "Requests", ["route", "status"], registry=self.registry)
        self.seconds = Histogram("locara_request_seconds", "Time to the answer", ["route"], registry=self.registry)
        self.errors = Counter("locara_errors", "Failures told to somebody", ["code"], registry=self.registry)
        self.unmapped = Counter("locara_unmapped", "Regions without a label in the project", ["label"], registry=self.registry)
        self.jobs = Gauge("locara_background_tasks", "Tasks that wait for pre-labels", registry=self.registry)
        self.webhooks = Counter("locara_webhooks", "Events that Label Studio told", ["action"], registry=self.registry)
        self._watch(engine)
        if text is not None:
            self._count(text.boxes, ("text_encodes", "encodes", "Pictures encoded for text prompts"))
            self._count(text.boxes, ("text_prompts", "decodes", "Text prompts answered"))

    def webhook(self, action: str) -> None:
        """Something happened in Label Studio."""
        self.webhooks.labels(action).inc()

    def watch_videos(self, sessions: VideoSessions, runs: Lane) -> None:
        """Sessions on videos, and the queue of runs through them."""
        for name, text, value in (
            ("video_sessions_open", "Sessions on videos in memory", lambda: sessions.open),
            ("video_sessions_known", "Sessions on videos, evicted ones included", lambda: len(sessions)),
            ("video_session_bytes", "What sessions on videos hold in memory", lambda: sessions.nbytes),
            ("video_sessions_evicted", "Sessions taken out of memory so far", lambda: sessions.counts.evictions),
            ("video_sessions_rebuilt", "Evicted sessions built again so far", lambda: sessions.counts.rebuilds),
            ("video_frames_tracked", "Frames gone through so far", lambda: sessions.counts.frames),
            (f"{runs.name}_waiting", f"Jobs that wait for {runs.name}", lambda: runs.depth),
        ):
            Gauge(f"locara_{name}", text, registry=self.registry).set_function(value)

    def watch_masklets(self, jobs: Waiting) -> None:
        """Runs through the videos of Label Studio's tasks."""
        waiting = Gauge("locara_masklets_waiting", "Videos of tasks that wait to be gone through", registry=self.registry)
        waiting.set_function(lambda: jobs.waiting)

    def watch_inference(self, isolated: Isolated) -> None:
        """The process that runs models."""
        died = Gauge("locara_inference_deaths", "Processes that ran models and died", registry=self.registry)
        died.set_function(lambda: isolated.deaths)

    def page(self) -> bytes:
        """The exposition format, text version 0.0.4."""
        return generate_latest(self.registry)

    def _watch(self, engine: Engine[Any, Any]) -> None:
        for name, text in (
            ("encodes", "Pictures encoded"),
            ("decodes", "Prompts answered"),
            ("segments", "Pictures pre-labeled"),
            ("embedding_hits", "Prompts on a picture that was encoded already"),
        ):
            self._count(engine, (name, name, text))
        for lane in engine.lanes:
            gauge = Gauge(f"locara_{lane.name}_waiting", f"Jobs that wait for {lane.name}", registry=self.registry)
            gauge.set_function(lambda lane=lane: lane.depth)  # type: ignore[misc]
        Gauge("locara_embedding_bytes", "Embeddings in memory", registry=self.registry).set_function(
            lambda: engine.embeddings.nbytes
        )

    def _count(self, engine: Engine[Any, Any], what: tuple[str, str, str]) -> None:
        """A gauge of a name for one of the engine's counts, with a description."""
        name, attribute, text = what
        Gauge(f"locara_{name}", text, registry=self.registry).set_function(lambda: getattr(engine.counts, attribute))
