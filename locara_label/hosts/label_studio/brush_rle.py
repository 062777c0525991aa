"""The run lengths of Label Studio's brush: the "rle-pack" of thi.ng over the flat RGBA bytes of a picture, row by row.

A bit stream, highest bit first: 32 bits number of values, 5 bits value size - 1, four times 4 bits run size - 1. Then groups:
1 bit "a run" (else: literals), 2 bits which run size, that many bits length - 1, and one value (literals: as many as the length).
Source of the format: packages/rle-pack of thi.ng/umbrella.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadMask
from locara_label.rle import row_major
from locara_label.types import Mask

Size = tuple[int, int]
"""Height and width in pixels."""

MAX_PIXELS = 89_000_000
_RUN_BITS = (3, 4, 8, 16)
_HEADER_BITS = 32 + 5 + 4 * 4
_LONGEST = 1 << 16
_MAX_BYTES_PER_PIXEL = 8
"""Four literals in a group of their own each take 46 bits; whoever needs more repeats himself."""


def encode(mask: Mask) -> bytes:
    """The mask as RGBA, 255 or 0 in all four channels, equal to what `label_studio_sdk` writes but for its spare zero byte.

    Raises:
        BadMask: code `mask.size`; the mask has no pixels or more than 32 bits can count.
    """
    height, width = mask.size
    if not 0 < height * width <= MAX_PIXELS:
        raise BadMask(f"a brush mask of {height} x {width} pixels cannot be written", code="mask.size")
    flat = row_major(mask.to_array()).reshape(-1)
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = 4 * np.diff(np.append(starts, flat.size))
    pieces = -(-lengths // _LONGEST)
    values = np.repeat(np.where(flat[starts], 255, 0), pieces)
    return _packed(4 * flat.size, _pieces(lengths, pieces), values)


def _pieces(lengths: NDArray[np.int64], pieces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs cut into pieces that 16 bits can count; the last piece of each run holds the rest."""
    cut = np.full(int(pieces.sum()), _LONGEST, np.int64)
    cut[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST
    return cut


def _packed(count: int, lengths: NDArray[np.int64], values: NDArray[np.int64]) -> bytes:
    kind = np.searchsorted([1 << bits for bits in _RUN_BITS], lengths)
    bits = np.asarray(_RUN_BITS)[kind]
    words = (((0b100 | kind) << bits | (lengths - 1)) << 8) | values
    sizes = bits + 11
    ends = _HEADER_BITS + np.cumsum(sizes)
    starts = ends - sizes
    return _joined(np.append(words, _header(count)), np.append(starts, (0, 32)), np.append(sizes, (32, 21)), int(ends[-1]))


def _header(count: int) -> tuple[int, int]:
    sizes = sum((bits - 1) << (12 - 4 * place) for place, bits in enumerate(_RUN_BITS))
    return count, 7 << 16 | sizes


def _joined(words: NDArray[np.int64], starts: NDArray[np.int64], sizes: NDArray[np.int64], total: int) -> bytes:
    """Words of at most 32 bits, each at its bit of a stream. Words never overlap, so that sums (exact below 2^53) join them."""
    aligned = words.astype(np.uint64) << (64 - (starts & 31) - sizes).astype(np.uint64)
    first, cells = starts >> 5, (total >> 5) + 2
    high = np.bincount(first, (aligned >> np.uint64(32)).astype(np.float64), cells)
    low = np.bincount(first + 1, (aligned & np.uint64(0xFFFFFFFF)).astype(np.float64), cells)
    return (high + low).astype(">u4").tobytes()[: -(-total // 8)]


def decode(rle: Sequence[int] | bytes, size: Size) -> Mask:
    """The mask that Label Studio draws: every pixel whose alpha is above 0, thus anti-aliased edges of the brush count.

    Raises:
        BadMask: see `decode_alpha`.
    """
    return Mask.from_array(decode_alpha(rle, size) > 0)


def decode_alpha(rle: Sequence[int] | bytes, size: Size) -> NDArray[np.uint8]:
    """Alpha, uint8 [H, W]. Takes memory for the data and the picture of the expected size only, whatever the data says.

    Raises:
        BadMask: code `mask.rle`; not bytes, cut off, not 8 bits a value, not 4 x H x W values; or `mask.size`.
    """
    height, width = size
    values, ends = _runs(_bytes(rle, size), 4 * height * width)
    # Every fourth value is an alpha; the runs that hold none vanish.
    alphas = np.diff(ends // 4, prepend=0)
    return np.repeat(values, alphas).reshape(size)


def decode_values(rle: Sequence[int] | bytes, size: Size) -> NDArray[np.uint8]:
    """All channels, uint8 [H, W, 4]; errors as in `decode_alpha`."""
    values, ends = _runs(_bytes(rle, size), 4 * size[0] * size[1])
    return np.repeat(values, np.diff(ends, prepend=0)).reshape(*size, 4)


def _bytes(rle: Sequence[int] | bytes, size: Size) -> bytes:
    height, width = size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise BadMask(f"a brush mask of {height} x {width} pixels cannot be read", code="mask.size")
    most = 64 + _MAX_BYTES_PER_PIXEL * height * width
    if not isinstance(rle, (bytes, list, tuple)) or not _HEADER_BITS // 8 < len(rle) <= most:
        raise BadMask(f"the rle of {height} x {width} pixels is not a list of 7 to {most} bytes", code="mask.rle")
    try:
        return rle if isinstance(rle, bytes) else bytes(rle)
    except (TypeError, ValueError) as error:
        raise BadMask("an rle is a list of whole numbers from 0 to 255", code="mask.rle") from error


def _runs(data: bytes, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Values, and where the run of each ends."""
    kinds = _kinds(data, count)
    values, ends = bytearray(), array("q")
    position, place, bits = 0, _HEADER_BITS, 8 * len(data)
    padded = data + bytes(8)
    while position < count:
        at = place >> 3
        # A group that is a run fits 27 bits; 7 more may lie before it.
        window = int.from_bytes(padded[at : at + 5], "big") << (place & 7)
        shift, mask, taken = kinds[window >> 37 & 3]
        length = (window >> shift & mask) + 1
        stop = position + length
        is_run = window >> 39 & 1
        place += taken if is_run else taken - 8 + 8 * length
        if stop > count or place > bits:
            raise BadMask(f"the rle is cut off or too long at value {position} of {count}", code="mask.rle")
        if is_run:
            values.append(window >> (shift - 8) & 0xFF)
            ends.append(stop)
        else:
            values += _literals(padded, place - 8 * length, length)
            ends.extend(range(position + 1, stop + 1))
        position = stop
    return np.frombuffer(values, np.uint8), np.frombuffer(ends, np.int64)


def _kinds(data: bytes, count: int) -> list[tuple[int, int, int]]:
    """For each kind of run, within a window of 40 bits: how far right its length lies, the length's mask, and bits in all."""
    header = int.from_bytes(data[:7], "big") >> 3
    stated, value_bits = header >> 21, (header >> 16 & 0x1F) + 1
    if stated != count or value_bits != 8:
        raise BadMask(f"the rle has {stated} values of {value_bits} bits, the picture {count} of 8", code="mask.rle")
    sizes = [(header >> (12 - 4 * place) & 0xF) + 1 for place in range(4)]
    return [(37 - size, (1 << size) - 1, size + 11) for size in sizes]


def _literals(padded: bytes, place: int, length: int) -> bytes:
    block = int.from_bytes(padded[place >> 3 : (place >> 3) + length + 1], "big")
    return (block >> (8 - (place & 7)) & (1 << 8 * length) - 1).to_bytes(length, "big")
