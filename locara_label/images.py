"""Picture files to pixels and back (with headers.py the only reader of them; the only home of Pillow's decoders).

One decoder for all formats. OpenCV decodes JPEG to the same pixels in three quarters of the time (60 against 81 ms for 12
megapixels), but gives no reason when it fails and would be a second decoder to keep safe.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from locara_label import headers
from locara_label.atomic import atomic_file
from locara_label.errors import BadImage, BadOption
from locara_label.headers import Header

if TYPE_CHECKING:
    from PIL.Image import Image

Source = bytes | Path | str

_BAND_PIXELS = 1 << 19
_MAX_SIDE = 1_000_000
_MAX_SCANS = 1000
_MAX_SCANNED_PIXELS = 1_500_000_000
_MAX_WEBP_PIXELS = 80_000_000
"""Its decoder holds four copies."""
_MAX_RLE_PIXELS = 1 << 24
_MAX_RLE_BYTES = 4 << 20
_JPEG_KEPT = {b"\xe0", b"\xee"}
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}
_PLAIN = {"RGB", "L", "1", "P", "CMYK", "YCbCr", "LAB", "RGBX"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may cost.

    Attributes:
        max_bytes: size of the file.
        max_pixels: width times height; either may be up to a million. Pillow has a ceiling of its own at 178,956,970.
    """

    max_bytes: int = 64 << 20
    max_pixels: int = 89_000_000


DEFAULT_LIMITS = Limits()


