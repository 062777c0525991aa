"""The brush's run lengths: exact, equal to the SDK's, and bounded on hostile input."""

import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from label_studio_sdk.converter import brush
from numpy.typing import NDArray

from locara_label.errors import BadMask
from locara_label.hosts.label_studio import brush_rle
from locara_label.types import Mask

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
MASKS = arrays.arrays(bool, SIZES)
PIXELS = arrays.arrays(np.uint8, SIZES.map(lambda size: (*size, 4)), elements=st.sampled_from([0, 1, 128, 255]))


def rgba(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.repeat(mask.reshape(-1).astype(np.uint8) * 255, 4)


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_a_mask_is_written_as_by_the_sdk_and_read_back(array: NDArray[np.bool_]) -> None:
    mask = Mask.from_array(array)
    written = brush_rle.encode(mask)
    theirs = bytes(brush.encode_rle(rgba(array)))
    # Theirs has a spare zero byte where the bits end with a byte.
    assert written == theirs[: len(written)]
    assert theirs[len(written) :] in (b"", b"\0")
    assert np.array_equal(brush.decode_rle(list(written)), rgba(array))
    assert brush_rle.decode(written, mask.size) == mask
    assert brush_rle.decode(list(theirs), mask.size) == mask


@settings(max_examples=150, deadline=None)
@given(PIXELS)
def test_what_others_write_is_read_byte_by_byte(pixels: NDArray[np.uint8]) -> None:
    size = pixels.shape[:2]
    rle = brush.encode_rle(pixels.reshape(-1))
    assert np.array_equal(brush_rle.decode_values(rle, size).reshape(-1), brush.decode_rle(rle))
    assert np.array_equal(brush_rle.decode_alpha(rle, size), pixels[:, :, 3])
    assert np.array_equal(brush_rle.decode(rle, size).to_array(), pixels[:, :, 3] > 0)


def packed(count: int, groups: list[tuple[int, int, list[int]]]) -> bytes:
    """A stream by the definition of thi.ng: groups of (is a run, which run size, values)."""
    bits = f"{count:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    for run, kind, values in groups:
        bits += f"{run}{kind:02b}" + f"{len(values) - 1:0{(3, 4, 8, 16)[kind]}b}"
        bits += "".join(f"{value:08b}" for value in (values[:1] if run else values))
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_literals_as_the_editor_packs_them(kind: int) -> None:
    values = [0, 0, 0, 7, 0, 0, 0, 0]
    data = packed(24, [(1, 0, [9] * 8), (0, kind, values), (1, 1, [0] * 8)])
    assert brush_rle.decode_values(data, (2, 3)).reshape(-1).tolist() == [9] * 8 + values + [0] * 8
    assert brush_rle.decode_alpha(data, (2, 3)).tolist() == [[9, 9, 7], [0, 0, 0]]


@pytest.mark.parametrize("size", [(1, 1), (1, 70_000), (70_000, 1), (257, 256), (300, 211)])
@pytest.mark.parametrize("fill", [False, True])
def test_runs_longer_than_sixteen_bits(size: tuple[int, int], fill: bool) -> None:
    mask = Mask.from_array(np.full(size, fill))
    written = brush_rle.encode(mask)
    assert np.array_equal(brush.decode_rle(list(written)), np.full(4 * size[0] * size[1], 255 * fill))
    assert brush_rle.decode(written, size) == mask


GOOD = brush_rle.encode(Mask.from_array(np.eye(5, dtype=bool)))


@pytest.mark.parametrize(
    ("rle", "size", "code"),
    [
        (GOOD[:-1], (5, 5), "mask.rle"),
        (GOOD[:9], (5, 5), "mask.rle"),
        (GOOD, (5, 6), "mask.rle"),
        (GOOD, (0, 5), "mask.size"),
        (GOOD, (1 << 20, 1 << 20), "mask.size"),
        (b"", (5, 5), "mask.rle"),
        ([256] * 20, (5, 5), "mask.rle"),
        ([1.5] * 20, (5, 5), "mask.rle"),
        (["1"] * 20, (5, 5), "mask.rle"),
        ("0123456789", (5, 5), "mask.rle"),
        ({"0": 1}, (5, 5), "mask.rle"),
        (None, (5, 5), "mask.rle"),
        (b"\xff\xff\xff\xff" + GOOD[4:], (5, 5), "mask.rle"),
        (GOOD[:4] + b"\xff" + GOOD[5:], (5, 5), "mask.rle"),
        (packed(100, [(1, 3, [1] * 200)]), (5, 5), "mask.rle"),
        (packed(100, [(0, 3, [1] * 200)]), (5, 5), "mask.rle"),
        (bytes(2000), (5, 5), "mask.rle"),
    ],
)
def test_what_is_no_rle_is_refused(rle: object, size: tuple[int, int], code: str) -> None:
    with pytest.raises(BadMask) as caught:
        brush_rle.decode(rle, size)
    assert caught.value.code == code


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 2))
def test_any_bytes_are_a_mask_or_refused(tail: bytes, cut: int) -> None:
    data = GOOD[: 7 - cut] + tail
    with suppress(BadMask):
        assert brush_rle.decode_alpha(data, (5, 5)).shape == (5, 5)


def test_a_mask_without_pixels_cannot_be_written() -> None:
    with pytest.raises(BadMask):
        brush_rle.encode(Mask.from_array(np.zeros((0, 3), bool)))


def test_twelve_megapixels() -> None:
    rows, columns = np.ogrid[:3000, :4000]
    mask = Mask.from_array((rows - 1500) ** 2 + (columns - 2000) ** 2 < 1000**2)
    start = time.process_time()
    written = brush_rle.encode(mask)
    middle = time.process_time()
    assert brush_rle.decode(written, mask.size) == mask
    print(f"12 MP disc: encode {1e3 * (middle - start):.0f} ms, decode {1e3 * (time.process_time() - middle):.0f} ms of CPU")
