"""A video as a value: how large, how long, which frame when, and its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadOption
from locara_label.video.timeline import Timeline

Picture = NDArray[np.uint8]


class Source(Protocol):
    """Where pictures come from; usable from several threads."""

    def read(self, number: int) -> Picture:
        """One picture, the caller's own."""
        ...

    def walk(self, numbers: range) -> Iterator[Picture]:
        """Pictures in this order, with some of the next in the making."""
        ...

    def close(self) -> None:
        """Frees everything at once; what still waits raises Cancelled."""
        ...

    @property
    def lost(self) -> dict[int, int]:
        """Frames that could not be decoded, and what was shown in their place."""
        ...

    @property
    def hurt(self) -> set[int]:
        """The first frame after each place where decoding went wrong, as far as it was noticed."""
        ...


@dataclass(frozen=True, eq=False)
class Video:
    """An open video; close it, or use it in a `with` block. Usable from several threads.

    Attributes:
        size: height and width in pixels of every frame: upright (rotation and mirroring that the file asks for are applied), odd
            sizes as they are, pixels as they are stored: one that is not square is not stretched, see `pixel_aspect`.
        timeline: when each frame is shown.
        pixel_aspect: width over height of one pixel, upright. A player stretches the picture by it; shares of width and
            height mean the same place either way.
        container: FFmpeg's name of the container, or "folder".
        codec: FFmpeg's name of the decoder, or "pictures".
        damage: what of the file is missing or unsound, in words, as found on opening; None for a sound file. See `damaged`.
        counted_by_decoding: all frames had to be decoded on opening to tell how many there are and when.
    """

    size: tuple[int, int]
    timeline: Timeline
    source: Source
    pixel_aspect: Fraction = Fraction(1)
    container: str = "folder"
    codec: str = "pictures"
    damage: str | None = None
    counted_by_decoding: bool = False

    @property
    def count(self) -> int:
        """Number of frames, at least one."""
        return len(self.timeline.ticks)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Float64 [count], read only: when each frame is first shown, in seconds since the first frame."""
        return self.timeline.times_s

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last one."""
        return self.timeline.duration_s

    @property
    def start_s(self) -> float:
        """When the first frame is shown on the file's own clock; see `Timeline.start_s`."""
        return self.timeline.start_s

    @property
    def rate(self) -> Fraction:
        """Frames per second: what the file states where its frames keep to it, else the mean."""
        return self.timeline.rate

    @property
    def variable(self) -> bool:
        """Whether the frame rate varies by more than the rounding to the file's clock."""
        return self.timeline.variable

    @property
    def lost(self) -> dict[int, int]:
        """Frames that were found undecodable so far, and the earlier frame that is given in their place, as players do."""
        return dict(self.source.lost)

    @property
    def damaged(self) -> str | None:
        """What is wrong with the file, in words; None while nothing is known. Grows when frames are found undecodable.

        Decoders hide some damage inside a frame without a word; that cannot be told.
        """
        lost, hurt = sorted(self.lost), sorted(self.source.hurt)
        texts = [
            self.damage,
            f"{len(lost)} frames cannot be decoded, the first is {lost[0]}" if lost else None,
            f"frames from {', '.join(map(str, hurt[:5]))} to the next keyframe may show errors" if hurt else None,
        ]
        return "; ".join(text for text in texts if text) or None

    def frame(self, index: int) -> Picture:
        """RGB uint8 [H, W, 3], C-contiguous, the caller's own.

        Raises:
            BadOption: there is no such frame; the first is 0.
            BadVideo: video.frame where neither it nor one before it can be decoded; video.too_slow, video.no_memory,
                video.crashed.
            Cancelled: the video is closed.
        """
        self._check(index)
        return self.source.read(int(index))

    def frames(self, start: int | None = None, stop: int | None = None, step: int = 1) -> Iterator[Picture]:
        """The frames of `range(count)[start:stop:step]`, one after the other; a negative step walks backwards.

        Backwards costs little more than forwards: frames between two keyframes are decoded together. Ending the iteration
        early is free.

        Raises:
            BadOption: the step is 0.
            BadVideo, Cancelled: see `frame`.
        """
        if step == 0:
            raise BadOption("the step of frames is not 0", code="option.range")
        return self.source.walk(range(self.count)[start:stop:step])

    def index_at(self, time_s: float) -> int:
        """The frame shown at a time in seconds since the first frame; see `Timeline.index_at`."""
        return self.timeline.index_at(time_s)

    def close(self) -> None:
        """Frees everything at once, also while another thread waits for a frame: that one raises Cancelled."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check(self, index: int) -> None:
        if not isinstance(index, (int, np.integer)) or not 0 <= index < self.count:
            raise BadOption(f"frames are 0 to {self.count - 1}, got {index!r}", code="option.range")
