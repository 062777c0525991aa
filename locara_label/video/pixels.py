"""Decoded frames to upright RGB; runs in the decoding process."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_UNTAGGED = 2
_BT709, _BT601 = 1, 5
_HD_LINES = 720


@dataclass(frozen=True, slots=True)
class Turn:
    """How stored pixels become upright: rows and columns swapped first, then either may run backwards."""

    swap: bool = False
    up: bool = False
    left: bool = False

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        turned = pixels.transpose(1, 0, 2) if self.swap else pixels
        return turned[:: -1 if self.up else 1, :: -1 if self.left else 1]

    def size(self, stored: tuple[int, int]) -> tuple[int, int]:
        """Height and width after the turn."""
        return (stored[1], stored[0]) if self.swap else stored


def turn_of(frame: Any) -> Turn:
    """What the display matrix of a frame asks for: the eight turns by right angles and mirrors; any other angle is ignored."""
    data = next((bytes(item) for item in frame.side_data if item.type.name == "DISPLAYMATRIX"), b"")
    if len(data) != 36:
        return Turn()
    a, b, _, c, d = struct.unpack("=5i", data[:20])
    if not (b or c) and a and d:
        return Turn(up=d < 0, left=a < 0)
    return Turn(swap=True, up=b < 0, left=c < 0) if not (a or d) and b and c else Turn()


def to_rgb(frame: Any, stored: tuple[int, int], turn: Turn, reformatter: Any) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3], a view that need not be contiguous.

    A frame of another size than `stored` (height, width) is scaled to it, as players do. Transparent pixels are laid over
    white. Where a file does not name its colour matrix it is BT.709 from 720 lines on and BT.601 below, as browsers take it.
    """
    if not any(part.is_alpha for part in frame.format.components):
        return turn.apply(_converted(frame, stored, "rgb24", reformatter))
    layers = _converted(frame, stored, "rgba", reformatter).astype(np.uint16)
    alpha = layers[:, :, 3:]
    laid = (layers[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return turn.apply(laid.astype(np.uint8))


def _converted(frame: Any, stored: tuple[int, int], kind: str, reformatter: Any) -> NDArray[np.uint8]:
    matrix = frame.colorspace
    if matrix == _UNTAGGED:
        matrix = _BT709 if stored[0] >= _HD_LINES else _BT601
    converted = reformatter.reformat(
        frame, stored[1], stored[0], kind, src_colorspace=matrix, src_color_range=frame.color_range, threads=1
    )
    array: NDArray[np.uint8] = converted.to_ndarray()
    return array
