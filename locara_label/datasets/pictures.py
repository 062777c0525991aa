"""Label PNGs read value by value, and the files that a data set names.

`images.read` gives what people see, in 8 bit RGB; label maps need the stored numbers, all 16 bits of them.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadDataset, BadImage
from locara_label.rle import Size

MAX_PIXELS = 89_000_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2
_KINDS = {(8, _GREY), (16, _GREY), (8, _RGB)}
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error)


def read_png(path: Path, size: Size | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The stored values of a PNG: [H, W] uint8 or uint16, or [H, W, 3] RGB uint8.

    The header is compared before anything is decoded, so that a small file cannot unfold into a huge array: at most
    `MAX_PIXELS` and, when `size` (height, width) is given, exactly that size.

    Raises:
        BadImage: `image.bad`, `image.size` or `image.kind` (palette, alpha, odd bit depth).
    """
    from PIL import Image

    try:
        _check_header(path, size)
        with Image.open(path, formats=("PNG",)) as picture:
            pixels = np.asarray(picture)
    except BadImage:
        raise
    except _DECODER_ERRORS as error:
        raise BadImage(f"{path.name} cannot be decoded: {type(error).__name__}") from error
    return pixels.astype(np.uint16) if pixels.dtype != np.uint8 else pixels


def _check_header(path: Path, size: Size | None) -> None:
    with path.open("rb") as file:
        head = file.read(26)
    if not head.startswith(_SIGNATURE):
        raise BadImage(f"{path.name} is not a PNG")
    width, height, depth, color = struct.unpack_from(">IIBB", head, 16)
    if (depth, color) not in _KINDS:
        raise BadImage(f"{path.name} has {depth} bits of color type {color}, not 8 or 16 bit grey or RGB", code="image.kind")
    if width * height > MAX_PIXELS or (size is not None and (height, width) != size):
        wanted = f"{size[1]} x {size[0]}" if size else f"at most {MAX_PIXELS} pixels"
        raise BadImage(f"{path.name} is {width} x {height}, wanted {wanted}", code="image.size")


def inside(root: Path, name: str) -> Path:
    """The file that a data set names, below its folder.

    Raises:
        BadDataset: `path.outside` when the name leads out of the folder, `path.missing` when there is no such file.
    """
    within, found = True, False
    try:
        folder = root.resolve()
        path = (folder / name).resolve()
        within, found = path.is_relative_to(folder), path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL or half a surrogate pair in it, links in a circle
        path = root
    if not within:
        raise BadDataset(f"file name {name!r:.120} leads out of the folder", code="path.outside")
    if not found:
        raise BadDataset(f"there is no file {name!r:.120}", code="path.missing")
    return path
