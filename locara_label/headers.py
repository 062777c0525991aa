"""What a picture file says about itself, read from its header alone and without any decoder.

Size and orientation are known before a decoder sees the file, so limits hold whatever the decoder would do with it. Five
formats: JPEG (ITU T.81), PNG, WebP (RFC 9649), BMP and TIFF 6.0 with BigTIFF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from locara_label.errors import BadImage

_MAX_SEGMENTS = 20_000
_MAX_CHUNKS = 200_000
_MAX_STRIPS = 1 << 20
_MAX_EXIF_BYTES = 1 << 20
_NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FRAME_STARTS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_VALUE = {1: "B", 3: "H", 4: "L", 16: "Q"}
_BYTES_OF_TYPE = {1: 1, 2: 1, 6: 1, 7: 1, 3: 2, 8: 2, 4: 4, 9: 4, 11: 4, 13: 4, 5: 8, 10: 8, 12: 8, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's own description.

    Attributes:
        format: "JPEG", "PNG", "WEBP", "BMP" or "TIFF".
        width: columns in pixels as a viewer shows the picture, that is after its orientation is applied.
        height: rows in pixels, likewise.
        orientation: the EXIF orientation, 1 (as stored) to 8.
        run_length_coded: a BMP whose pixels are run-length coded.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    run_length_coded: bool = False

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height in pixels as they lie in the file."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment of a JPEG or a chunk of a PNG: its `kind` and where it lies, in bytes from the start of the file."""

    kind: bytes
    start: int
    body: int
    size: int

    @property
    def end(self) -> int:
        """Byte after the segment, its check sum not counted."""
        return self.body + self.size


def parse(stream: BinaryIO) -> Header:
    """The header of a seekable stream, whatever its file name says.

    Raises:
        BadImage: with code image.unknown_format, image.truncated, image.corrupt or image.empty.
    """
    start = _at(stream, 0, 16, short=True)
    if not start:
        raise BadImage("the file is empty", code="image.empty")
    for mark, reader in _READERS:
        if start.startswith(mark) and (mark != b"RIFF" or start[8:12] == b"WEBP"):
            return _sound(reader(stream))
    raise BadImage(_what_it_is(start), code="image.unknown_format")


def _sound(header: Header) -> Header:
    if header.width <= 0 or header.height <= 0:
        raise BadImage(f"a {header.format} of {header.width} x {header.height} pixels has no pixels", code="image.empty")
    return header


def _what_it_is(start: bytes) -> str:
    for mark, name in _STRANGERS:
        if mark in start:
            return f"this is {name}; pictures are read as JPEG, PNG, WebP, BMP or TIFF"
    return f"this is not a JPEG, PNG, WebP, BMP or TIFF picture, it starts with {start[:8]!r}"


def _at(stream: BinaryIO, offset: int, size: int, *, short: bool = False) -> bytes:
    stream.seek(offset)
    data = stream.read(size)
    if len(data) < size and not short:
        raise BadImage(f"the picture ends at byte {offset + len(data)}, within its header", code="image.truncated")
    return data


def _broken(what: str) -> BadImage:
    return BadImage(what, code="image.corrupt")


def _oriented(kind: str, size: tuple[int, int], orientation: int) -> Header:
    width, height = size
    return Header(kind, height, width, orientation) if orientation >= 5 else Header(kind, width, height, orientation)


def _jpeg(stream: BinaryIO) -> Header:
    size, orientation = None, 1
    for segment in jpeg_segments(stream):
        if segment.kind[0] in _FRAME_STARTS and size is None:
            height, width = struct.unpack(">HH", _at(stream, segment.body + 1, 4))
            size = width, height
        if is_exif(stream, segment):
            orientation = _exif_orientation(_at(stream, segment.body, min(segment.size, _MAX_EXIF_BYTES)))
    if size is None:
        raise _broken("a JPEG without a frame header")
    return _oriented("JPEG", size, orientation)


def is_exif(stream: BinaryIO, segment: Segment) -> bool:
    """Whether a JPEG segment holds EXIF data (APP1 also holds XMP)."""
    return segment.kind == b"\xe1" and _at(stream, segment.body, 6, short=True) == b"Exif\0\0"


def jpeg_segments(stream: BinaryIO) -> list[Segment]:
    """Marker segments up to and with the first start of scan (0xDA)."""
    found: list[Segment] = []
    offset = 2
    while not found or found[-1].kind != b"\xda":
        offset, marker = _next_marker(stream, offset)
        if marker in _NO_LENGTH:
            continue
        (size,) = struct.unpack(">H", _at(stream, offset, 2))
        if size < 2 or marker == 0xD9:
            raise _broken(f"a JPEG with a broken segment at byte {offset}")
        if len(found) == _MAX_SEGMENTS:
            raise _broken(f"a JPEG of more than {_MAX_SEGMENTS} segments before its picture")
        found.append(Segment(bytes([marker]), offset - 2, offset + 2, size - 2))
        offset += size
    return found


def _next_marker(stream: BinaryIO, offset: int) -> tuple[int, int]:
    """The byte after the next marker, and its code. Cameras pad and leave a little junk between segments; decoders skip it."""
    window = _at(stream, offset, 4096, short=True)
    at = 0
    while at + 1 < len(window):
        if window[at] == 0xFF and window[at + 1] not in (0x00, 0xFF):
            return offset + at + 2, window[at + 1]
        at += 1
    if len(window) < 4096:
        raise BadImage("the JPEG ends within its header", code="image.truncated")
    raise _broken(f"a JPEG without a marker after byte {offset}")


