"""Masks that no box belongs to any more, found anew: from the box that a person drew, and from the masks around."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from locara_label.engine.tracking import Session
from locara_label.errors import BadPrompt
from locara_label.hosts.label_studio.export_masklets import Seen, Sorted
from locara_label.models.base import VideoModel
from locara_label.types import Prompt
from locara_label.video.video import Video

LoadModel = Callable[[str], VideoModel]


def recompute(session: Session, sorted_frames: Sorted, number: int) -> dict[int, Seen]:
    """The masks of the missing frames, as far as the model finds any.

    Each stretch of frames is tracked by itself, from its boxes and the known masks at its ends; what is known stays as it is.

    Args:
        session: on the video.
        sorted_frames: of one object.
        number: of an object that the session does not know yet; it knows it no more afterwards.

    Raises:
        BadVideo, InferenceFailed, Cancelled: see `Session.propagate`.
    """
    found: dict[int, Seen] = {}
    for first, last in _stretches(sorted_frames.missing):
        try:
            found |= _stretch(session, sorted_frames, number, first, last)
        finally:
            session.remove(number)
    return found


def _stretch(session: Session, sorted_frames: Sorted, number: int, first: int, last: int) -> dict[int, Seen]:
    shown = list(_shown(sorted_frames, first, last))
    for frame, prompt in shown:
        session.prompt(frame, number, prompt)
    if not shown:
        return {}
    begin = min(frame for frame, _ in shown)
    if (ahead := last - max(first, begin) + 1) > 0:
        _run(session.propagate("forward", max(first, begin), ahead))
    if begin > first:
        _run(session.propagate("backward", begin, begin - first + 1))
    tracked = session.tracks[number].found
    within = {frame: tracked[frame] for frame in range(first, last + 1) if frame in tracked}
    return {frame: Seen(one.mask, _share(one.score)) for frame, one in within.items() if one.present and one.mask.area}


def _run(steps: Iterator[object]) -> None:
    for _ in steps:
        pass


def _shown(sorted_frames: Sorted, first: int, last: int) -> Iterator[tuple[int, Prompt]]:
    """The boxes within a stretch, and the masks just before and behind it."""
    for frame in (first - 1, last + 1):
        if frame in sorted_frames.known:
            yield frame, Prompt(mask=sorted_frames.known[frame].mask)
    for frame in range(first, last + 1):
        if frame in sorted_frames.stale:
            try:
                yield frame, Prompt(box=sorted_frames.stale[frame].box)
            except BadPrompt:  # a box without area shows nothing
                continue


def _stretches(frames: set[int]) -> Iterator[tuple[int, int]]:
    """Runs of frames that follow each other, as first and last."""
    ordered = sorted(frames)
    begin = 0
    for at in range(1, len(ordered) + 1):
        if at == len(ordered) or ordered[at] != ordered[at - 1] + 1:
            yield ordered[begin], ordered[at - 1]
            begin = at


def _share(score: float) -> float:
    return min(max(float(score), 0.0), 1.0)


class Recomputing:
    """Sessions for videos, with models that are loaded once."""

    def __init__(self, load: LoadModel, default: str, named: str | None = None) -> None:
        """Takes how a model is loaded, the one for objects that the store does not know, and one that goes before all others."""
        self._load, self._default, self._named = load, default, named
        self._models: dict[str, VideoModel] = {}

    def session(self, video: Video, stored_model: str | None) -> Session:
        """A session with the model that found the object first.

        Raises:
            ModelError, MissingRuntime, DeviceUnavailable: the model cannot be loaded.
        """
        name = self._named or stored_model or self._default
        if name not in self._models:
            self._models[name] = self._load(name)
        return Session(video, self._models[name])
