"""Whether the data of a task can be read, and is what the config says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, cast

from locara_label.errors import LocaraError, NotAllowed
from locara_label.fetch import Fetcher
from locara_label.findings import Finding
from locara_label.hosts.label_studio.config import ObjectTag
from locara_label.hosts.label_studio.requests import Task
from locara_label.hosts.label_studio.video_clock import config_rate
from locara_label.video.limits import DEFAULT_LIMITS
from locara_label.video.opening import open_video_file
from locara_label.video.video import Video

_PLAYED = frozenset({"h264", "vp8", "vp9", "av1", "libdav1d", "theora", "hevc"})
"""Decoders of what browsers can play; the last one not everywhere."""
_FETCH_S = 600.0
_CLOSE = 0.002
"""Of a frame rate: 23.976 stands for 24000/1001."""
_LOCAL_FILES = (
    "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and give the project a local-files storage "
    "that covers the folder"
)
_GRANT = "name its host among `hosts`, or its folder among `folders`, in the table [capabilities] of locara.toml"


def unreadable(task: int | None, address: str, error: LocaraError) -> Finding:
    """What a task shows cannot be read."""
    text = f"task {task} shows {without_query(address)}: [{error.code}] {error.message}"
    if isinstance(error, NotAllowed):
        return Finding("task data", "problem", text, _GRANT)
    remedy = _LOCAL_FILES if "/data/local-files" in address else "see that what the task shows opens in Label Studio"
    return Finding("task data", "problem", text, remedy)


def without_query(address: str) -> str:
    """Signed addresses keep their secret; of local files the query is the path."""
    short = address if "/data/local-files" in address else address.partition("?")[0]
    return short[:200]


def video_findings(fetcher: Fetcher, task: Task, shown: ObjectTag) -> Iterator[Finding]:
    """Whether a task's video can be read and played, and has the frame rate that the editor counts in."""
    (address, *_) = task.urls(shown)
    larger = Fetcher(replace(fetcher.rules, max_bytes=DEFAULT_LIMITS.max_bytes, total_s=_FETCH_S))
    try:
        with tempfile.NamedTemporaryFile(prefix="locara-video-") as file:
            larger.save(address, cast("BinaryIO", file), task_id=task.id)
            file.flush()
            with open_video_file(file.name) as video:
                yield from _of_video(video, task, shown, without_query(address))
    except LocaraError as error:
        yield unreadable(task.id, address, error)


def _of_video(video: Video, task: Task, shown: ObjectTag, address: str) -> Iterator[Finding]:
    height, width = video.size
    rate, counted = float(video.rate), config_rate(shown.framerate, task.data)
    text = f"task {task.id} shows {address}, {video.count} frames of {width} x {height} pixels at {rate:.6g} a second"
    yield Finding("task data", "ok", text)
    if video.codec not in _PLAYED:
        remedy = "convert it, such as with `ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4`"
        yield Finding("task data", "warning", f"browsers do not play its codec, {video.codec}, and show nothing", remedy)
    if video.variable:
        text = "its frame rate varies: the editor shows some of its frames twice and others never"
        yield Finding(
            "task data", "warning", text, "nothing is lost, but to see each frame convert it with `ffmpeg -fps_mode cfr`"
        )
    elif abs(counted - rate) > _CLOSE * rate:
        text = f"the editor counts {counted:g} frames a second of {shown.name!r}, the file has {rate:.6g}"
        yield Finding("task data", "warning", text, f'write framerate="{rate:.6g}" into the Video tag')
