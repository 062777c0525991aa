"""Pictures to an MP4 that browsers play."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.atomic import part_path, sync_folder
from locara_label.errors import BadOption, MissingRuntime

_BT709, _LIMITED = 1, 1
_MAX_CLOCK = 1_000_000


def write_video(
    path: Path | str,
    frames: Iterable[NDArray[np.uint8]],
    rate: Fraction | float = 25,
    *,
    ticks: Iterable[int] | None = None,
    quality: int = 18,
    keyframes: int = 50,
) -> int:
    """Writes H.264 (yuv420p) in MP4, its index first; the file appears whole or not at all. The same frames give the same bytes.

    H.264 in this form has even sides: an odd one gets its last row or column twice.

    Args:
        path: of the file; its folder must exist.
        frames: RGB uint8 [H, W, 3], all of one size; taken one at a time.
        rate: frames per second.
        ticks: when each frame is shown, ascending, in periods of `rate`; None for one after the other.
        quality: x264's constant rate factor, 0 (lossless) to 51.
        keyframes: frames between two keyframes at most.

    Returns:
        The number of frames written.

    Raises:
        BadOption: there is no frame, frames differ in size or are not RGB uint8, the rate is not positive, the ticks do not
            ascend or are too few.
        MissingRuntime: PyAV is not installed.
        OSError: the folder is missing, full or not writable.
    """
    path, speed = Path(path), _speed(rate)
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise BadOption("a video has at least one frame", code="option.array")
    part = part_path(path)
    try:
        written = _write(part, chain((first,), pictures), speed, ticks, {"crf": str(quality), "g": str(keyframes)})
        _sync(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return written


def _speed(rate: Fraction | float) -> Fraction:
    speed = Fraction(rate).limit_denominator(1001) if np.isfinite(float(rate)) else Fraction(0)
    if not 0 < speed <= _MAX_CLOCK:
        raise BadOption(f"a rate is positive and up to {_MAX_CLOCK}, got {rate!r}", code="option.range")
    return speed


def _write(
    part: Path, pictures: Iterator[NDArray[np.uint8]], rate: Fraction, ticks: Iterable[int] | None, options: dict[str, str]
) -> int:
    try:
        import av
    except ImportError as error:
        raise MissingRuntime("videos are written with PyAV: pip install av") from error
    times, last, size, written = None if ticks is None else iter(ticks), -1, None, 0
    with av.open(str(part), "w", format="mp4", container_options={"movflags": "+faststart"}) as container:
        stream: Any = None
        for picture in pictures:
            size = _checked(picture, size)
            stream = stream or _stream(container, rate, size, options)
            last = _next_tick(times, last)
            frame = _frame(picture)
            frame.pts, frame.time_base = last, 1 / rate
            container.mux(stream.encode(frame))
            written += 1
        container.mux(stream.encode(None))
    return written


def _stream(container: Any, rate: Fraction, size: tuple[int, ...], options: dict[str, str]) -> Any:
    # x264's macroblock tree reads memory that it has not written, so that the same frames would give other bytes now and then.
    fixed = {"preset": "veryfast", "threads": "1", "mbtree": "0"}
    stream = container.add_stream("libx264", rate=rate, options=fixed | options)
    stream.height, stream.width, stream.pix_fmt = size[0] + size[0] % 2, size[1] + size[1] % 2, "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / rate
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    return stream


def _frame(picture: NDArray[np.uint8]) -> Any:
    import av

    odd = picture.shape[0] % 2, picture.shape[1] % 2
    even = np.pad(picture, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge") if any(odd) else picture
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), "rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)


def _checked(picture: NDArray[np.uint8], size: tuple[int, ...] | None) -> tuple[int, ...]:
    shape = picture.shape
    if picture.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape or (size and shape[:2] != size):
        expected = f"{size[0]} x {size[1]}" if size else "H x W"
        raise BadOption(f"a frame is RGB uint8 of {expected}, got {picture.dtype} {shape}", code="option.array")
    return shape[:2]


def _next_tick(times: Iterator[int] | None, last: int) -> int:
    tick = last + 1 if times is None else next(times, None)
    if tick is None or tick <= last:
        raise BadOption(f"ticks ascend from 0, one for each frame; after {last} comes {tick}", code="option.range")
    return tick


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
