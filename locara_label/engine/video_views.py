"""What a session on a video is like from outside, while others work with it, or when it is not in memory."""

from __future__ import annotations

from dataclasses import dataclass

from locara_label.engine.tracks import Track
from locara_label.engine.video_recipe import Recorded
from locara_label.video.video import Video


@dataclass(frozen=True)
class ObjectView:
    """An object of a session.

    Attributes:
        label: what it is called; None where nobody said.
        prompted, locked: frames.
        found: how many frames have a mask, an empty one where the object is out of sight.
        present: on how many it is in sight.
    """

    label: str | None
    prompted: tuple[int, ...]
    locked: tuple[int, ...]
    found: int
    present: int


@dataclass(frozen=True)
class Extent:
    """Of a video; see `Video`."""

    size: tuple[int, int]
    frames: int
    duration_s: float
    rate: float
    start_s: float
    damage: str | None

    @classmethod
    def of(cls, video: Video) -> Extent:
        """Of an open one."""
        return cls(video.size, video.count, video.duration_s, float(video.rate), video.start_s, video.damage)


@dataclass(frozen=True)
class SessionView:
    """A session from outside.

    Attributes:
        name: the caller's, if any.
        model: name of the model.
        extent: of the video, as it was opened.
        damage: what is wrong with the video, as far as it was seen; see `Video.damaged`.
        running: a run is under way.
        evicted: the next use builds it again.
        objects: by number.
    """

    name: str | None
    model: str
    extent: Extent
    damage: str | None
    running: bool
    evicted: bool
    objects: dict[int, ObjectView]


def objects_of(session: Recorded) -> dict[int, ObjectView]:
    """A session's objects by their numbers, also while it is at work."""
    return {number: _object(track) for number, track in list(session.tracks.items())}


def _object(track: Track) -> ObjectView:
    # Each list is made at once, whatever another thread adds meanwhile.
    prompted, locked, found = list(track.prompts), list(track.locked), list(track.found.values())
    present = sum(one.present for one in found)
    return ObjectView(track.label, tuple(sorted(prompted)), tuple(sorted(locked)), len(found), present)
