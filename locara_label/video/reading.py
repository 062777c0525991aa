"""A container and its one video stream, opened so that only the given file can be reached; runs in the decoding process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import Any

from locara_label.errors import BadVideo
from locara_label.video import kinds
from locara_label.video.indexing import Start
from locara_label.video.limits import VideoLimits

_LABELLED = {"h264", "hevc"}
"""Codecs whose packets say whether other frames refer to them."""


class Reader:
    """Packets and decoded frames of the first video stream of an open file.

    Attributes:
        codec: FFmpeg's name of the decoder.
        trouble: what stopped reading, or kept packets from being decoded, since `trouble` was last cleared.
    """

    def __init__(self, descriptor: int, kind: str, limits: VideoLimits, threads: int) -> None:
        self._descriptor, self.kind, self._limits, self._threads = descriptor, kind, limits, threads
        self.trouble: str | None = None
        self.reopen()

    def reopen(self) -> None:
        """Stands at the beginning again, whatever was read before.

        Raises:
            BadVideo: video.corrupt, video.unsupported or video.too_many_pixels.
        """
        import av

        os.lseek(self._descriptor, 0, os.SEEK_SET)
        inner = {"max_pixels": str(self._limits.max_pixels)}
        outer = {
            "fd": str(self._descriptor),
            "protocol_whitelist": "fd",
            "format_whitelist": self.kind,
            "codec_whitelist": ",".join(kinds.CODECS),
        }
        try:
            self.container = av.open("fd:", format=self.kind, options=inner, container_options=outer)
        except av.FFmpegError as error:
            raise _reason(error, "the video cannot be opened") from error
        self.stream: Any = self._choose()
        self._prepare(inner)

    def _choose(self) -> Any:
        from av.stream import Discard, Disposition

        streams = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise BadVideo(f"the {self.kind} file has no video stream", code="video.unsupported")
        for other in self.container.streams:
            if other.index != streams[0].index:
                other.discard = Discard.all
        return streams[0]

    def _prepare(self, options: dict[str, str]) -> None:
        context = self.stream.codec_context
        if context is None or context.name not in kinds.CODECS:
            name = "an unknown codec" if context is None else context.name
            raise BadVideo(f"the video is coded as {name}, known are {', '.join(kinds.CODECS)}", code="video.unsupported")
        self.codec: str = context.name
        self.check_pixels(context.height, context.width)
        context.options = options
        context.thread_count = self._threads
        context.thread_type = "AUTO" if self._threads > 1 else "NONE"

    def check_pixels(self, height: int, width: int) -> None:
        if height * width > self._limits.max_pixels:
            raise BadVideo(
                f"the video has {width} x {height} pixels, the limit is {self._limits.max_pixels}", code="video.too_many_pixels"
            )

    def packets(self) -> Iterator[Any]:
        """From where the file stands to its end; damage ends them too."""
        import av

        try:
            yield from (packet for packet in self.container.demux(self.stream) if packet.size)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            self.trouble = f"reading stops: {_words(error)}"

    def decoded(self, packets: Iterator[Any], sparse_to: int | None = None) -> Iterator[Any]:
        """Frames of packets and those that the decoder still holds at their end; undecodable packets give none.

        Args:
            packets: in the order of the file.
            sparse_to: frames before this tick need not all come: those that no other frame refers to are passed over.
        """
        sparse = sparse_to is not None and self.codec in _LABELLED
        # An earlier pass may have been left while it passed over packets.
        self.stream.codec_context.skip_frame = "DEFAULT"
        for packet in chain(packets, (None,)):
            if sparse and packet is not None:
                early = packet.pts is not None and packet.pts < sparse_to
                self.stream.codec_context.skip_frame = "NONREF" if early else "DEFAULT"
            yield from self._fed(packet)

    def _fed(self, packet: Any) -> list[Any]:
        import av

        try:
            return list(self.stream.codec_context.decode(packet))
        except MemoryError:
            raise
        except EOFError:
            return []
        except (av.FFmpegError, ValueError) as error:
            self.trouble = f"packets cannot be decoded: {_words(error)}"
            return []

    def from_start(self, start: Start) -> Iterator[Any]:
        """Packets from a keyframe on, the keyframe first. Every container seeks in its own way, so it is looked at what comes."""
        for place in dict.fromkeys((start.tick, start.dts)):
            found = None if place is None else self._sought(place, start)
            if found is not None:
                return found
        self.reopen()
        packets = self.packets()
        first = next((packet for packet in packets if _is(packet, start)), None)
        return iter(()) if first is None else chain((first,), packets)

    def _sought(self, place: int, start: Start) -> Iterator[Any] | None:
        import av

        try:
            self.container.seek(place, stream=self.stream, backward=True)
        except MemoryError:
            raise
        except (av.FFmpegError, OverflowError):
            return None
        packets = self.packets()
        for packet in packets:
            if _is(packet, start):
                return chain((packet,), packets)
            if packet.is_keyframe and packet.pts is not None and packet.pts > start.tick:
                return None
        return None


def _is(packet: Any, start: Start) -> bool:
    return bool(packet.is_keyframe) and (packet.dts if packet.pts is None else packet.pts) == start.tick


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]


def _reason(error: Exception, what: str) -> BadVideo:
    if isinstance(error, MemoryError):
        return BadVideo(f"{what}: not enough memory", code="video.no_memory")
    return BadVideo(f"{what}: {_words(error)}", code="video.corrupt")
