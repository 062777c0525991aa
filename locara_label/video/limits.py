"""What a video may cost."""

from __future__ import annotations

from dataclasses import dataclass, fields

from locara_label.errors import BadOption


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Limits of one video; the first five are checked before or while it is opened.

    Attributes:
        max_bytes: size of the file.
        max_frames: frames, also of a folder.
        max_pixels: width times height of a frame as it is stored.
        max_seconds: for opening, and then for each frame, by the clock and of processor time.
        memory_bytes: address space of the decoding process, its program included (about 400 MiB).
        kept_bytes: decoded frames that the process keeps to walk backwards; a stretch between two keyframes that is larger
            is decoded once for each time that it fills them.

    Raises:
        BadOption: a limit is not positive.
    """

    max_bytes: int = 2 << 30
    max_frames: int = 20_000
    max_pixels: int = 4096 * 2304
    max_seconds: float = 30
    memory_bytes: int = 2 << 30
    kept_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise BadOption(f"{field.name} is positive, got {getattr(self, field.name)!r}", code="option.range")


DEFAULT_LIMITS = VideoLimits()
