"""What is stored of a tracked object in a video task of Label Studio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from locara_label.errors import BadOption
from locara_label.rle import Size
from locara_label.types import Mask

State = Literal["running", "done", "failed", "cancelled"]

_MAX_NAME = 1000
_MAX_ID = (1 << 63) - 1


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a masklet belongs: the ids of a project and of one of its tasks, and of a region of the task's annotations."""

    project: int
    task: int
    region: str

    def __post_init__(self) -> None:
        if not _are_ids(self.project, self.task) or not 0 < len(self.region) <= _MAX_NAME or not _is_text(self.region):
            raise BadOption(f"{self!r:.200} is no place for a masklet", code="masklet.place")


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """An object on one frame.

    Attributes:
        frame: from 0, as the file counts them.
        time_s: of the frame, from the video's start.
        mask: at the video's size; empty where the object is out of sight.
        score: confidence in the mask, 0..1.
        present: the object is in sight.
        prompted: a person showed the object on this frame.
    """

    frame: int
    time_s: float
    mask: Mask
    score: float
    present: bool
    prompted: bool


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a masklet beside its frames.

    Attributes:
        video: reference of the video, as the task's data gives it.
        to_name, from_name: the video's tag and the control that draws the boxes.
        size: height and width of the video in pixels.
        frame_count: of the file.
        label: of the object.
        model, version: that found the masks, and the version it tells Label Studio.
        prompts: plain JSON by frame (from 0), how the object was shown there; enough to track it again.
        state: of the run that fills the frames.
        wanted: plain JSON, the run that is to be continued after a restart; None for none.
        error: why the run failed.

    Raises:
        BadOption: a value is none that can be stored; code masklet.field.
    """

    place: Place
    video: str
    to_name: str
    from_name: str
    size: Size
    frame_count: int
    label: str
    model: str
    version: str
    prompts: Mapping[int, Any] = field(hash=False)
    state: State = "running"
    wanted: Any = field(default=None, hash=False)
    error: str | None = None

    def __post_init__(self) -> None:
        if self.state not in get_args(State):
            raise BadOption(f"state is one of {', '.join(get_args(State))}, got {self.state!r:.40}", code="masklet.field")
        if min(self.size) < 1 or self.frame_count < 1:
            raise BadOption(f"{self.frame_count} frames of {self.size} are no video", code="masklet.field")
        if not all(0 <= frame < self.frame_count for frame in self.prompts):
            raise BadOption(f"a prompt is not on frames 0 to {self.frame_count - 1}: {list(self.prompts)}", code="masklet.field")
        texts = (self.video, self.to_name, self.from_name, self.label, self.model, self.version, self.error or "")
        if not all(map(_is_text, texts)):
            raise BadOption(f"a text of {self.place} is no Unicode text", code="masklet.field")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a text asks of the video of a task, until it is done.

    Attributes:
        project, task: ids in Label Studio.
        content: plain JSON, enough to ask it again.

    Raises:
        BadOption: an id is none; code masklet.place.
    """

    project: int
    task: int
    content: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        if not _are_ids(self.project, self.task):
            raise BadOption(f"project {self.project} and task {self.task} are no ids", code="masklet.place")


def _are_ids(*numbers: int) -> bool:
    return all(0 <= number <= _MAX_ID for number in numbers)


def _is_text(value: str) -> bool:
    """Half a surrogate pair and NUL, which JSON can carry, cannot be stored everywhere."""
    return not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value)