def _png(stream: BinaryIO) -> Header:
    orientation = 1
    chunks = png_chunks(stream, until=b"IDAT")
    if not chunks or chunks[0].kind != b"IHDR":
        raise _broken("a PNG that does not start with its header")
    width, height = struct.unpack(">LL", _at(stream, chunks[0].body, 8))
    for chunk in chunks:
        if chunk.kind == b"eXIf" and chunk.size <= _MAX_EXIF_BYTES:
            orientation = _exif_orientation(_at(stream, chunk.body, chunk.size, short=True))
    return _oriented("PNG", (width, height), orientation)


def png_chunks(stream: BinaryIO, until: bytes = b"IEND") -> list[Segment]:
    """Chunks up to and with the first of kind `until`, or up to where the file ends."""
    found: list[Segment] = []
    offset = 8
    while len(head := _at(stream, offset, 8, short=True)) == 8:
        size, kind = struct.unpack(">L4s", head)
        found.append(Segment(kind, offset, offset + 8, size))
        offset += size + 12
        if kind == until:
            break
        if len(found) > _MAX_CHUNKS:
            raise _broken(f"a PNG of more than {_MAX_CHUNKS} chunks")
    return found


def _webp(stream: BinaryIO) -> Header:
    kind, data = _at(stream, 12, 4), _at(stream, 20, 10)
    if kind == b"VP8X":
        width, height = 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
        return _oriented("WEBP", (width, height), _webp_orientation(stream) if data[0] & 8 else 1)
    if kind == b"VP8L" and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        return Header("WEBP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[6:10])
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF)
    raise _broken("a WebP without a picture in its first chunk")


def _webp_orientation(stream: BinaryIO) -> int:
    offset = 12
    for _ in range(_MAX_CHUNKS):
        head = _at(stream, offset, 8, short=True)
        if len(head) < 8:
            break
        kind, size = struct.unpack("<4sL", head)
        if kind == b"EXIF":
            return _exif_orientation(_at(stream, offset + 8, min(size, _MAX_EXIF_BYTES), short=True))
        offset += 8 + size + (size & 1)
    return 1


def _bmp(stream: BinaryIO) -> Header:
    (size,) = struct.unpack("<L", _at(stream, 14, 4))
    if size == 12:
        width, height = struct.unpack("<HH", _at(stream, 18, 4))
        return Header("BMP", width, height)
    width, height, _, _, compression = struct.unpack("<llHHL", _at(stream, 18, 16))
    return Header("BMP", width, abs(height), run_length_coded=compression in (1, 2))


def _tiff(stream: BinaryIO) -> Header:
    tags = _directory(stream)
    width, height = tags.get(256), tags.get(257)
    if width is None or height is None:
        raise _broken("a TIFF without a size")
    orientation = tags.get(274, 1)
    return _oriented("TIFF", (width, height), orientation if 1 <= orientation <= 8 else 1)


def _directory(stream: BinaryIO) -> dict[int, int]:
    """Whole-number tags of the first TIFF directory that hold one value."""
    order = "<" if _at(stream, 0, 2) == b"II" else ">"
    big = struct.unpack(order + "H", _at(stream, 2, 2))[0] == 43
    (offset,) = struct.unpack(order + ("Q" if big else "L"), _at(stream, *((8, 8) if big else (4, 4))))
    many, entry = ("Q", "HHQ8s") if big else ("H", "HHL4s")
    wide, step = struct.calcsize("<" + many), struct.calcsize("<" + entry)
    (total,) = struct.unpack(order + many, _tag_bytes(stream, offset, wide))
    if total > 0xFFFF:
        raise _broken(f"a TIFF directory of {total} tags")
    table = _tag_bytes(stream, offset + wide, total * step)
    found: dict[int, int] = {}
    for tag, kind, count, value in struct.iter_unpack(order + entry, table):
        if count > _MAX_STRIPS and _BYTES_OF_TYPE.get(kind, 1) > 1:
            raise _broken(f"a TIFF tag {tag} of {count} values")
        if count == 1 and kind in _VALUE and struct.calcsize("<" + _VALUE[kind]) <= len(value):
            found.setdefault(tag, struct.unpack_from(order + _VALUE[kind], value)[0])
    return found


def _tag_bytes(stream: BinaryIO, offset: int, size: int) -> bytes:
    if offset >= 1 << 63:
        raise _broken("a TIFF whose directory lies outside the file")
    return _at(stream, offset, size)


def _exif_orientation(data: bytes) -> int:
    """Orientation 1 to 8 out of an EXIF block; 1 where it has none, or none that makes sense."""
    tiff = data[6:] if data[:6] == b"Exif\0\0" else data
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        (offset,) = struct.unpack_from((order or "") + "L", tiff, 4) if order else (len(tiff),)
        (total,) = struct.unpack_from((order or "") + "H", tiff, offset)
        for entry in range(offset + 2, offset + 2 + 12 * total, 12):
            tag, kind, count, value = struct.unpack_from(f"{order}HHLH", tiff, entry)
            if (tag, kind, count) == (274, 3, 1):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


_READERS = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"II+\0", _tiff),
    (b"MM\0+", _tiff),
)

_STRANGERS = (
    (b"GIF8", "a GIF"),
    (b"ftyphei", "a HEIC picture"),
    (b"ftypmif", "a HEIF picture"),
    (b"ftypavif", "an AVIF picture"),
    (b"ftyp", "a video"),
    (b"jP  ", "a JPEG 2000 picture"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"<svg", "an SVG drawing"),
    (b"<", "HTML or XML, perhaps a login page"),
    (b"{", "JSON, perhaps an error message"),
)
