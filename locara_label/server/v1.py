"""Plain JSON for own clients: a picture and prompts in, masks out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from locara_label.despeckle import despeckle
from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.fields import Fields, fields, items, number, optional_text, text, whole
from locara_label.server.core import Core
from locara_label.types import MAX_PHRASES, MAX_POINTS, Box, Candidate, Grounded, Mask, Point, Prompt, TextPrompt

CODE = "request.prompt"
MAX_PROMPTS = 1000
_FARTHEST_PX = 1e7
_MAX_TEXT = 1 << 20
_SHOWN = ("points", "labels", "box", "mask", "prompts", "candidates", "model")
"""What shows one object, and has no place beside a text."""


def segment(core: Core, given: Fields) -> dict[str, Any]:
    """`{"image", "threshold"?, "model"?}` to `{"model", "size", "instances": [...]}`.

    Raises:
        BadRequest: the body is not this.
        NotAllowed, FetchFailed, BadImage, RunError: see `Engine.segment`.
    """
    threshold = given.get("threshold")
    least = None if threshold is None else number(threshold, "threshold", "request.threshold", 0, 1)
    engine = core.engine_of(optional_text(given.get("model"), "model", "request.model"))
    found, size = engine.segment(core.picture(_image(given)), least, core.click_ticket())
    described = [
        {"label": one.label, "label_index": one.label_index, "is_stuff": one.is_stuff, **described_mask(one.mask, one.score)}
        for one in found
    ]
    return {"model": engine.segmentation_model and engine.segmentation_model.name, "size": list(size), "instances": described}


def mask_from_prompt(core: Core, given: Fields) -> dict[str, Any]:
    """Masks for one prompt or many on one picture.

    The body is `{"image", "model"?, "despeckle"?}` with either the keys of one prompt or `"prompts": [...]`. A prompt has any of
    `points` [[x, y], ...] with `labels` [1 or 0, ...], `box` [x0, y0, x1, y1], `mask` (COCO RLE), and `candidates` 1 or 3;
    everything in pixels of the picture. The answer is `{"model", "picture", "size", "masks": [[candidate, ...], ...]}`.

    With `text` the body is another one, see `masks_from_text`.

    Raises:
        BadRequest, BadPrompt, BadMask: the body is not this.
        NotAllowed, FetchFailed, BadImage, RunError: see `Engine.prompt`.
    """
    if given.get("text") is not None:
        return masks_from_text(core, given)
    reference, several = _image(given), given.get("prompts")
    raw = [given] if several is None else items(several, "prompts", CODE, MAX_PROMPTS)
    prompts = [prompt_of(fields(one, "a prompt", CODE)) for one in raw]
    specks = whole(given.get("despeckle", 0), "despeckle", CODE)
    engine = core.engine_of(optional_text(given.get("model"), "model", "request.model"))
    answer = engine.prompt(core.picture(reference), prompts, core.click_ticket())
    masks = [[_candidate(one, specks) for one in candidates] for candidates in answer.candidates]
    name = engine.prompt_model and engine.prompt_model.name
    return {"model": name, "picture": answer.picture, "size": list(answer.size), "masks": masks}


def masks_from_text(core: Core, given: Fields) -> dict[str, Any]:
    """`{"image", "text", "box_threshold"?, "text_threshold"?, "despeckle"?}` to masks of everything that the text asks for.

    `text` is "red car . person" or a list of phrases. The answer is `{"model", "text_model", "picture", "size", "left_out",
    "masks": [...]}`, the best box first, each mask with `phrase`, `box` [x0, y0, x1, y1], `box_score` and `mask_score`; the list
    is empty where nothing was found. Of more than `server.max_regions` the others are only counted, as `left_out`.

    Raises:
        BadRequest, BadPrompt: the body is not this, or no model understands text.
        NotAllowed, FetchFailed, BadImage, RunError: see `TextEngine.find`.
    """
    if mixed := [name for name in _SHOWN if given.get(name) is not None]:
        raise BadRequest(f"{', '.join(mixed)} cannot be asked for together with text", code=CODE)
    engine = core.text_engine()
    prompt = text_prompt_of(given)
    specks = whole(given.get("despeckle", 0), "despeckle", CODE)
    found = engine.find(core.picture(_image(given)), prompt, core.text_ticket(), core.settings.server.max_regions)
    objects = [replace(one, mask=despeckle(one.mask, specks)) if specks else one for one in found.objects]
    return {
        "model": engine.prompt_model.name,
        "text_model": engine.text_model.name,
        "picture": found.picture,
        "size": list(found.size),
        "left_out": found.left_out,
        "masks": [_object(one) for one in objects if one.mask.area],
    }


def text_prompt_of(given: Fields) -> TextPrompt:
    """The `text` of a body with its thresholds. Raises BadRequest, BadPrompt."""
    return TextPrompt.of(_text(given["text"]), _threshold(given, "box_threshold"), _threshold(given, "text_threshold"))


def _object(found: Grounded) -> dict[str, Any]:
    box = found.box
    scores = {"box_score": round(float(found.box_score), 6), "mask_score": round(float(found.mask_score), 6)}
    return {
        "phrase": found.phrase,
        "box": [box.x0, box.y0, box.x1, box.y1],
        **scores,
        **described_mask(found.mask, found.box_score),
    }


def _text(value: Any) -> str | list[str]:
    """A text, or a list of phrases; whether there is a word in it, and not too many, is checked with the prompt."""
    if isinstance(value, str):
        return text(value, "text", CODE, _MAX_TEXT)
    return [text(one, "a phrase", CODE, _MAX_TEXT) for one in items(value, "text", CODE, MAX_PHRASES)]


def _threshold(given: Fields, name: str) -> float | None:
    value = given.get(name)
    return None if value is None else number(value, name, CODE, 0, 1)


def described_mask(mask: Mask, score: float) -> dict[str, Any]:
    """The keys of a COCO annotation."""
    return {
        "segmentation": mask.to_coco(),
        "area": mask.area,
        "bbox": list(mask.box.xywh),
        "iscrowd": 0,
        "score": round(float(score), 6),
    }


def _candidate(candidate: Candidate, specks: int) -> dict[str, Any]:
    mask = despeckle(candidate.mask, specks) if specks else candidate.mask
    return described_mask(mask, candidate.score)


def _image(given: Fields) -> str:
    return text(given.get("image"), "image", "request.image", 1 << 27)


def prompt_of(given: Fields) -> Prompt:
    """One prompt of a body. Raises BadRequest, BadPrompt, BadMask."""
    mask = given.get("mask")
    return Prompt(
        _points(given),
        None if given.get("box") is None else _box(given["box"]),
        None if mask is None else Mask.from_coco(fields(mask, "mask", CODE)),
        candidates=whole(given.get("candidates", 1), "candidates", CODE),
    )


def _points(given: Fields) -> tuple[Point, ...]:
    points = items(given.get("points", []), "points", CODE, MAX_POINTS)
    labels = items(given.get("labels", [1] * len(points)), "labels", CODE, MAX_POINTS)
    if len(points) != len(labels) or not all(type(label) is int and label in {0, 1} for label in labels):
        raise BadRequest("labels are 1 (inside) or 0 (outside), one for each point", code=CODE)
    places = [_numbers(point, 2, "a point") for point in points]
    return tuple(Point(place[0], place[1], bool(label)) for place, label in zip(places, labels, strict=True))


def _box(value: Any) -> Box:
    return Box(*_numbers(value, 4, "box"))


def _numbers(value: Any, count: int, name: str) -> list[float]:
    found = items(value, name, CODE, count)
    if len(found) != count:
        raise BadRequest(f"{name} has {count} numbers, got {len(found)}", code=CODE)
    return [number(one, name, CODE, -_FARTHEST_PX, _FARTHEST_PX) for one in found]
