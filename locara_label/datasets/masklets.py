"""One object's masks through a video, and a video with its objects, whatever format they come from or go to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from locara_label import rle
from locara_label.datasets.fields import MAX_WHOLE, is_number
from locara_label.datasets.records import MAX_PIXELS, Category
from locara_label.errors import BadDataset, BadMask, InputError
from locara_label.rle import Size
from locara_label.types import Mask

MAX_FRAMES = 1 << 24
MAX_CELLS = 1 << 24
"""Most annotated frames times objects of one video: each takes a place in memory, also where the object is absent."""

Masks = tuple[Mask | None, ...]
"""One mask per annotated frame of the video; None where the object is absent."""


@dataclass(frozen=True, slots=True)
class Masklet:
    """One object through a video.

    Attributes:
        track_id: from 0 up, unique within the video.
        masks: one for each of the video's annotated frames, at the video's size, with at least one pixel; None where the object
            is absent.
        score: in 0..1 for the whole object; None when there is none (ground truth).
        scores: in 0..1 or None, one for each annotated frame; None when there are none.
        iscrowd: a group of objects, which tools leave out of training.
        meta: plain JSON that belongs to the object and that no format here interprets.
    """

    track_id: int
    category: Category
    masks: Masks
    score: float | None = None
    scores: tuple[float | None, ...] | None = None
    iscrowd: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def present(self) -> int:
        """In how many annotated frames the object is."""
        return sum(mask is not None for mask in self.masks)


@dataclass(frozen=True, slots=True)
class MaskletVideo:
    """A video and the objects in it.

    Attributes:
        name: not empty; unique where a format names files after videos.
        frame_count: of the whole video.
        frames: the annotated frames, from 0 up, rising, below `frame_count`.
        masklets: with one mask, or None, for each of `frames`.
        id: the number in the file it came from; None lets a writer number the videos 1, 2, 3 ...
        file_names: of the pictures of `frames`; None stands for `default_names`.
        times_s: presentation times of `frames` in seconds; None when they are not known.
        meta: plain JSON that belongs to the video and that no format here interprets.
    """

    name: str
    width: int
    height: int
    frame_count: int
    frames: tuple[int, ...]
    masklets: tuple[Masklet, ...]
    id: int | None = None
    file_names: tuple[str, ...] | None = None
    times_s: tuple[float, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return self.height, self.width

    @property
    def frame_names(self) -> tuple[str, ...]:
        """File names of the pictures of `frames`."""
        return default_names(self.name, self.frames) if self.file_names is None else self.file_names

    def check(self) -> None:
        """Refuses what is not a video with masklets.

        Raises:
            BadDataset: `video.*`, `track.*` or `score.range`.
            BadMask: `mask.size`, `mask.counts` or `mask.empty`, with track and frame in the message.
        """
        self.check_fields()
        for masklet in self.masklets:
            _check_masks(masklet, self)

    def check_fields(self) -> None:
        """As `check`, for masks that are known to fit.

        Raises:
            BadDataset: `video.*`, `track.*` or `score.range`.
        """
        check_extent(self.name, self.size, self.frame_count)
        check_cells(self.name, len(self.frames), len(self.masklets))
        _check_frames(self)
        _check_plain(self.meta, f"video {self.name!r:.120}")
        seen: set[int] = set()
        for masklet in self.masklets:
            if masklet.track_id in seen:
                raise BadDataset(f"track {masklet.track_id} occurs twice", code="track.id_twice")
            seen.add(masklet.track_id)
            _check_masklet(masklet, self)


def default_names(name: str, frames: Sequence[int]) -> tuple[str, ...]:
    """`NAME/00000.jpg` and so on, as YouTube-VIS and SA-V name pictures."""
    return tuple(f"{name}/{frame:05d}.jpg" for frame in frames)


def own_names(name: str, frames: Sequence[int], names: Sequence[str]) -> tuple[str, ...] | None:
    """The names of pictures, None when they are those that would be made up anyway."""
    return None if tuple(names) == default_names(name, frames) else tuple(names)


def visible(mask: Mask) -> Mask | None:
    """A mask with pixels; None for one without, which says that the object is absent."""
    return mask if mask.area else None


def check_extent(name: str, size: Size, frame_count: int) -> None:
    """Refuses an unnamed video, or one of a size or length that cannot be: `video.field`, `video.size` or `video.frames`."""
    if not name:
        raise BadDataset("a video has a name", code="video.field")
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise BadDataset(f"a video of {size[1]} x {size[0]} pixels cannot be", code="video.size")
    if not 0 <= frame_count <= MAX_FRAMES:
        raise BadDataset(f"a video has 0..{MAX_FRAMES} frames, got {frame_count}", code="video.frames")


def check_cells(name: str, frames: int, tracks: int) -> None:
    """Refuses, before memory is taken, more masks than a video may have: `video.masks`."""
    if frames * tracks > MAX_CELLS:
        raise BadDataset(
            f"video {name!r:.120}: {tracks} objects in {frames} frames are more than {MAX_CELLS} masks", code="video.masks"
        )


def _check_frames(video: MaskletVideo) -> None:
    frames = video.frames
    rising = all(one < two for one, two in pairwise(frames))
    if not rising or (frames and not 0 <= frames[0] <= frames[-1] < video.frame_count):
        raise BadDataset(f"annotated frames rise within 0..{video.frame_count - 1}", code="video.frames")
    for what, values in (("file names", video.file_names), ("times", video.times_s)):
        if values is not None and len(values) != len(frames):
            raise BadDataset(f"{len(values)} {what} for {len(frames)} annotated frames", code="video.frames")
    if not all(video.file_names or ["."]):
        raise BadDataset("a file name is empty", code="video.field")
    if not all(map(is_number, video.times_s or ())):
        raise BadDataset("a time is not a finite number of seconds", code="video.times")


def _check_masklet(masklet: Masklet, video: MaskletVideo) -> None:
    where = f"track {masklet.track_id}"
    if not 0 <= masklet.track_id <= MAX_WHOLE:
        raise BadDataset(f"{where}: a track id is a whole number from 0 up", code="track.field")
    for what, values in (("masks", masklet.masks), ("scores", masklet.scores)):
        if values is not None and len(values) != len(video.frames):
            raise BadDataset(f"{where}: {len(values)} {what} for {len(video.frames)} annotated frames", code="track.length")
    for score in (masklet.score, *(masklet.scores or ())):
        if score is not None and not 0 <= score <= 1:
            raise BadDataset(f"{where}: score {score} is not in 0..1", code="score.range")
    _check_plain(masklet.meta, where)


def _check_masks(masklet: Masklet, video: MaskletVideo) -> None:
    for frame, mask in present(masklet, video):
        try:
            _check_mask(mask, video.size)
        except InputError as error:
            raise BadMask(f"track {masklet.track_id} frame {frame}: {error.message}", code=error.code) from error


def _check_mask(mask: Mask, size: Size) -> None:
    if mask.size != size:
        raise BadMask(f"a mask of {mask.size} in a video of {size} (height, width)", code="mask.size")
    rle.check(mask.counts, mask.size)
    if not mask.area:
        raise BadMask("the mask is empty; None says that an object is absent", code="mask.empty")


def _check_plain(meta: Mapping[str, Any], where: str) -> None:
    try:
        json.dumps(dict(meta), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadDataset(f"{where}: meta is not plain JSON: {error}", code="video.meta") from error


def present(masklet: Masklet, video: MaskletVideo) -> Iterator[tuple[int, Mask]]:
    """The frames that an object is in, with its masks."""
    for frame, mask in zip(video.frames, masklet.masks, strict=True):
        if mask is not None:
            yield frame, mask
