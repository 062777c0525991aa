"""Objects of one video, shown by labels of its frames, followed to the other frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NoReturn, Protocol, Self, SupportsFloat

import fiftyone as fo
from bson import ObjectId

from locara_label.engine.tracking import MAX_FRAMES, Direction, Found, Step
from locara_label.errors import BadOption, BadPrompt
from locara_label.hosts.fiftyone.labels import Region, Size, attribute, to_detection
from locara_label.hosts.fiftyone.prompts import Shown, prompts_of, single_labels
from locara_label.models.base import NO_LIMIT, Limit
from locara_label.types import Prompt


class Clip(Protocol):
    """A video that is open, here or elsewhere; see `video.Video`."""

    @property
    def size(self) -> Size: ...

    @property
    def count(self) -> int: ...

    @property
    def rate(self) -> SupportsFloat: ...

    @property
    def duration_s(self) -> float: ...

    @property
    def damaged(self) -> str | None: ...


class Tracked(Protocol):
    """What was found of an object, by frame from 0."""

    @property
    def found(self) -> Mapping[int, Found]: ...


class Follower(Protocol):
    """A session on a video, here or on a server; see `engine.tracking.Session`."""

    @property
    def video(self) -> Clip: ...

    @property
    def tracks(self) -> Mapping[int, Tracked]: ...

    def prompt(self, frame: int, object_id: int, prompt: Prompt, limit: Limit = NO_LIMIT) -> Found: ...

    def propagate(
        self, direction: Direction, start: int | None, max_frames: int, stride: int, limit: Limit, /
    ) -> Iterator[Step]: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """Which frames are gone through.

    Attributes:
        direction: "forward", "backward" or "both".
        max_frames: in each direction; None for all.
        stride: 2 leaves out every other frame.
        start: frame number, from 1, to start from; None takes the first where there is something to do.

    Raises:
        BadOption: code `option.range`.
    """

    direction: Direction = "both"
    max_frames: int | None = MAX_FRAMES
    stride: int = 1
    start: int | None = None

    def __post_init__(self) -> None:
        least = min(self.stride, 1 if self.max_frames is None else self.max_frames, 1 if self.start is None else self.start)
        if least < 1 or self.direction not in ("forward", "backward", "both"):
            raise BadOption(f"{self} is no run", code="option.range")

    def frames(self, total: int) -> int:
        """How many frames are gone through at most."""
        most = min(total, self.max_frames or total)
        return min(most * (2 if self.direction == "both" else 1), total)


@dataclass(frozen=True, slots=True)
class Known:
    """One object: its label, and FiftyOne's id of it."""

    label: str
    instance: str


def shown_by_frame(sample: Any, field: str, size: Size, *, only_keyframes: bool) -> dict[int, list[Shown]]:
    """What a frame field shows, by frame number from 1; frames that show nothing are left out.

    Args:
        sample: a video.
        field: with Detections or Keypoints, without "frames.". A detection's mask counts where it has one, else its box.
        size: height and width of the video in pixels.
        only_keyframes: only what a person has drawn or accepted counts; all of the first frame where nothing is so.

    Raises:
        BadPrompt, BadMask, BadOption: see `prompts_of`; the message names the frame.
    """
    found: dict[int, list[Shown]] = {}
    for number, frame in sorted(sample.frames.items()):
        try:
            shown = prompts_of(frame[field] if frame.has_field(field) else None, size, use_masks=True)
        except (BadPrompt, BadOption) as error:
            raise type(error)(f"frame {number}: {error.message}", code=error.code) from error
        if shown:
            found[number] = shown
    if not only_keyframes:
        return found
    chosen = {number: kept for number, shown in found.items() if (kept := [one for one in shown if one.keyframe])}
    return chosen or dict(list(found.items())[:1])


def shows_any(sample: Any, field: str) -> bool:
    """Whether a frame field shows anything at all; without a look at the video."""
    values = (frame[field] for _, frame in sample.frames.items() if frame.has_field(field))
    return any(True for value in values for _ in single_labels(value))


def nothing_shown() -> NoReturn:
    """Raises BadPrompt: code prompt.empty."""
    raise BadPrompt("no frame shows an object: draw boxes or masks on one", code="prompt.empty")


