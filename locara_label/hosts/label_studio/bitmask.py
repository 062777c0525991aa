"""Label Studio's bitmask: a PNG as data URL, of which only the alpha channel counts."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from locara_label import images
from locara_label.errors import BadImage, BadMask
from locara_label.rle import row_major
from locara_label.types import Mask

Size = tuple[int, int]
"""Height and width in pixels."""

_PREFIX = "data:image/png;base64,"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_CHARACTERS = 90 << 20
_LEVEL = 2
"""Of compression, since a click waits: a ragged mask of 2 megapixels takes 6 ms and 122 kB; at level 6, 31 ms and 112 kB."""


def encode(mask: Mask) -> str:
    """The data URL of a PNG with one bit per pixel: 0 is transparent black, 1 opaque white. The same mask gives the same text.

    Raises:
        BadMask: code `mask.size`; the mask has no pixels.
    """
    height, width = mask.size
    if not height * width:
        raise BadMask(f"a bitmask of {height} x {width} pixels cannot be written", code="mask.size")
    return _PREFIX + base64.b64encode(_png(mask.to_array())).decode("ascii")


def _png(mask: NDArray[np.bool_]) -> bytes:
    height, width = mask.shape
    packed = np.packbits(row_major(mask), axis=1)  # ten times as fast as on columns
    rows = np.concatenate([np.zeros((height, 1), np.uint8), packed], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    pixels = zlib.compress(rows.tobytes(), _LEVEL)
    chunks = (b"IHDR", header), (b"PLTE", b"\0\0\0\xff\xff\xff"), (b"tRNS", b"\0"), (b"IDAT", pixels)
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in (*chunks, (b"IEND", b"")))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def decode(url: str, size: Size) -> Mask:
    """The mask that Label Studio draws: every pixel whose alpha is above 0.

    Raises:
        BadMask: code `mask.png`; not a data URL, not a PNG, damaged, or of another size.
    """
    return Mask.from_array(decode_alpha(url, size) > 0)


def decode_alpha(url: str, size: Size) -> NDArray[np.uint8]:
    """Alpha, uint8 [H, W]; errors as in `decode`."""
    if not isinstance(url, str) or not url.startswith(_PREFIX) or len(url) > _MAX_CHARACTERS:
        raise BadMask(f"a bitmask is a data URL that starts with {_PREFIX!r}", code="mask.png")
    try:
        data = base64.b64decode(url[len(_PREFIX) :], validate=True)
        header = images.probe(data)
        if header.format != "PNG" or (header.height, header.width) != tuple(size):
            raise BadMask(f"a {header.format} of {header.height} x {header.width} is no bitmask of {size}", code="mask.png")
        return images.read_alpha(data)
    except (binascii.Error, BadImage) as error:
        raise BadMask(f"the bitmask cannot be read: {error}", code="mask.png") from error
