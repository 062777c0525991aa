"""Frames by number out of an open file; runs in the decoding process."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from locara_label.errors import BadVideo
from locara_label.video.counting import key
from locara_label.video.indexing import Index
from locara_label.video.limits import VideoLimits
from locara_label.video.reading import Reader

_BEGINNING = -1
_NEAR = 4
_KEPT_FORWARD = 4
_EARLIER_STARTS = 2
_STEP_BACK = 8
_ROOMY_FRAMES = 64
"""For how many frames after a step backwards many are kept, so that walks in both directions may alternate."""


class Decoder:
    """Decodes on from where it stands where that is shorter, else from the last keyframe before the frame.

    Walking backwards, it keeps the frames on the way to the one that was asked for, up to `kept_bytes`, so that a stretch
    between two keyframes is decoded once and not once for each of its frames.

    Attributes:
        lost: frames that turned out undecodable, and the earlier frame that is shown in their place.
        hurt: the first frame after each place where decoding went wrong; it and those after it may show errors up to the next
            keyframe.
    """

    def __init__(self, reader: Reader, index: Index, limits: VideoLimits) -> None:
        self._reader, self._index, self._limits = reader, index, limits
        self._ranks = {tick: rank for rank, tick in enumerate(index.ticks)}
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._frames: Iterator[Any] | None = None
        self._at = self._counted = -1
        self._floor = index.ticks[0]
        self._asked = self._roomy = 0
        self.lost: dict[int, int] = {}
        self.hurt: set[int] = set()

    def frame(self, number: int, *, back: bool) -> tuple[Any, int]:
        """The decoded frame, and the number of the frame that it is: an earlier one where the one asked for is lost.

        Args:
            number: of the frame, from 0.
            back: frames before this one will be asked for next.

        Raises:
            BadVideo: video.frame.
        """
        back = back or 0 < self._asked - number <= _STEP_BACK
        self._asked, self._roomy = number, _ROOMY_FRAMES if back else max(self._roomy - 1, 0)
        shown = self.lost.get(number, number)
        if shown not in self._kept and not self._decode(shown):
            shown = self._before_gap(number)
            if shown not in self._kept and not self._decode(shown):
                raise BadVideo(f"frame {number} cannot be decoded: {self._reader.trouble}", code="video.frame")
        if back:
            self._drop_after(number + _KEPT_FORWARD)
        return self._kept[shown], shown

    def _decode(self, number: int) -> bool:
        """Tries from where it stands, then from the keyframe before the frame, then from those before it."""
        if self._goes_on_to(number) and self._advance(number):
            return True
        tick = self._index.ticks[number]
        nearest = self._index.start(tick)
        if not self._roomy and nearest != _BEGINNING:
            self._restart(nearest, sparse_to=tick)
            if self._advance(number):
                return True
        for start in range(nearest, max(nearest - _EARLIER_STARTS, _BEGINNING) - 1, -1):
            self._restart(start)
            if self._advance(number):
                return True
        return False

    def _goes_on_to(self, number: int) -> bool:
        if self._frames is None or self._at >= number:
            return False
        nearest = self._index.start(self._index.ticks[number])
        rank = bisect_left(self._index.ticks, self._index.starts[nearest].tick) if nearest >= 0 else 0
        return rank - self._at <= _NEAR

    def _restart(self, start: int, sparse_to: int | None = None) -> None:
        reader = self._reader
        self._at = self._counted = -1
        if start == _BEGINNING:
            reader.reopen()
            self._floor = self._index.ticks[0]
            self._frames = reader.decoded(reader.packets())
            return
        # Pictures before the keyframe that follow it in the file refer to what was not decoded.
        self._floor = self._index.starts[start].tick
        self._frames = reader.decoded(reader.from_start(self._index.starts[start]), sparse_to)

    def _advance(self, number: int) -> bool:
        self._behind, self._ahead = self._at, len(self._index.ticks)
        for frame in self._frames or ():
            rank = self._rank(frame)
            if rank is None:
                continue
            self._note(rank, frame)
            self._at = rank
            self._keep(rank, frame)
            if rank >= number:
                self._ahead = rank
                return rank == number
            self._behind = rank
        self._frames = None
        return False

    def _note(self, rank: int, frame: Any) -> None:
        """Trouble before the first frame is that of pictures before a keyframe, which nobody asked for."""
        if frame.is_corrupt or (self._reader.trouble and self._at >= 0):
            self.hurt.add(rank)
        self._reader.trouble = None

    def _rank(self, frame: Any) -> int | None:
        if self._index.counted:
            self._counted += 1
            return self._counted if self._counted < len(self._index.ticks) else None
        tick = key(frame)
        return None if tick is None or tick < self._floor else self._ranks.get(tick)

    def _keep(self, rank: int, frame: Any) -> None:
        size = sum(plane.buffer_size for plane in frame.planes)
        most = max(_KEPT_FORWARD, self._limits.kept_bytes // max(size, 1)) if self._roomy else _KEPT_FORWARD
        self._kept[rank] = frame
        self._kept.move_to_end(rank)
        while len(self._kept) > most:
            self._kept.popitem(last=False)

    def _drop_after(self, number: int) -> None:
        """A walk backwards does not come by again: what is kept stays within one stretch between keyframes."""
        for rank in [rank for rank in self._kept if rank > number]:
            del self._kept[rank]

    def _before_gap(self, number: int) -> int:
        """The last frame that was decoded before a lost one; the whole gap is remembered."""
        if not 0 <= self._behind < number:
            raise BadVideo(f"frame {number} cannot be decoded: {self._reader.trouble or 'it is missing'}", code="video.frame")
        self.lost.update(dict.fromkeys(range(self._behind + 1, self._ahead), self._behind))
        return self._behind
