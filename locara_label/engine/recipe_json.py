"""Recipes of sessions as plain JSON, so that another process can go through them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from locara_label.engine.text_tracking import Asking
from locara_label.engine.video_recipe import Detected, Event, Labelled, Locked, Ran, Recipe, Removed, Shown
from locara_label.errors import BadDataset, LocaraError
from locara_label.models.base import TextModel
from locara_label.types import Box, Mask, Point, Prompt, TextPrompt

_KINDS: dict[str, Callable[..., Event]] = {
    kind.__name__.lower(): kind for kind in (Shown, Detected, Ran, Locked, Labelled, Removed)
}
_MAX_LOGITS = 1 << 26


def written(recipe: Recipe) -> dict[str, Any]:
    """A recipe, also while it grows."""
    asking = recipe.asking
    return {
        "events": [_event(event) for event in tuple(recipe.events)],
        "sought": None if asking.sought is None else asdict(asking.sought),
        "asked": sorted(asking.done),
        "named": {str(number): sorted(phrases) for number, phrases in tuple(asking.named.items())},
    }


def read(value: Any, model: TextModel | str) -> Recipe:
    """The recipe that was written.

    Args:
        value: of `written`, through JSON.
        model: finds boxes for texts.

    Raises:
        BadDataset: code video.recipe; it is none.
    """
    try:
        sought = value["sought"]
        words = None if sought is None else TextPrompt(tuple(sought.pop("phrases")), **sought)
        named = {int(number): set(phrases) for number, phrases in value["named"].items()}
        recipe = Recipe(Asking(model, words, {int(frame) for frame in value["asked"]}, named))
        recipe.extend([_read_event(one) for one in value["events"]])
    except (KeyError, TypeError, ValueError, AttributeError, LocaraError) as error:
        raise BadDataset(f"this is no recipe of a session: {error!r:.200}", code="video.recipe") from error
    return recipe


def _event(event: Event) -> dict[str, Any]:
    kind = type(event).__name__.lower()
    if isinstance(event, Shown):
        return {"kind": kind, "frame": event.frame, "number": event.number, "prompt": _prompt(event.prompt)}
    return {"kind": kind, **asdict(event)}


def _read_event(value: Mapping[str, Any]) -> Event:
    given = dict(value)
    kind = _KINDS[given.pop("kind")]
    words = {"phrase", "label", "prompt"}
    if not all(name in words or isinstance(one, int) for name, one in given.items()):
        raise TypeError(f"{given!r:.100} is not all numbers")
    return kind(**{name: _read_prompt(one) if name == "prompt" else one for name, one in given.items()})


def _prompt(prompt: Prompt) -> dict[str, Any]:
    logits = prompt.logits
    return {
        "points": [[point.x, point.y, point.positive] for point in prompt.points],
        "box": None if prompt.box is None else [prompt.box.x0, prompt.box.y0, prompt.box.x1, prompt.box.y1],
        "mask": None if prompt.mask is None else prompt.mask.to_coco(),
        "logits": None if logits is None else [*logits.shape, base64.b64encode(logits.astype("<f4").tobytes()).decode("ascii")],
        "candidates": prompt.candidates,
    }


def _read_prompt(value: Mapping[str, Any]) -> Prompt:
    logits = None
    if value["logits"] is not None:
        *shape, text = value["logits"]
        if len(text) > _MAX_LOGITS:
            raise ValueError(f"logits of {len(text)} characters")
        logits = np.frombuffer(base64.b64decode(text, validate=True), "<f4").reshape(shape).astype(np.float32)
    return Prompt(
        points=tuple(Point(float(x), float(y), bool(positive)) for x, y, positive in value["points"]),
        box=None if value["box"] is None else Box(*map(float, value["box"])),
        mask=None if value["mask"] is None else Mask.from_coco(value["mask"]),
        logits=logits,
        candidates=value["candidates"],
    )
