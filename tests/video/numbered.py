"""Clips whose frames carry their own number as 16 blocks, large enough to survive compression."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

GRID = (4, 4)
RATES = {
    "23.976": Fraction(24000, 1001),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "30": Fraction(30),
}


def numbered(number: int, size: tuple[int, int] = (96, 128)) -> NDArray[np.uint8]:
    """RGB [H, W, 3]: bit n is white in block n, in reading order."""
    bits = np.array([number >> n & 1 for n in range(16)], np.uint8).reshape(GRID)
    rows = np.arange(size[0]) * GRID[0] // size[0]
    columns = np.arange(size[1]) * GRID[1] // size[1]
    grey = 32 + 192 * bits[rows][:, columns]
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def number_in(picture: NDArray[np.uint8]) -> int:
    """The number that a picture carries."""
    height, width = picture.shape[:2]
    rows = [(2 * n + 1) * height // (2 * GRID[0]) for n in range(GRID[0])]
    columns = [(2 * n + 1) * width // (2 * GRID[1]) for n in range(GRID[1])]
    bits = picture[np.ix_(rows, columns)].mean(axis=2).ravel() > 128
    return int(sum(1 << n for n in np.flatnonzero(bits)))


def numbers_in(pictures: Iterable[NDArray[np.uint8]]) -> list[int]:
    return [number_in(picture) for picture in pictures]


def write_clip(
    path: Path,
    count: int,
    *,
    rate: Fraction = Fraction(25),
    ticks: Sequence[int] | None = None,
    size: tuple[int, int] = (96, 128),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    rotation: int | None = None,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
) -> Path:
    """Numbers 0 to count - 1 by PyAV; frame n is shown at `ticks[n]` periods of the rate, which may be negative."""
    with av.open(str(path), "w", container_options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = stream.time_base = 1 / rate
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(count):
            picture = numbered(number, size) if pictures is None else pictures[number]
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number if ticks is None else ticks[number], 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