def probe(source: Source, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Format, size and orientation from the header alone; the pixels may still turn out damaged.

    Raises:
        BadImage: see `read`.
    """
    with _opened(source, limits) as stream, _coded():
        return _within(headers.parse(stream), limits)


def read(source: Source, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3], C-contiguous, upright: what a browser shows of a JPEG, PNG, WebP, BMP or TIFF.

    Transparent pixels are laid over white, so that the model sees what the annotator sees and never the colour that happens
    to lie under full transparency. 16-bit values lose their low byte. The first frame or page counts. Colour profiles are
    not applied, as in the published models' preprocessing. EXIF orientation is applied once; XMP orientation is not.

    Args:
        source: the file's bytes, or its path (a regular file; links are followed).
        limits: checked before a pixel is decoded.

    Raises:
        BadImage: with code image.missing, image.unreadable (no permission, not a regular file), image.too_large (bytes),
            image.too_many_pixels, image.empty, image.unknown_format, image.unsupported (float, 32-bit integer),
            image.truncated, image.corrupt or image.no_memory.
    """
    with _opened(source, limits) as stream, _coded():
        header = _within(headers.parse(stream), limits)
        stored = _stored_pixels(_essentials(stream, header, limits), header)
        # Pillow turns TIFFs upright by itself.
        return stored if header.format == "TIFF" else _upright(stored, header.orientation)


def read_alpha(source: Source, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Alpha uint8 [H, W] of a PNG, 255 everywhere if it has none. Such files carry masks, so nothing is turned upright.

    Raises:
        BadImage: see `read`; `image.unsupported` for any other format.
    """
    from PIL import Image

    with _opened(source, limits) as stream, _coded():
        header = _within(headers.parse(stream), limits)
        if header.format != "PNG":
            raise BadImage(f"alpha is read from a PNG, this is {header.format}", code="image.unsupported")
        with Image.open(io.BytesIO(_essentials(stream, header, limits)), formats=("PNG",)) as image:
            return np.asarray(image.convert("RGBA").getchannel("A"))


@contextmanager
def _opened(source: Source, limits: Limits) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        _check_bytes(len(source), limits)
        yield io.BytesIO(source)
        return
    with _open_file(source) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BadImage(f"{source} is not a regular file", code="image.unreadable")
        _check_bytes(status.st_size, limits)
        yield stream


def _open_file(path: Path | str) -> BinaryIO:
    # Opening a FIFO would otherwise wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.fdopen(os.open(path, flags), "rb")
    except (OSError, ValueError) as error:
        missing = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise BadImage(
            f"{str(path)!r} cannot be opened: {reason}", code="image.missing" if missing else "image.unreadable"
        ) from error


def _check_bytes(size: int, limits: Limits) -> None:
    if size > limits.max_bytes:
        raise BadImage(f"the picture has {size} bytes, the limit is {limits.max_bytes}", code="image.too_large")


def _within(header: Header, limits: Limits) -> Header:
    pixels = header.width * header.height
    if pixels > limits.max_pixels or max(header.width, header.height) > _MAX_SIDE:
        raise BadImage(
            f"the picture has {header.width} x {header.height} = {pixels} pixels, the limit is {limits.max_pixels} "
            f"and {_MAX_SIDE} a side",
            code="image.too_many_pixels",
        )
    return header


@contextmanager
def _coded() -> Iterator[None]:
    """Whatever a decoder raises leaves as a BadImage."""
    try:
        yield
    except BadImage:
        raise
    except MemoryError as error:
        raise BadImage("not enough memory to decode the picture", code="image.no_memory") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        cut_off = isinstance(error, EOFError) or "truncated" in reason.lower()
        raise BadImage(
            f"the picture cannot be decoded: {reason[:200]}", code="image.truncated" if cut_off else "image.corrupt"
        ) from error


def _essentials(stream: BinaryIO, header: Header, limits: Limits) -> bytes:
    """The file without its metadata: no decoder parses EXIF, XMP, profiles, texts or thumbnails, hostile or not."""
    stream.seek(0)
    data = stream.read(limits.max_bytes + 1)
    _check_bytes(len(data), limits)
    if header.format == "JPEG":
        return _bare_jpeg(data, header.width * header.height)
    if header.format == "PNG":
        return _bare_png(data)
    if header.format == "WEBP" and header.width * header.height > _MAX_WEBP_PIXELS:
        raise BadImage("a WebP of this size takes too much memory to decode", code="image.too_many_pixels")
    if header.run_length_coded and (header.width * header.height > _MAX_RLE_PIXELS or len(data) > _MAX_RLE_BYTES):
        raise BadImage("a run-length coded BMP of this size takes too long to decode", code="image.too_many_pixels")
    return data


def _bare_jpeg(data: bytes, pixels: int) -> bytes:
    segments = headers.jpeg_segments(io.BytesIO(data))
    picture = segments[-1].start
    # Each scan of a few bytes makes the decoder pass over all pixels; encoders write about ten.
    scans = data.count(b"\xff\xda", picture)
    if scans > min(_MAX_SCANS, _MAX_SCANNED_PIXELS // pixels):
        raise BadImage(f"a JPEG of {scans} scans takes too long to decode", code="image.corrupt")
    kept = [data[s.start : s.end] for s in segments[:-1] if s.kind in _JPEG_KEPT or not _is_comment(s.kind)]
    return b"".join([data[:2], *kept, data[picture:]])


def _is_comment(kind: bytes) -> bool:
    return kind == b"\xfe" or 0xE0 <= kind[0] <= 0xEF


def _bare_png(data: bytes) -> bytes:
    view = memoryview(data)
    chunks = headers.png_chunks(io.BytesIO(data))
    return b"".join([view[:8], *(view[c.start : c.end + 4] for c in chunks if c.kind in _PNG_KEPT)])


@cache
def _quiet() -> None:
    """Pillow warns of every wrong tag of a TIFF, of which a file may have 65,535: nobody's log should fill with them."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def _stored_pixels(data: bytes, header: Header) -> NDArray[np.uint8]:
    from PIL import Image

    _quiet()

    with Image.open(io.BytesIO(data), formats=(header.format,)) as image:
        expected = (header.width, header.height) if header.format == "TIFF" else header.stored_size
        if image.size != expected:
            raise BadImage(f"the picture says {expected} and {image.size} of its own size", code="image.corrupt")
        white_is_zero = _white_is_zero(image)
        shift = _bits_to_drop(image)
        image.load()
        return _to_rgb(image, shift, white_is_zero=white_is_zero)


def _bits_to_drop(image: Image) -> int:
    if not image.mode.startswith("I;16"):
        return 0
    tiles = getattr(image, "tile", [])
    return 4 if tiles and "I;12" in str(tiles[0].args) else 8


def _white_is_zero(image: Image) -> bool:
    """Pillow inverts such TIFFs itself up to 8 bits, but not at 16."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith("I;16") and tags.get(262) == 0


def _to_rgb(image: Image, shift: int, *, white_is_zero: bool) -> NDArray[np.uint8]:
    """Band by band, so that a conversion never holds a second whole picture."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        target = pixels[top : top + rows]
        if shift:
            target[:] = _high_byte(band, shift, white_is_zero=white_is_zero)[:, :, None]
        else:
            target[:] = np.asarray(_opaque(band))
    return pixels


def _high_byte(band: Image, shift: int, *, white_is_zero: bool) -> NDArray[np.uint8]:
    high: NDArray[np.uint8] = (np.asarray(band) >> shift).astype(np.uint8)
    return ~high if white_is_zero else high


def _opaque(band: Image) -> Image:
    from PIL import Image

    if band.mode in _ALPHA or (band.mode in _PLAIN and "transparency" in band.info):
        coloured = band.convert("RGBA")
        paper = Image.new("RGB", band.size, "white")
        paper.paste(coloured, mask=coloured.getchannel("A"))
        return paper
    if band.mode not in _PLAIN:
        raise BadImage(
            f"pixels of kind {band.mode} have no fixed range; save the picture with 8 or 16 bits", code="image.unsupported"
        )
    return band if band.mode == "RGB" else band.convert("RGB")


def _upright(stored: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation == 1:
        return stored
    turned = stored.transpose(1, 0, 2) if orientation >= 5 else stored
    down, right = _FLIPPED[orientation]
    return np.ascontiguousarray(turned[:: -1 if down else 1, :: -1 if right else 1])


_FLIPPED = {
    2: (False, True),
    3: (True, True),
    4: (True, False),
    5: (False, False),
    6: (False, True),
    7: (True, True),
    8: (True, False),
}
"""After rows and columns of 5 to 8 are swapped: whether rows, and columns, run backwards."""


def encode_png(
    array: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_],
    palette: NDArray[np.uint8] | None = None,
    opacities: NDArray[np.uint8] | None = None,
) -> bytes:
    """A PNG file of these pixels, lossless.

    Args:
        array: uint8 [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA; uint16 [H, W] grey; bool [H, W], written as 0 and 255.
        palette: uint8 [N, 3] colours, N <= 256, for a uint8 [H, W] of indices.
        opacities: uint8 [N] of the palette's colours; None for opaque ones.

    Raises:
        BadOption: the array is none of these or has no pixels.
    """
    from PIL import Image

    _check_encodable(array, palette)
    pixels = array.astype(np.uint8) * np.uint8(255) if array.dtype == np.bool_ else array
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        image.putpalette(palette.tobytes())
    clear = {} if palette is None or opacities is None else {"transparency": opacities.tobytes()}
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4, **clear)
    return buffer.getvalue()


def encode_jpeg(array: NDArray[np.uint8], quality: int = 85) -> bytes:
    """A JPEG file of RGB uint8 [H, W, 3], to look at: it is not exact.

    Raises:
        BadOption: the array is something else or has no pixels.
    """
    from PIL import Image

    if array.ndim != 3 or array.shape[-1] != 3:
        raise BadOption(f"a JPEG cannot hold {array.dtype} {array.shape}", code="option.array")
    _check_encodable(array, None)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _check_encodable(array: NDArray[np.generic], palette: NDArray[np.uint8] | None) -> None:
    grey = array.ndim == 2 and array.dtype in (np.bool_, np.uint8, np.uint16)
    colour = array.ndim == 3 and array.shape[-1] in (3, 4) and array.dtype == np.uint8
    if array.size == 0 or not (grey or colour):
        raise BadOption(f"a PNG cannot hold {array.dtype} {array.shape}", code="option.array")
    if palette is None:
        return
    fits = palette.dtype == np.uint8 and palette.ndim == 2 and palette.shape[1] == 3 and 1 <= len(palette) <= 256
    if not fits or array.dtype != np.uint8 or array.ndim != 2 or int(array.max()) >= len(palette):
        raise BadOption("a palette is uint8 [N <= 256, 3] and every index of the array lies in it", code="option.array")


def write_png(
    path: Path | str,
    array: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_],
    palette: NDArray[np.uint8] | None = None,
) -> None:
    """`encode_png` to a file that appears whole or not at all.

    Raises:
        BadOption: see `encode_png`.
        OSError: the folder is missing, full or not writable.
    """
    data = encode_png(array, palette)
    # Synced one by one, though a batch could make them again: a data set's JSON must not survive the PNGs that it names.
    with atomic_file(Path(path)) as file:
        file.write(data)
