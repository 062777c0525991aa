"""How the editor shows a video: told by its boxes, kept with what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from locara_label.hosts.label_studio.config import ObjectTag
from locara_label.hosts.label_studio.fields import Fields, number, whole
from locara_label.hosts.label_studio.requests import PredictRequest
from locara_label.hosts.label_studio.video_clock import DEFAULT_RATE, MAX_FRAMES, EditorClock, config_rate, told_rate
from locara_label.hosts.label_studio.video_objects import VideoObject
from locara_label.hosts.label_studio.video_regions import View
from locara_label.hosts.label_studio.video_wishes import Spans
from locara_label.video.timeline import Timeline


def view_of(objects: Sequence[VideoObject], shown: ObjectTag, request: PredictRequest, timeline: Timeline) -> View:
    """As the boxes of a request tell, else as the config and the file say. Raises BadRequest."""
    keys = [key for one in objects for key in one.keyframes]
    told = next((rate for key in keys if (rate := told_rate(key.frame, key.time_s)) is not None), None)
    rate = told if told is not None else config_rate(shown.framerate, request.tasks[0].data)
    clock = EditorClock(rate, timeline)
    value: Fields = objects[0].fields["value"] if objects else {}
    count = whole(value.get("framesCount") or 0, "framesCount", "request.region", MAX_FRAMES) or clock.frame_count
    seconds = number(value.get("duration") or 0, "duration", "request.region", 0, 1e9) or count / rate
    return View(clock, count, seconds)


def kept_view(view: View, hidden: Spans = ()) -> dict[str, Any]:
    """A view, and what is hidden in it, as plain JSON for `Record.wanted`."""
    told = {"rate": view.clock.rate, "frames": view.frame_count, "duration": view.duration_s}
    return told | {"hidden": [list(one) for one in hidden]}


def view_kept(kept: Any, timeline: Timeline) -> View:
    """The inverse of `kept_view`."""
    told: Mapping[str, Any] = kept if isinstance(kept, Mapping) else {}
    clock = EditorClock(float(told.get("rate", DEFAULT_RATE)), timeline)
    return View(clock, int(told.get("frames", clock.frame_count)), float(told.get("duration", 0.0)))
