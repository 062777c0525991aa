"""What a session on a video found, as masklets of a data set."""

from __future__ import annotations

from collections.abc import Mapping

from locara_label.datasets.masklets import Masklet, MaskletVideo, visible
from locara_label.datasets.records import Category
from locara_label.engine.tracking import Session, Track


def masklets(session: Session, name: str, categories: Mapping[int, Category]) -> MaskletVideo:
    """All frames that were gone through, with the masks of every object; none where it is out of sight or was not looked for.

    Args:
        session: with at least one object.
        name: of the video.
        categories: by object.
    """
    video = session.video
    frames = tuple(sorted({frame for track in session.tracks.values() for frame in track.found}))
    height, width = video.size
    return MaskletVideo(
        name,
        width,
        height,
        video.count,
        frames,
        tuple(_masklet(number, track, frames, categories[number]) for number, track in session.tracks.items()),
        times_s=tuple(float(video.times_s[frame]) for frame in frames),
    )


def _masklet(number: int, track: Track, frames: tuple[int, ...], category: Category) -> Masklet:
    found = [track.found.get(frame) for frame in frames]
    masks = tuple(visible(one.mask) if one is not None else None for one in found)
    scores = tuple(one.score if one is not None else None for one in found)
    return Masklet(number, category, masks, scores=scores)
