"""Frames as the editor counts them, and frames of the file. What they have in common is the time.

The editor numbers from 1 at the frame rate of its config, whatever the file's is. Frame f begins at (f - 1) / rate; the editor
seeks there, rounded to 2 ms, and 2 ms more, so that rounding never lands in the frame before (VideoCanvas.tsx of 1.23.2:
`goToFrame`, `frameSteppedTime`). The browser then shows the last frame of the file that has begun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from locara_label.errors import BadRequest
from locara_label.video.timeline import Timeline

DEFAULT_RATE = 24.0
"""Of a Video tag without a `framerate` that is a number."""
MAX_RATE, MAX_FRAMES = 1000.0, 10_000_000
_STEP_S = 0.002


@dataclass(frozen=True, slots=True)
class EditorClock:
    """The editor's frames of one video.

    Attributes:
        rate: frames per second of the editor.
        timeline: of the file.

    Raises:
        BadRequest: code request.rate; the rate is no number from 0.001 to `MAX_RATE`.
    """

    rate: float
    timeline: Timeline

    def __post_init__(self) -> None:
        if not 0.001 <= self.rate <= MAX_RATE:
            raise BadRequest(f"a frame rate is a number up to {MAX_RATE:g}, got {self.rate!r}", code="request.rate")

    def seconds(self, frame: int) -> float:
        """Where the editor stands at one of its frames, from 1, on the file's own clock."""
        return math.floor((max(frame, 1) - 1) / self.rate / _STEP_S + 0.5) * _STEP_S + _STEP_S

    def file_frame(self, frame: int) -> int:
        """The file's frame, from 0, that the editor shows on one of its frames, from 1."""
        return self.timeline.index_at(self.seconds(frame) - self.timeline.start_s)

    def editor_frame(self, frame: int) -> int:
        """The first of the editor's frames, from 1, that shows a frame of the file, from 0, or a later one."""
        begins = float(self.timeline.times_s[frame]) + self.timeline.start_s
        guess = max(1, math.floor(begins * self.rate))
        while guess > 1 and self.file_frame(guess) >= frame:
            guess -= 1
        while self.file_frame(guess) < frame:
            guess += 1
        return guess

    @property
    def frame_count(self) -> int:
        """How many frames the editor counts where the file has nothing but the video."""
        return max(1, math.floor((self.timeline.start_s + self.timeline.duration_s) * self.rate + 0.5))


def told_rate(frame: int, time_s: float | None) -> float | None:
    """The editor's frame rate, as one keyframe tells it: the editor writes `time` = frame / rate. None where it tells none."""
    if time_s is None or time_s <= 0 or frame <= 0:
        return None
    rate = frame / time_s
    return round(rate, 6) if 0.001 <= rate <= MAX_RATE else None


def config_rate(written: str | None, data: object = None) -> float:
    """The frame rate of a Video tag's `framerate`, which may be a number or a variable of the task's data."""
    text = written or ""
    if text.startswith("$"):
        text = str(data.get(text[1:], "")) if isinstance(data, dict) else ""
    try:
        rate = float(text)
    except ValueError:
        return DEFAULT_RATE
    if not math.isfinite(rate) or rate <= 0:
        return DEFAULT_RATE
    return 1 / rate if rate < 1 else rate
