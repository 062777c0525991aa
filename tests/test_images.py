"""Every kind of picture gives the pixels that a viewer shows; everything else is a coded refusal."""

import errno
import io
import os
import random
import struct
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fixtures.make_pictures import SIZE, main, make_pictures, oriented, quarters, ramp, tiff
from locara_label import headers, images
from locara_label.errors import BadImage, BadOption
from locara_label.images import Limits
from tests.hostile.mutate import png

PICTURES = make_pictures()
COLOUR = [
    "plain.jpg",
    "progressive.jpg",
    "cmyk.jpg",
    "plain.png",
    "palette.png",
    "lossless.webp",
    "animated.webp",
    "plain.bmp",
    "rle.bmp",
    *(f"{name}.tiff" for name in ("plain", "lzw", "deflate", "packbits", "jpeg", "pages", "cmyk", "palette", "tiled")),
]
GREY16 = ["grey16.png", *(f"{name}.tiff" for name in ("grey16", "grey16_big_endian", "grey16_white_is_zero", "grey12"))]


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


def code(source: bytes | Path | str, limits: Limits = images.DEFAULT_LIMITS) -> str:
    with pytest.raises(BadImage) as caught:
        images.read(source, limits)
    return caught.value.code


def grey_as_rgb(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[:, :, None], 3, axis=2)


@pytest.mark.parametrize("name", COLOUR)
def test_colours_are_kept_in_red_green_blue_order(name: str) -> None:
    pixels = images.read(PICTURES[name])
    assert difference(pixels, quarters()) <= 1
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


def test_lossy_webp_is_close() -> None:
    assert np.abs(images.read(PICTURES["lossy.webp"]).astype(int) - quarters()).mean() < 6