class Following:
    """The objects of one session. Objects are told apart by `index`, else by `instance`; what has neither is a new one.

    Attributes:
        known: by the number that the session knows an object by; it becomes the `index` of its detections.
    """

    def __init__(self, session: Follower, shown: Mapping[int, Sequence[Shown]], *, pointers: bool = False) -> None:
        """Raises BadPrompt: `prompt.empty`, or `prompt.twice` for an object that is shown twice on a frame."""
        if not shown:
            nothing_shown()
        self.session, self.pointers = session, pointers
        self.known: dict[int, Known] = {}
        self._asked = _numbered(shown, self.known)
        self._shown_by = {one.id for _, _, one in self._asked}
        self._instances = {one.instance for one in self.known.values()}

    def ask(self, limit: Limit = NO_LIMIT) -> set[int]:
        """Shows the session every object; gives the frame numbers, from 1, that have masks now.

        Raises:
            BadPrompt, BadOption, BadVideo, Cancelled, DeadlineExceeded, InferenceFailed: see `Session.prompt`.
        """
        for frame, number, one in self._asked:
            if frame > self.session.video.count:
                text = f"frame {frame} shows an object, and the video has {self.session.video.count} frames"
                raise BadPrompt(text, code="prompt.frame")
            self.session.prompt(frame - 1, number, one.prompt, limit)
        return {frame for frame, _, _ in self._asked}

    def run(self, run: Run, limit: Limit = NO_LIMIT) -> Iterator[int]:
        """Follows the objects; gives each frame number, from 1, as it is done.

        Raises:
            BadOption, BadVideo, Cancelled, DeadlineExceeded, InferenceFailed: see `Session.propagate`.
        """
        start = None if run.start is None else run.start - 1
        most = self.session.video.count if run.max_frames is None else run.max_frames
        for step in self.session.propagate(run.direction, start, most, run.stride, limit):
            yield step.frame + 1

    def detections(self, frame: int) -> list[fo.Detection]:
        """The objects that are in sight on a frame, from 1."""
        found = {number: track.found.get(frame - 1) for number, track in sorted(self.session.tracks.items())}
        return [to_detection(self._region(number, one)) for number, one in found.items() if one is not None and one.present]

    def owns(self, detection: fo.Detection) -> bool:
        """Whether a detection is of one of the objects, or showed it, so that ours replaces it."""
        linked = attribute(detection, "instance")
        by_instance = linked is not None and str(linked.id) in self._instances
        return detection.index in self.known or by_instance or str(detection.id) in self._shown_by

    def _region(self, number: int, found: Found) -> Region:
        more: dict[str, Any] = {"keyframe": True} if found.prompted else {}
        if self.pointers and found.pointer is not None:
            more["embedding"] = found.pointer
        one, score = self.known[number], float(found.score)
        return Region(one.label, found.mask, score, score, number, one.instance, attributes=more)


def _numbered(shown: Mapping[int, Sequence[Shown]], known: dict[int, Known]) -> list[tuple[int, int, Shown]]:
    """Frame, object and prompt, by frame; fills in what is known of the objects."""
    every = [one for listed in shown.values() for one in listed]
    given = {one.index for one in every if one.index is not None}
    fresh = (number for number in count(1) if number not in given)
    by_instance = {one.instance: one.index for one in every if one.instance and one.index is not None}
    asked, seen = list[tuple[int, int, Shown]](), set[tuple[int, int]]()
    for frame, listed in sorted(shown.items()):
        for one in listed:
            number = _number(one, by_instance, fresh)
            if (frame, number) in seen:
                raise BadPrompt(f"frame {frame} shows object {number} twice", code="prompt.twice")
            seen.add((frame, number))
            known.setdefault(number, Known(one.label, one.instance or str(ObjectId())))
            asked.append((frame, number, one))
    return asked


def _number(one: Shown, by_instance: dict[str, int], fresh: Iterator[int]) -> int:
    if one.index is not None:
        return one.index
    number = by_instance.get(one.instance) if one.instance else None
    if number is None:
        number = next(fresh)
        if one.instance:
            by_instance[one.instance] = number
    return number
