"""A path to a `Video`."""

from __future__ import annotations

import errno
import os
import stat
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from locara_label.errors import BadOption, BadVideo, MissingRuntime
from locara_label.video import kinds
from locara_label.video.folder import open_folder
from locara_label.video.limits import DEFAULT_LIMITS, VideoLimits
from locara_label.video.timeline import Timeline, check_ticks
from locara_label.video.video import Video


def open_video_file(
    path: Path | str, limits: VideoLimits = DEFAULT_LIMITS, *, folder_rate: Fraction | int = 25, threads: int = 1
) -> Video:
    """Opens a file (MP4, MOV, WebM, Matroska, AVI, MPEG-TS, Ogg or GIF) or a folder of JPEG and PNG files.

    Args:
        path: of a regular file or a folder; links are followed. Nothing but this file is ever read.
        limits: what it may cost.
        folder_rate: frames per second of a folder.
        threads: of the decoder; more than one find a far frame sooner.

    Raises:
        BadVideo: video.missing, video.unreadable (no permission, no regular file), video.empty, video.too_large,
            video.unknown_format, video.unsupported (codec, or no video in it), video.no_frames, video.too_many_frames,
            video.too_many_pixels, video.corrupt, video.too_slow, video.no_memory or video.crashed; for a folder
            see `open_folder`.
        BadOption: the rate is not positive, or threads is not 1 to 64.
        MissingRuntime: PyAV is not installed, or the system is Windows.
    """
    rate = Fraction(folder_rate)
    if rate <= 0 or not 1 <= threads <= 64:
        raise BadOption(f"a rate is positive and threads 1 to 64, got {folder_rate}, {threads}", code="option.range")
    path = Path(path)
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):
        is_folder = False
    return open_folder(path, limits, rate) if is_folder else _open_file(path, limits, threads)


def check_runtime() -> None:
    """Raises MissingRuntime where files cannot be decoded."""
    if os.name != "posix":
        raise MissingRuntime("video files are decoded on Linux and macOS; give a folder of pictures instead")
    if find_spec("av") is None:
        raise MissingRuntime("video files need PyAV: pip install locara-label[video]")


def _open_file(path: Path, limits: VideoLimits, threads: int) -> Video:
    descriptor = _descriptor(path)
    try:
        kind = _kind(path, descriptor, limits)
        check_runtime()
        from locara_label.video.process import Process

        process = Process(descriptor, kind, limits, threads)
    finally:
        os.close(descriptor)
    from locara_label.video.decoded import DecodedSource

    try:
        opened = _Answer(process.opened, limits)
        return opened.video(DecodedSource(process, opened.size))
    except BaseException:
        process.kill()
        process.release()
        raise


def _descriptor(path: Path) -> int:
    # Opening a FIFO would otherwise wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags)
    except (OSError, ValueError) as error:
        missing = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        code = "video.missing" if missing else "video.unreadable"
        raise BadVideo(f"{str(path)!r} cannot be opened: {reason}", code=code) from error


def _kind(path: Path, descriptor: int, limits: VideoLimits) -> str:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise BadVideo(f"{path} is not a regular file", code="video.unreadable")
    if status.st_size > limits.max_bytes:
        raise BadVideo(f"the video has {status.st_size} bytes, the limit is {limits.max_bytes}", code="video.too_large")
    if status.st_size == 0:
        raise BadVideo(f"{path} is empty", code="video.empty")
    head = os.read(descriptor, kinds.HEAD_BYTES)
    kind = kinds.container(head)
    if kind is None:
        known = "MP4, MOV, WebM, Matroska, AVI, MPEG-TS, Ogg and GIF"
        raise BadVideo(f"{path} begins with {head[:12]!r}; known are {known}", code="video.unknown_format")
    return kind


class _Answer:
    """What the decoding process says of a file; as little trusted as the file itself.

    Raises:
        BadVideo: video.crashed where it makes no sense.
    """

    def __init__(self, answer: dict[str, Any], limits: VideoLimits) -> None:
        try:
            self.size = int(answer["size"][0]), int(answer["size"][1])
            self.ticks = tuple(int(tick) for tick in answer["ticks"])
            self.base, self.rate, self.aspect = (_fraction(answer[name]) for name in ("base", "rate", "aspect"))
            self.last = int(answer["last"])
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise BadVideo(f"the decoder's answer makes no sense: {error!r}", code="video.crashed") from error
        self.answer = answer
        self._check(limits)

    def _check(self, limits: VideoLimits) -> None:
        sized = min(self.size) > 0 and self.size[0] * self.size[1] <= limits.max_pixels
        timed = 0 < len(self.ticks) <= limits.max_frames and check_ticks(self.ticks)
        clocked = self.base > 0 and max(map(abs, self.ticks), default=0) < 1 << 63
        if not (sized and timed and clocked):
            raise BadVideo("the decoder's answer makes no sense: sizes or times", code="video.crashed")

    def video(self, source: Any) -> Video:
        damage = self.answer.get("damage")
        timeline = Timeline(self.ticks, self.base, self.last, self.rate if self.rate > 0 else None)
        return Video(
            self.size, timeline, source, self.aspect if self.aspect > 0 else Fraction(1),
            str(self.answer.get("container")), str(self.answer.get("codec")),
            None if damage is None else str(damage), bool(self.answer.get("decoded")),
        )  # fmt: skip


def _fraction(pair: Any) -> Fraction:
    return Fraction(int(pair[0]), int(pair[1])) if int(pair[1]) else Fraction(0)
