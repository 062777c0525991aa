"""One call from a picture and clicks, or a text, to masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from locara_label import images
from locara_label.despeckle import despeckle as despeckled
from locara_label.engine.embeddings import Budget, Embeddings
from locara_label.engine.loading import DEFAULT_PROMPT_MODEL, DEFAULT_TEXT_MODEL, load_prompt_model, load_text_model
from locara_label.errors import BadPrompt
from locara_label.models.base import NO_LIMIT, Image, Limit, PromptedModel, PromptModel, TextModel, picture_hash
from locara_label.models.grounded import GroundedSam2
from locara_label.types import Box, Candidate, Embedding, Grounded, Mask, Point, Prompt, TextPrompt

Source = Image | bytes | Path | str
_KEPT = Embeddings(Budget(bytes=256 << 20))


@overload
def mask_from_prompt(
    image: Source,
    points: Sequence[tuple[float, float]] = (),
    labels: Sequence[int] | None = None,
    box: tuple[float, float, float, float] | None = None,
    mask: Mask | NDArray[np.bool_] | None = None,
    *,
    text: None = None,
    model: PromptModel | str = DEFAULT_PROMPT_MODEL,
    candidates: int = 1,
    despeckle: int = 0,
    limit: Limit = NO_LIMIT,
) -> list[Candidate]: ...


@overload
def mask_from_prompt(
    image: Source,
    *,
    text: str | Sequence[str],
    box_threshold: float | None = None,
    text_threshold: float | None = None,
    text_model: TextModel | str = DEFAULT_TEXT_MODEL,
    model: PromptModel | str = DEFAULT_PROMPT_MODEL,
    despeckle: int = 0,
    limit: Limit = NO_LIMIT,
) -> list[Grounded]: ...


def mask_from_prompt(
    image: Source,
    points: Sequence[tuple[float, float]] = (),
    labels: Sequence[int] | None = None,
    box: tuple[float, float, float, float] | None = None,
    mask: Mask | NDArray[np.bool_] | None = None,
    *,
    text: str | Sequence[str] | None = None,
    box_threshold: float | None = None,
    text_threshold: float | None = None,
    text_model: TextModel | str = DEFAULT_TEXT_MODEL,
    model: PromptModel | str = DEFAULT_PROMPT_MODEL,
    candidates: int = 1,
    despeckle: int = 0,
    limit: Limit = NO_LIMIT,
) -> list[Candidate] | list[Grounded]:
    """Masks of the object that clicks, a box or a mask show, or of every object that a text asks for.

    The next prompt on the same picture is quick: what the models have seen of it is kept for a while.

    Args:
        image: RGB uint8 [H, W, 3], or a file's bytes or path.
        points: (x, y) in pixels of the picture.
        labels: 1 for a point on the object, 0 for one off it; None means all are on it.
        box: (x0, y0, x1, y1) in pixels of the picture, around the object.
        mask: a rough mask of the object at the picture's size, bool [H, W] or a `Mask`.
        text: what to look for, phrases with dots between them ("red car . person") or a list of phrases; not beside the above.
        box_threshold: with text only: least score of a box, 0..1; None takes the text model's default.
        text_threshold: with text only: least score of a word that belongs to a box's phrase, 0..1; None takes the default.
        text_model: that finds boxes for text, or the name of one; a named one stays loaded.
        model: that makes the masks, or the name of one; a named one stays loaded.
        candidates: 1 for the best mask, 3 for the alternatives of an ambiguous prompt; 1 with text.
        despeckle: specks and holes of fewer pixels than this are removed; 0 keeps them.
        limit: cancels or bounds the run.

    Returns:
        Without text the masks of the one object, best first. With text all objects, best box first, each with the phrase that
        asked for it, its box and mask and the scores of both. Of those of one phrase that show the same object the best stays.
        An object whose mask is empty is left out; nothing found is an empty list.

    Raises:
        BadPrompt, BadImage, BadMask: the prompt or the picture is wrong; BadPrompt also for a text beside points, a box or a
            mask (code prompt.mixed), one without words (prompt.empty) and one that is too long (prompt.too_long).
        ModelError: a named model cannot be loaded.
        Cancelled, DeadlineExceeded, InferenceFailed: see `Limit`.
    """
    if text is not None:
        shown = *points, labels, box, mask, None if candidates == 1 else candidates
        if any(part is not None for part in shown):
            raise BadPrompt(
                "a text finds its objects alone, without points, labels, box, mask and candidates", code="prompt.mixed"
            )
        sought = TextPrompt.of(_texts(text), box_threshold, text_threshold)
        return [replace(one, mask=despeckled(one.mask, despeckle)) for one in _found(image, sought, text_model, model, limit)]
    if box_threshold is not None or text_threshold is not None:
        raise BadPrompt("box_threshold and text_threshold need a text", code="prompt.mixed")
    prompt = Prompt(_points(points, labels), None if box is None else Box(*box), _mask(mask), candidates=candidates)
    found = _candidates(image, prompt, model, limit)
    return [Candidate(despeckled(one.mask, despeckle), one.score, one.logits) for one in found] if despeckle else found


def _candidates(image: Source, prompt: Prompt, model: PromptModel | str, limit: Limit) -> list[Candidate]:
    answering = _named(model) if isinstance(model, str) else model
    return answering.decode(_embedding(answering, _pixels(image), limit), prompt, limit)


def _found(
    image: Source, sought: TextPrompt, text_model: TextModel | str, model: PromptModel | str, limit: Limit
) -> list[Grounded]:
    finding = _named_text(text_model) if isinstance(text_model, str) else text_model
    answering = _named(model) if isinstance(model, str) else model
    return GroundedSam2(finding, answering, _embedding).find(_pixels(image), sought, limit)


def _texts(text: Any) -> str | Sequence[str]:
    if isinstance(text, str) or (isinstance(text, Sequence) and all(isinstance(phrase, str) for phrase in text)):
        return text
    raise BadPrompt(f"a text is a string or a list of strings, got {text!r:.100}", code="prompt.text")


def _pixels(image: Source) -> Image:
    return image if isinstance(image, np.ndarray) else images.read(image)


@lru_cache(maxsize=4)
def _named(name: str) -> PromptModel:
    return load_prompt_model(name)


@lru_cache(maxsize=2)
def _named_text(name: str) -> TextModel:
    return load_text_model(name)


def _points(points: Sequence[tuple[float, float]], labels: Sequence[int] | None) -> tuple[Point, ...]:
    marks = [1] * len(points) if labels is None else list(labels)
    if len(marks) != len(points) or not set(marks) <= {0, 1}:
        raise BadPrompt(f"labels are 1 or 0, one for each of {len(points)} points, got {marks!r:.100}", code="prompt.labels")
    return tuple(Point(float(x), float(y), mark == 1) for (x, y), mark in zip(points, marks, strict=True))


def _mask(mask: Any) -> Mask | None:
    return Mask.from_array(mask) if isinstance(mask, np.ndarray) else mask


def _embedding(model: PromptedModel[Any, Any], image: Image, limit: Limit) -> Embedding:
    key = model.identity, picture_hash(image)
    found = _KEPT.get(key)
    if found is None:
        found = model.encode(image, limit)
        _KEPT.put(key, found)
    return found
