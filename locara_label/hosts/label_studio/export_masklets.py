"""One object of a video: which of its masks still belong to the boxes that a person sees, and which have to be found anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from locara_label.hosts.label_studio.keyframes import Key, shown
from locara_label.hosts.label_studio.masklet_records import StoredFrame
from locara_label.hosts.label_studio.video_clock import EditorClock
from locara_label.hosts.label_studio.video_objects import Judgement, Keyframe, VideoObject, judge
from locara_label.rle import Size
from locara_label.types import Box, Mask

SAME_PX = 0.01
"""How far a keyframe's box may lie off the mask that it was made from."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An object on one frame; the score is None where nothing tells it."""

    mask: Mask
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Stale:
    """A frame on which a person drew a box that no mask belongs to: the box in pixels, and what became of the mask."""

    box: Box
    state: Judgement


@dataclass
class Sorted:
    """The frames of the file, from 0, on which the editor shows an object.

    Attributes:
        known: with the mask that belongs to the box.
        stale: with a person's box and no mask.
        gaps: between keyframes, with no mask.
        outside: keyframes, as the editor counts them, that lie behind the video's end, or whose box lies outside the picture.
    """

    known: dict[int, Seen] = field(default_factory=dict)
    stale: dict[int, Stale] = field(default_factory=dict)
    gaps: set[int] = field(default_factory=set)
    outside: list[int] = field(default_factory=list)

    @property
    def missing(self) -> set[int]:
        return self.gaps | set(self.stale)


@dataclass(frozen=True, slots=True)
class Space:
    """Where an object moves.

    Attributes:
        size: height and width in pixels.
        clock: frames of the editor and of the file.
        editor_count: how many frames the editor counts.
        tolerance_px: how far a side of a box between keyframes may lie off its mask.
    """

    size: Size
    clock: EditorClock
    editor_count: int
    tolerance_px: float


def sort_frames(asked: VideoObject, stored: Mapping[int, StoredFrame], space: Space) -> Sorted:
    """What is known of each frame that shows an object, and what is not.

    A mask beside a keyframe, or in the store, counts only while its box is the keyframe's; a mask of the store between two
    keyframes only while theirs count, and while its box is the one that the editor shows.

    Args:
        asked: the object, as it was annotated.
        stored: what the store has of it, by frame of the file.
        space: of its video.
    """
    found = Sorted()
    keys = _placed(asked, space, found)
    boxes = shown([(Key(key.frame, key.enabled), box) for key, box in keys], space.editor_count)
    sound: dict[int, bool] = {}
    for key, box in keys:
        sound[key.frame] = _sort_key(key, box, stored, space, found)
    for frame, at in _shown_frames(boxes, [key.frame for key, _ in keys], space).items():
        if frame in found.known or frame in found.stale:
            continue
        one = stored.get(frame)
        if one is not None and one.present and _near(boxes[at], one.mask, space) and _between_sound(at, sound):
            found.known[frame] = Seen(one.mask, one.score)
        else:
            found.gaps.add(frame)
    return found


def _placed(asked: VideoObject, space: Space, found: Sorted) -> list[tuple[Keyframe, Box]]:
    placed = []
    for key in asked.keyframes:
        box = key.box(space.size)
        if box is None or not 1 <= key.frame <= space.editor_count:
            found.outside.append(key.frame)
        else:
            placed.append((key, box))
    return placed


def _sort_key(key: Keyframe, box: Box, stored: Mapping[int, StoredFrame], space: Space, found: Sorted) -> bool:
    """Whether the keyframe's mask is known."""
    frame, judged = space.clock.file_frame(key.frame), judge(key.extras)
    if frame in found.stale:  # two frames of the editor are one of the file, and a person drew on the first
        return False
    one = stored.get(frame)
    if judged.mask is not None and judged.mask.size == space.size:
        found.known[frame] = Seen(judged.mask, one.score if one is not None and one.mask == judged.mask else None)
        return True
    slack = space.tolerance_px if judged.state == "copied" else SAME_PX
    if one is not None and one.present and not key.rotation and _distance(box, one.mask.box) <= slack:
        found.known[frame] = Seen(one.mask, one.score)
        return True
    found.known.pop(frame, None)
    found.stale[frame] = Stale(box, "broken" if judged.mask is not None else judged.state)
    return False


def _shown_frames(boxes: Mapping[int, Box], keys: list[int], space: Space) -> dict[int, int]:
    """Frames of the file on which the editor shows a box, with the frame of the editor that shows it: keyframes before others."""
    found: dict[int, int] = {}
    marked = set(keys)
    for at in sorted(boxes, key=lambda at: (at not in marked, at)):
        found.setdefault(space.clock.file_frame(at), at)
    if not found:
        return found
    for frame in range(min(found), max(found) + 1):  # those that an editor of a lower rate passes over
        if frame not in found and (at := space.clock.editor_frame(frame)) in boxes and at - 1 in boxes:
            found[frame] = at
    return found


def _between_sound(at: int, sound: Mapping[int, bool]) -> bool:
    """Whether the keyframes before and after a frame of the editor have their masks."""
    before = max((key for key in sound if key <= at), default=None)
    after = min((key for key in sound if key >= at), default=None)
    return before is not None and sound[before] and (after is None or sound[after])


def _near(box: Box, mask: Mask, space: Space) -> bool:
    return _distance(box, mask.box) <= space.tolerance_px + SAME_PX


def _distance(one: Box, other: Box) -> float:
    return max(abs(one.x0 - other.x0), abs(one.y0 - other.y0), abs(one.x1 - other.x1), abs(one.y1 - other.y1))
