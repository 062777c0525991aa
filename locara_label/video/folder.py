"""A folder of pictures as a video: one frame a file, in the order in which people number them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from locara_label import images
from locara_label.errors import BadImage, BadVideo, Cancelled
from locara_label.headers import Header
from locara_label.video.limits import VideoLimits
from locara_label.video.timeline import of_rate
from locara_label.video.video import Picture, Video

_SUFFIXES = {".jpg", ".jpeg", ".png"}
_DIGITS = re.compile(r"(\d+)")


def open_folder(folder: Path, limits: VideoLimits, rate: Fraction) -> Video:
    """All JPEG and PNG files of a folder; files of other kinds and hidden ones are no frames.

    Raises:
        BadVideo: video.no_frames, video.too_many_frames, video.sizes, video.frame (one cannot be read), video.unreadable.
    """
    paths = _frames(folder)
    if not paths:
        raise BadVideo(f"{folder} has no JPEG or PNG file", code="video.no_frames")
    if len(paths) > limits.max_frames:
        raise BadVideo(f"{folder} has {len(paths)} pictures, the limit is {limits.max_frames}", code="video.too_many_frames")
    source = FolderSource(paths, limits)
    return Video(source.size, of_rate(len(paths), rate), source)


def _frames(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")]
    except OSError as error:
        raise BadVideo(f"{str(folder)!r} cannot be read: {error.strerror}", code="video.unreadable") from error
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts 2 before 10, whatever stands around the numbers; equal numbers by the plain name."""
    parts = _DIGITS.split(name.casefold())
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], name


class FolderSource:
    """The `Source` of a folder. Every header is read at once, every picture when it is asked for.

    Attributes:
        size: height and width of all pictures.
    """

    def __init__(self, paths: list[Path], limits: VideoLimits) -> None:
        self._paths, self._closed = paths, False
        self._limits = replace(images.DEFAULT_LIMITS, max_pixels=limits.max_pixels)
        self.lost: dict[int, int] = {}
        self.hurt: set[int] = set()
        first = self._header(paths[0])
        self.size = first.height, first.width
        for path in paths[1:]:
            header = self._header(path)
            self._check_size(path, (header.height, header.width))

    def read(self, number: int) -> Picture:
        if self._closed:
            raise Cancelled("the video is closed")
        path = self._paths[number]
        try:
            picture = images.read(path, self._limits)
        except BadImage as error:
            raise _unreadable(path, error) from error
        self._check_size(path, picture.shape[:2])
        return picture

    def walk(self, numbers: range) -> Iterator[Picture]:
        return map(self.read, numbers)

    def close(self) -> None:
        self._closed = True

    def _header(self, path: Path) -> Header:
        try:
            return images.probe(path, self._limits)
        except BadImage as error:
            raise _unreadable(path, error) from error

    def _check_size(self, path: Path, size: tuple[int, ...]) -> None:
        if size != self.size:
            expected = f"{self._paths[0].name} has {self.size[1]} x {self.size[0]}"
            raise BadVideo(f"{path.name} has {size[1]} x {size[0]} pixels, {expected}", code="video.sizes")


def _unreadable(path: Path, error: BadImage) -> BadVideo:
    return BadVideo(f"{path.name} cannot be a frame: {error} ({error.code})", code="video.frame")
