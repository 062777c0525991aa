"""What a picture file says of itself, and how a broken one is refused, without a decoder."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from fixtures.make_pictures import SIZE, exif, make_pictures, quarters
from locara_label import images
from locara_label.errors import BadImage
from tests.hostile.mutate import chunk, png

PICTURES = make_pictures()


def code(source: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        images.read(source)
    return caught.value.code


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_without_meaning_is_ignored(orientation: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(quarters()).save(buffer, "PNG", exif=exif(orientation))
    assert np.array_equal(images.read(buffer.getvalue()), quarters())
    buffer = io.BytesIO()
    Image.fromarray(quarters()).save(buffer, "TIFF", tiffinfo={274: orientation})
    assert np.array_equal(images.read(buffer.getvalue()), quarters())


@pytest.mark.parametrize(
    "block", [b"", b"II", b"XX*\0\0\0\0\x08", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0"]
)
def test_broken_exif_is_ignored(block: bytes) -> None:
    data = PICTURES["plain.png"]
    assert np.array_equal(images.read(data[:33] + chunk(b"eXIf", block) + data[33:]), quarters())


def test_exif_of_either_byte_order_is_read() -> None:
    block = b"MM\0*\0\0\0\x08\0\x02" + struct.pack(">HHLHH", 256, 3, 1, 5, 0) + struct.pack(">HHLHH", 274, 3, 1, 3, 0)
    data = PICTURES["plain.png"]
    turned = images.read(data[:33] + chunk(b"eXIf", block) + data[33:])
    assert np.array_equal(turned, quarters()[::-1, ::-1])


def test_xmp_in_a_jpeg_is_not_exif() -> None:
    data = PICTURES["plain.jpg"]
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'
    assert images.read(data[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + data[2:]).shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"GIF89a" + bytes(20), "GIF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypavif", "AVIF"),
        (b"\0\0\0\x18ftypmp42", "video"),
        (b"<!doctype html>", "login page"),
        (b"%PDF-1.7", "PDF"),
        (b"RIFF\0\0\0\0WAVEfmt ", "starts with"),
        (b"\x7fELF", "starts with"),
    ],
)
def test_a_stranger_is_named(data: bytes, word: str) -> None:
    with pytest.raises(BadImage, match=word) as caught:
        images.probe(data)
    assert caught.value.code == "image.unknown_format"


def jpeg_with(*, before: bytes = b"") -> bytes:
    return PICTURES["plain.jpg"][:2] + before + PICTURES["plain.jpg"][2:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "image.empty"),
        (png(0, 5), "image.empty"),
        (b"\xff\xd8\xff\xe0\0\x01", "image.corrupt"),
        (b"\xff\xd8\xff\xd9\0\x02", "image.corrupt"),
        (b"\xff\xd8\xff\xda\0\x02", "image.corrupt"),
        (b"\xff\xd8\xff" + bytes(9000), "image.corrupt"),
        (b"\xff\xd8\xff" + bytes(9), "image.truncated"),
        (b"\xff\xd8\xff\xe0", "image.truncated"),
        (jpeg_with(before=b"\xff\xfe\0\2" * 200_002), "image.corrupt"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b""), "image.corrupt"),
        (b"\x89PNG\r\n\x1a\n", "image.corrupt"),
        (png(1, 1, before=[chunk(b"tEXt", b"")] * 200_002), "image.corrupt"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(40), "image.corrupt"),
        (b"RIFF\0\0\0\0WEBP", "image.truncated"),
        (b"BM" + bytes(8), "image.truncated"),
        (b"II*\0\x08\0\0\0\0\0\0\0", "image.corrupt"),
        (b"II*\0\xff\xff\xff\x7f", "image.truncated"),
        (b"II+\0\x08\0\0\0" + b"\xff" * 8, "image.corrupt"),
        (b"MM\0+\0\x08\0\0" + struct.pack(">QQ", 16, 1 << 40), "image.corrupt"),
        (b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHLL", 273, 4, 1 << 24, 0), "image.corrupt"),
    ],
)
def test_a_broken_header(data: bytes, expected: str) -> None:
    assert code(data) == expected


def test_an_old_bitmap_header_is_read() -> None:
    body = bytes([10, 20, 30]) * 4 * 2
    data = struct.pack("<2sLHHL", b"BM", 26 + len(body), 0, 0, 26) + struct.pack("<LHHHH", 12, 4, 2, 1, 24) + body
    assert np.array_equal(images.read(data), np.full((2, 4, 3), (30, 20, 10), np.uint8))


def test_markers_without_length_and_padding_are_skipped() -> None:
    assert images.probe(jpeg_with(before=b"\xff\xff\xff\x01")).width == SIZE[1]


def test_an_animation_with_a_broken_end_still_has_a_header() -> None:
    head = b"VP8X" + struct.pack("<L", 10) + b"\x08\0\0\0" + bytes([9, 0, 0, 4, 0, 0])
    header = images.probe(b"RIFF\0\0\0\0WEBP" + head)
    assert (header.width, header.height, header.orientation) == (10, 5, 1)
    assert images.probe(b"RIFF\0\0\0\0WEBP" + head + (b"ABCD" + bytes(4)) * 200_001).orientation == 1
