"""A service from settings alone: which models, which version."""

from __future__ import annotations

import logging
import os
from hashlib import sha256
from pathlib import Path

from locara_label import settings as environment
from locara_label.batch.identity import pair_identity, weights_identity
from locara_label.engine.grounding import GROUNDED_SAM2, is_grounded, pair
from locara_label.engine.loading import (
    DEFAULT_PROMPT_MODEL,
    DEFAULT_TEXT_MODEL,
    find_row,
    is_prompt_model,
    load,
    load_prompt_model,
    load_text_model,
    load_video_model,
)
from locara_label.engine.sources import Opener, open_here
from locara_label.errors import BadOption, LocaraError
from locara_label.models.base import PromptModel, SegmentationModel, TextModel
from locara_label.models.grounded import GroundedSam2
from locara_label.server.models import Models
from locara_label.server.service import Service
from locara_label.settings import Settings

log = logging.getLogger("locara_label.server")

NO_TEXT = "none"
"""`server.text_model` of a server that is not to understand text."""


def open_service(settings: Settings | None = None, weights: Path | None = None) -> Service:
    """The service that the settings describe, its models loaded, none of them twice.

    Args:
        settings: `settings.server` names the models; None reads the environment and `locara.toml`.
        weights: a folder with the files of the model that answers clicks.

    Raises:
        ModelError, BadOption, RunError: a model cannot be loaded, or a setting is wrong.
    """
    settings = settings or environment.load()
    if not (settings.server.isolate and os.name == "posix"):
        return _opened(settings, weights, open_here)
    from locara_label.inference.isolated import Isolated

    isolated = Isolated()
    try:
        service = _opened(settings, weights, isolated.open)
    except BaseException:
        isolated.close()
        raise
    service.ends.append(isolated.close)
    service.metrics.watch_inference(isolated)
    return service


def _opened(settings: Settings, weights: Path | None, opener: Opener) -> Service:
    server = settings.server
    prompt_model = load_prompt_model(server.model or DEFAULT_PROMPT_MODEL, weights, settings=settings, opener=opener)
    text_model = _text_model(settings, opener)
    chosen = server.prelabel_model
    prelabel_model = _prelabel_model(chosen, prompt_model, text_model, settings, opener) if chosen else None
    version = None if prelabel_model is None else _version(prelabel_model, settings, weights)
    models = Models(
        prompt_model,
        prelabel_model,
        text_model,
        version=version,
        prompt_weights=weights,
        load=lambda name: _either(name, settings, opener),
        load_video=lambda name: load_video_model(name, settings=settings, opener=opener),
    )
    return Service(settings, models)


def model_version(name: str, settings: Settings) -> str:
    """What predictions of an installed model, or of a pair, are marked with: its name, and the weights that it has."""
    if is_grounded(name):
        both, identity = pair_identity(name, settings.store())
        return f"{both}-{identity[:8]}"
    row = find_row(name)
    return f"{row.name}-{weights_identity(row, settings.store())[:8]}"


def _version(model: SegmentationModel | GroundedSam2, settings: Settings, weights: Path | None) -> str:
    if isinstance(model, GroundedSam2) and weights is not None:
        return f"{model.name}-{sha256(model.identity.encode()).hexdigest()[:8]}"
    return model_version(model.name, settings)


def _text_model(settings: Settings, opener: Opener) -> TextModel | None:
    """Of text prompts, and of pre-labels that are named without a text model of their own."""
    name, prelabel = settings.server.text_model, settings.server.prelabel_model
    if name == NO_TEXT:
        return None
    if name is None and prelabel is not None and is_grounded(prelabel):
        name = pair(prelabel)[0]
    if name is not None:
        return load_text_model(name, settings=settings, opener=opener)
    try:
        return load_text_model(DEFAULT_TEXT_MODEL, settings=settings, opener=opener)
    except LocaraError as error:  # nobody asked for it, so nothing else may fail with it
        log.warning("text prompts are not answered: [%s] %s", error.code, error.message, extra={"code": error.code})
        return None


def _prelabel_model(
    name: str, prompt_model: PromptModel, text_model: TextModel | None, settings: Settings, opener: Opener
) -> SegmentationModel | GroundedSam2:
    if not is_grounded(name):
        return load(name, settings=settings, opener=opener)
    if name != GROUNDED_SAM2:
        words, masks = pair(name)
        same = text_model if text_model is not None and words == text_model.name else None
        return GroundedSam2(
            same or load_text_model(words, settings=settings, opener=opener),
            prompt_model if masks == prompt_model.name else load_prompt_model(masks, settings=settings, opener=opener),
        )
    if text_model is None:
        raise BadOption(f"{GROUNDED_SAM2} needs a text_model to pre-label with, and there is none", code="option.text_model")
    return GroundedSam2(text_model, prompt_model)


def _either(name: str, settings: Settings, opener: Opener) -> tuple[PromptModel | None, SegmentationModel | None]:
    if is_prompt_model(name):
        return load_prompt_model(name, settings=settings, opener=opener), None
    return None, load(name, settings=settings, opener=opener)
