"""Which frames a file has and when they are shown, from its packets; decoded only where packets cannot be trusted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from locara_label.errors import BadVideo
from locara_label.video.limits import VideoLimits

HEAD_FRAMES = 16
NO_TIME = "packets without a time of presentation"
MARKED = "packets are marked as damaged"
_PACKETS_PER_FRAME = 4
_SHOWN = 0x10
"""A bit of the first byte of a VP8 packet."""


@dataclass(frozen=True, slots=True)
class Start:
    """A keyframe: where decoding can begin. `tick` is when it is shown, `dts` its place in decoding order."""

    tick: int
    dts: int | None


@dataclass(slots=True)
class Packets:
    """What demuxing tells.

    Attributes:
        ticks: of every packet whose picture is shown, in decoding order.
        starts: the keyframes, in decoding order.
        last: duration in ticks of the packet that is shown last.
        doubts: why the packets may not say which frames there are.
        torn: tick of the file's last packet where it is cut off; decoders make some picture of such a one, but no frame.
    """

    ticks: list[int] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    last: int = 0
    doubts: set[str] = field(default_factory=set)
    torn: int | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """The frames in the order of their presentation.

    Attributes:
        ticks: ascending, one for each frame.
        starts: by tick, ascending.
        last: ticks that the last frame is shown, 0 if unknown.
        damage: what is missing, in words; None for a whole file.
        decoded: whether frames had to be decoded to count them.
        counted: ticks do not identify decoded frames; they are only counted from the beginning, and a tick is a frame's number.
    """

    ticks: tuple[int, ...]
    starts: tuple[Start, ...]
    last: int
    damage: str | None = None
    decoded: bool = False
    counted: bool = False

    def start(self, tick: int) -> int:
        """Number of the last start that is shown at `tick` or before it; -1 if there is none."""
        return bisect_right(self.starts, tick, key=lambda start: start.tick) - 1


def scan(packets: Iterator[Any], codec: str, limits: VideoLimits) -> Packets:
    """Reads all packets of a stream and decodes none.

    Raises:
        BadVideo: video.too_many_frames.
    """
    found, latest = Packets(), None
    for number, packet in enumerate(packets):
        if number > _PACKETS_PER_FRAME * limits.max_frames:
            raise too_many(limits)
        tick = packet.dts if packet.pts is None else packet.pts
        found.torn = tick if packet.is_corrupt else None
        found.doubts |= {text for text, true in ((MARKED, packet.is_corrupt), (NO_TIME, packet.pts is None)) if true}
        if tick is None:
            continue
        if packet.is_keyframe:
            found.starts.append(Start(tick, packet.dts))
        if packet.is_discard or _hidden(packet, codec):
            continue
        found.ticks.append(tick)
        if len(found.ticks) > limits.max_frames:
            raise too_many(limits)
        if latest is None or tick >= latest:
            latest, found.last = tick, packet.duration or 0
    if found.torn is not None:
        found.ticks = [tick for tick in found.ticks if tick != found.torn]
    return found


def too_many(limits: VideoLimits) -> BadVideo:
    return BadVideo(f"the video has more than {limits.max_frames} frames, the limit", code="video.too_many_frames")


def _hidden(packet: Any, codec: str) -> bool:
    """VP8 has packets whose picture is only a reference for others."""
    return codec == "vp8" and not bytes(packet)[0] & _SHOWN