@pytest.mark.parametrize("name", PICTURES)
def test_probe_agrees_with_the_pixels(name: str) -> None:
    header = images.probe(PICTURES[name])
    assert (header.width, header.height) == (SIZE[1], SIZE[0])
    kind = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF"}[name.rpartition(".")[2]]
    assert header.format == kind
    if name != "float.tiff":
        assert images.read(PICTURES[name]).shape == (header.height, header.width, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_exactly_once(kind: str, orientation: int) -> None:
    data = oriented(kind, orientation)
    assert difference(images.read(data), quarters()) <= 1
    header = images.probe(data)
    assert header.orientation == orientation
    assert header.stored_size == (SIZE[::-1] if orientation < 5 else SIZE)


@pytest.mark.parametrize("name", GREY16)
def test_16_bits_lose_their_low_byte(name: str) -> None:
    assert np.array_equal(images.read(PICTURES[name]), grey_as_rgb((ramp() >> 8).astype(np.uint8)))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_colours_lose_their_low_byte(suffix: str) -> None:
    deep = np.random.default_rng(0).integers(0, 1 << 16, (9, 7, 3), dtype=np.uint16)
    data = cv2.imencode(suffix, deep[:, :, ::-1])[1].tobytes()
    assert np.array_equal(images.read(data), (deep >> 8).astype(np.uint8))


def test_8_bit_grey_is_repeated() -> None:
    assert np.array_equal(images.read(PICTURES["bigtiff.tiff"]), grey_as_rgb(ramp(dtype=np.uint8)))
    grey = np.asarray(Image.fromarray(quarters()).convert("L"))
    assert np.array_equal(images.read(PICTURES["grey.png"]), grey_as_rgb(grey))
    assert difference(images.read(PICTURES["grey.jpg"]), grey_as_rgb(grey)) <= 1


@pytest.mark.parametrize("name", ["one_bit.png", "fax.tiff"])
def test_one_bit_is_black_and_white(name: str) -> None:
    expected = np.asarray(Image.fromarray(quarters()).convert("1", dither=Image.Dither.NONE))
    assert np.array_equal(images.read(PICTURES[name]), grey_as_rgb(expected.astype(np.uint8) * 255))


@pytest.mark.parametrize("name", ["alpha.png", "alpha.webp", "alpha.tiff", "grey_alpha.png"])
def test_transparent_pixels_are_white(name: str) -> None:
    pixels = images.read(PICTURES[name])
    assert (pixels[:, SIZE[1] // 2 :] == 255).all()
    assert (pixels[:, : SIZE[1] // 2] < 255).any(axis=2).all()


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    half = np.full((1, 1, 4), (100, 0, 200, 128), np.uint8)
    assert difference(images.read(images.encode_png(half)), np.array([[[177, 127, 227]]], np.uint8)) <= 1


def test_transparent_palette_entries_and_colour_keys_are_white() -> None:
    assert (images.read(PICTURES["palette_transparent.png"]) == 255).all(axis=2).sum() == 2 * SIZE[0] * SIZE[1] // 4
    assert (images.read(PICTURES["colour_key.png"])[-1, 0] == 255).all()


def test_a_lab_tiff_is_read() -> None:
    assert difference(images.read(PICTURES["lab.tiff"]), np.full((*SIZE, 3), 119, np.uint8)) <= 1


def test_pixels_without_a_fixed_range_are_refused() -> None:
    assert code(PICTURES["float.tiff"]) == "image.unsupported"
    assert code(tiff(ramp().astype("<u4").tobytes(), SIZE, 32)) == "image.unsupported"


def test_pictures_larger_than_a_band_are_whole() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1500, 1003, 3), dtype=np.uint8)
    assert np.array_equal(images.read(images.encode_png(noise)), noise)


def test_paths_and_text_are_read_whatever_the_suffix(tmp_path: Path) -> None:
    file = tmp_path / "picture.txt"
    file.write_bytes(PICTURES["plain.png"])
    link = tmp_path / "link.jpg"
    link.symlink_to(file)
    for source in (file, str(file), link):
        assert np.array_equal(images.read(source), quarters())
        assert images.probe(source).format == "PNG"


@pytest.mark.parametrize("name", ["absent.png", "absent/absent.png", "plain.png/inside.png"])
def test_a_missing_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "plain.png").write_bytes(PICTURES["plain.png"])
    assert code(tmp_path / name) == "image.missing"


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_an_impossible_path(name: str) -> None:
    assert code(name) == "image.unreadable"


def test_what_is_no_regular_file_is_unreadable_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    answers: list[str] = []
    sources = [tmp_path, tmp_path / "pipe.png", Path("/dev/zero")]
    thread = threading.Thread(target=lambda: answers.extend(code(source) for source in sources), daemon=True)
    thread.start()
    thread.join(10)
    assert answers == ["image.unreadable"] * 3


def test_a_file_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(images.os, "open", refuses)
    with pytest.raises(BadImage, match=r"'secret\.png' cannot be opened: Permission denied") as caught:
        images.read("secret.png")
    assert caught.value.code == "image.unreadable"


def test_a_webp_takes_more_memory_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "WEBP")
    monkeypatch.setattr(images, "_MAX_WEBP_PIXELS", 1200)
    assert images.read(buffer.getvalue()).shape == (30, 40, 3)
    monkeypatch.setattr(images, "_MAX_WEBP_PIXELS", 1199)
    assert code(buffer.getvalue()) == "image.too_many_pixels"


def test_limits_are_exact(tmp_path: Path) -> None:
    data = PICTURES["plain.png"]
    file = tmp_path / "plain.png"
    file.write_bytes(data)
    fits = Limits(max_bytes=len(data), max_pixels=SIZE[0] * SIZE[1])
    for source in (data, file):
        assert np.array_equal(images.read(source, fits), quarters())
        assert code(source, Limits(max_bytes=len(data) - 1)) == "image.too_large"
        assert code(source, Limits(max_pixels=SIZE[0] * SIZE[1] - 1)) == "image.too_many_pixels"
        with pytest.raises(BadImage, match="limit is 7"):
            images.probe(source, Limits(max_bytes=7))


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plain.png"
    file.write_bytes(PICTURES["plain.png"] + bytes(100))
    real, calls = images._check_bytes, []

    def late(size: int, limits: Limits) -> None:
        calls.append(size)
        if len(calls) > 1:
            real(size, limits)

    monkeypatch.setattr(images, "_check_bytes", late)
    assert code(file, Limits(max_bytes=150)) == "image.too_large"
    assert calls[1] == 151


def test_no_pixel_is_decoded_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_stored_pixels", pytest.fail)
    assert code(png(20000, 20000)) == "image.too_many_pixels"
    assert code(png(1_000_001, 1)) == "image.too_many_pixels"


def test_limits_hold_whatever_the_header_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "parse", lambda _: headers.Header("PNG", 5, 5))
    assert code(PICTURES["plain.png"]) == "image.corrupt"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), "image.no_memory"),
        (SyntaxError("broken"), "image.corrupt"),
        (struct.error("short"), "image.corrupt"),
        (ZeroDivisionError(), "image.corrupt"),
        (RecursionError(), "image.corrupt"),
        (Image.DecompressionBombError("bomb"), "image.corrupt"),
        (Image.DecompressionBombWarning("bomb"), "image.corrupt"),
        (UserWarning("odd"), "image.corrupt"),
        (OSError("image file is truncated (3 bytes not processed)"), "image.truncated"),
        (EOFError(), "image.truncated"),
    ],
)
def test_whatever_a_decoder_raises_is_a_bad_image(error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(BadImage) as caught:
        images.read(PICTURES["plain.png"])
    assert caught.value.code == expected
    assert caught.value.__cause__ is error


def test_an_interrupt_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        images.read(PICTURES["plain.png"])


@pytest.mark.parametrize("name", ["plain.jpg", "progressive.jpg", "plain.png", "lossless.webp", "plain.bmp", "plain.tiff"])
def test_a_picture_cut_anywhere_is_refused_or_whole(name: str) -> None:
    data = PICTURES[name]
    for end in range(0, len(data) - 2, max(1, len(data) // 64)):
        try:
            pixels = images.read(data[:end])
        except BadImage as error:
            assert error.code in {"image.truncated", "image.corrupt", "image.empty", "image.unknown_format"}  # noqa: PT017
        else:
            assert difference(pixels, quarters()) <= 1, end


def test_half_a_jpeg_is_truncated() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    assert code(buffer.getvalue()[: len(buffer.getvalue()) // 2]) == "image.truncated"
    assert code(buffer.getvalue()[:200]) == "image.truncated"


@pytest.mark.parametrize(
    "array",
    [
        quarters(),
        ramp(dtype=np.uint8),
        ramp(),
        np.dstack([quarters(), ramp(dtype=np.uint8)]),
        quarters()[::-1, ::2],
        np.zeros((1, 1), np.uint8),
    ],
)
def test_a_written_png_has_the_same_pixels(array: NDArray[np.uint8]) -> None:
    back = np.asarray(Image.open(io.BytesIO(images.encode_png(array))))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_a_bool_png_is_black_and_white() -> None:
    mask = np.eye(5, dtype=bool)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(images.encode_png(mask)))), mask * np.uint8(255))


def test_a_palette_png_keeps_indices_and_colours() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = np.random.default_rng(0).integers(0, 256, (12, 3), dtype=np.uint8)
    data = images.encode_png(labels, palette)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), labels)
    assert np.array_equal(images.read(data), palette[labels])


