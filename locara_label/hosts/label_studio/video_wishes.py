"""What a person wants of a masklet: how it is shown, and where it is not to be seen; told by the boxes that the editor sends.

An answer of ours comes back with the next request, changed where the person has changed it. A keyframe that is not ours any more
is a correction; one of a person that is gone is taken back; one that was switched off hides the object up to the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from locara_label.errors import BadPrompt, BadRequest
from locara_label.hosts.label_studio.masklet_records import Record
from locara_label.hosts.label_studio.video_clock import EditorClock
from locara_label.hosts.label_studio.video_objects import Keyframe, VideoObject, judge
from locara_label.rle import Size
from locara_label.types import Box, Mask, Prompt

MAX_PROMPTS = 1000
"""Of one object; each has its frame looked at anew."""

Spans = tuple[tuple[int, int], ...]
"""Frames of the editor from the first to the last, both included, by rising frame, none touching the next."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of one object.

    Attributes:
        prompts: plain JSON by frame of the file, see `prompt_of`; never empty.
        hidden: where it is not to be seen.
    """

    prompts: Mapping[int, Any]
    hidden: Spans


def wish(asked: VideoObject, known: Record | None, clock: EditorClock, size: Size, frame_count: int) -> Wish:
    """What a region asks for.

    Args:
        asked: the region as the editor sends it.
        known: what was asked for before; None if nothing was, or if it is lost.
        clock: frames of the editor and of the file.
        size: height and width of the video in pixels.
        frame_count: of the editor.

    Raises:
        BadPrompt: code prompt.empty, no keyframe shows the object; prompt.box, a box lies outside the picture; prompt.points,
            there are more than `MAX_PROMPTS` boxes.
    """
    theirs = [key for key in asked.keyframes if not key.is_ours]
    ours = [key for key in asked.keyframes if key.is_ours]
    prompts = {clock.file_frame(key.frame): _drawn(key, asked, size) for key in theirs}
    prompts = _kept(ours, known, clock) | prompts
    if not prompts:
        raise BadPrompt(f"no keyframe of {asked.region_id!r} shows the object", code="prompt.empty")
    if len(prompts) > MAX_PROMPTS:
        raise BadPrompt(f"{len(prompts)} boxes show {asked.region_id!r}, the limit is {MAX_PROMPTS}", code="prompt.points")
    return Wish(dict(sorted(prompts.items())), _hidden(asked.keyframes, known, frame_count))


def _drawn(key: Keyframe, asked: VideoObject, size: Size) -> dict[str, Any]:
    box = key.box(size)
    if box is None or not (box.x0 < box.x1 and box.y0 < box.y1):
        raise BadPrompt(f"the box on frame {key.frame} of {asked.region_id!r} lies outside the picture", code="prompt.box")
    return {"box": [box.x0, box.y0, box.x1, box.y1], "at": key.frame}


def _kept(ours: Iterable[Keyframe], known: Record | None, clock: EditorClock) -> dict[int, Any]:
    """Prompts of earlier requests whose keyframes are still there; where they are lost, the masks of those keyframes."""
    frames = {key.frame: key for key in ours}
    if known is not None:
        return {frame: one for frame, one in known.prompts.items() if one.get("at") in frames or "at" not in one}
    marked = [key for key in frames.values() if key.extras["mask"].get("prompted") is True] or list(frames.values())[:1]
    masks = {clock.file_frame(key.frame): (key.frame, judge(key.extras).mask) for key in marked}
    return {frame: {"mask": mask.to_coco(), "at": at} for frame, (at, mask) in masks.items() if mask is not None}


def _hidden(keyframes: tuple[Keyframe, ...], known: Record | None, frame_count: int) -> Spans:
    """What was hidden before and still is, and what is now."""
    shown = {key.frame for key in keyframes if key.enabled}
    kept = [(first, last) for first, last in spans_of(known) if first - 1 not in shown]
    ends = [key.frame - 1 for key in keyframes[1:]] + [frame_count]
    before = [True, *(key.enabled for key in keyframes)]
    off = [
        (key.frame + 1, end)
        for key, end, was in zip(keyframes, ends, before, strict=False)
        if not key.enabled and (was if key.answered is None else key.answered)
    ]
    return _merged([*kept, *off], [key.frame for key in keyframes if not key.is_ours])


def _merged(spans: Iterable[tuple[int, int]], cut: Iterable[int]) -> Spans:
    """As `Spans`; from a frame in `cut` on, a span that began before is over."""
    cuts = sorted(cut)
    short = [(first, min([last, *(at - 1 for at in cuts if first <= at <= last)])) for first, last in spans]
    found: list[tuple[int, int]] = []
    for first, last in sorted(span for span in short if span[0] <= span[1]):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return tuple(found)


def spans_of(record: Record | None) -> Spans:
    """The hidden spans of a record."""
    wanted = record.wanted if record is not None and isinstance(record.wanted, dict) else {}
    return tuple((int(first), int(last)) for first, last in wanted.get("hidden", []))


def frames_of(spans: Spans) -> frozenset[int]:
    return frozenset(frame for first, last in spans for frame in range(first, last + 1))


def prompt_of(written: Any) -> Prompt:
    """The prompt that plain JSON of a record stands for.

    Raises:
        BadRequest: code request.prompt; it is none.
    """
    try:
        if "mask" in written:
            return Prompt(mask=Mask.from_coco(written["mask"]))
        return Prompt(box=Box(*written["box"]))
    except (KeyError, TypeError) as error:
        raise BadRequest(f"{written!r:.200} shows no object", code="request.prompt") from error


def box_of(written: Any) -> Box | None:
    """The box that plain JSON of a record shows an object by; None where that is a mask."""
    return prompt_of(written).box
