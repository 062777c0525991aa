"""Predictions for whole tasks: what a segmentation model finds on their pictures, under the labels of the project."""

from __future__ import annotations

import logging
from typing import Any

from locara_label.engine.engine import Engine
from locara_label.engine.text_engine import LabelEngine
from locara_label.engine.tickets import Ticket
from locara_label.errors import LocaraError
from locara_label.hosts.label_studio import results
from locara_label.hosts.label_studio.phrases import label_phrases
from locara_label.hosts.label_studio.requests import PredictRequest, Task
from locara_label.hosts.label_studio.targets import (
    MAX_QUICK_BRUSHES,
    Options,
    find_targets,
    pictures_of,
    regions_of,
    selected,
    slows_the_editor,
    unmapped,
)
from locara_label.models.base import NO_LIMIT, Image, Limit, SegmentationModel
from locara_label.server.core import Core
from locara_label.types import Instance, Label

log = logging.getLogger("locara_label.server")


PATIENCE_S = 600
"""What a picture in the background may take, clicks going before it."""


class Prelabels:
    """The pre-labels of one request."""

    def __init__(self, core: Core, request: PredictRequest) -> None:
        """Raises BadRequest: code config.unusable; the config has no place for masks, or no label for any class."""
        self.core, self.request = core, request
        self.config = request.config()
        self._engine = engine_of(core, request.label_config)
        model = model_of(self._engine)
        self.targets = find_targets(request.label_config, model)
        self.options = options(core, request.project or 0)
        self.unmapped = frozenset(unmapped(self.targets, model))

    def prediction(self, task: Task, ticket: Ticket) -> dict[str, Any]:
        """The prediction of a task; an empty one says that nothing was found.

        Raises:
            LocaraError: of the picture or the model.
        """
        regions: list[results.Region] = []
        for shown in pictures_of(task, self.targets):
            picture = self.core.picture(shown.url, task_id=task.id, project_id=self.request.project)
            found, size = self._engine.segment(picture, self.options.threshold, ticket)
            kept, dropped = selected(found, shown.target, self.options)
            self._count(found, dropped.total())
            regions += regions_of(kept, shown.place(size), self.options)
        if slows_the_editor(regions):
            text = "task %s has more than %d brush masks, which freeze the editor; use BitmaskLabels, or raise server.min_area"
            log.warning(text, task.id, MAX_QUICK_BRUSHES)
        return results.prediction(regions, self.core.version)

    def message(self, error: LocaraError) -> dict[str, Any] | None:
        """A prediction that tells the annotator what went wrong; None where the config has no TextArea."""
        shown = self.targets[0].picture.name
        area = self.config.message_area(shown)
        if area is None:
            return None
        return results.prediction([results.message_region(error.message, area, shown)], self.core.version, 0.0)

    def _count(self, found: list[Instance], dropped: int) -> None:
        if dropped:
            log.info("%d of %d regions were left out: no label, too low a score, too small or too many", dropped, len(found))
        for one in found:
            if one.label in self.unmapped:
                self.core.metrics.unmapped.labels(one.label).inc()


class QueuedModel:
    """The server's model for the pre-labels of a project, one job among the others of its engine."""

    def __init__(self, core: Core, config: str) -> None:
        """Raises BadRequest: see `engine_of`."""
        self._engine = engine_of(core, config)
        model = model_of(self._engine)
        self.name: str = model.name
        self.labels: tuple[Label, ...] = model.labels
        self.provider: str = model.provider

    def segment(self, image: Image, threshold: float | None = None, limit: Limit = NO_LIMIT) -> list[Instance]:
        """See `SegmentationModel.segment`."""
        ticket = Ticket(limit.deadline_s or PATIENCE_S)
        return self._engine.segment_image(image, threshold, ticket)


AnyEngine = Engine[Any, Any] | LabelEngine


def engine_of(core: Core, config: str) -> AnyEngine:
    """What pre-labels a project of this labeling config.

    Raises:
        BadRequest: code config.unusable; the model looks for the project's labels, and there are none.
        BadPrompt: there are too many.
    """
    return core.prelabel_engine(label_phrases(config) if core.looks_for_labels else ())


def model_of(engine: AnyEngine) -> SegmentationModel:
    model = engine.segmentation_model
    if model is None:
        raise AssertionError("only called where there is a model for pre-labels")
    return model


def options(core: Core, project: int, only: frozenset[int] | None = None) -> Options:
    """What is written of what is found, from the settings; `only` some tasks."""
    server = core.settings.server
    return Options(
        project,
        core.version,
        server.threshold,
        server.min_area,
        server.max_regions,
        only=only,
        tolerance_px=server.polygon_tolerance,
    )