@pytest.mark.parametrize(
    ("array", "palette"),
    [
        (np.zeros((0, 4), np.uint8), None),
        (np.zeros((4, 4), np.float32), None),
        (np.zeros((4, 4, 2), np.uint8), None),
        (np.zeros((4, 4, 3), np.uint16), None),
        (np.zeros(4, np.uint8), None),
        (np.full((4, 4), 3, np.uint8), np.zeros((3, 3), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((3, 4), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((257, 3), np.uint8)),
        (np.zeros((4, 4), np.uint16), np.zeros((3, 3), np.uint8)),
    ],
)
def test_what_a_png_cannot_hold(array: NDArray[np.uint8], palette: NDArray[np.uint8] | None) -> None:
    with pytest.raises(BadOption):
        images.encode_png(array, palette)


def test_write_png_replaces_a_file_whole(tmp_path: Path) -> None:
    file = tmp_path / "out.png"
    file.write_text("old")
    images.write_png(file, quarters())
    assert np.array_equal(images.read(file), quarters())
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


def test_write_png_leaves_nothing_behind_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        images.write_png(str(tmp_path / "out.png"), quarters())
    assert list(tmp_path.iterdir()) == []


def test_the_fixtures_are_written_by_a_command(tmp_path: Path) -> None:
    main(["--out", str(tmp_path / "pictures")])
    names = sorted(entry.name for entry in (tmp_path / "pictures").iterdir())
    assert names == sorted(PICTURES)
    name = random.Random(0).choice(names)
    assert (tmp_path / "pictures" / name).read_bytes() == PICTURES[name]
