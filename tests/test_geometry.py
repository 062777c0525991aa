"""Resizing equals Pillow and torch; the fast argmax equals upsampling everything."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from locara_label import geometry
from tests.required import needed

SIDES = [1, 2, 3, 7, 16, 33, 64, 100]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def smooth(channels: int, size: tuple[int, int], fields: int, seed: int = 0) -> NDArray[np.float32]:
    """A few wide fields above a floor of noise, as a segmentation model's scores look."""
    chance = np.random.default_rng(seed)
    logits = noise((channels, *size), seed) * np.float32(0.3) - 6
    for _ in range(fields):
        field = chance.normal(size=(6, 6)).astype(np.float32)
        logits[chance.integers(channels)] += 6 + 5 * cv2.resize(field, size[::-1], interpolation=cv2.INTER_CUBIC)
    return logits


def interpolated(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    """Bilinear interpolation straight from its definition, in double precision."""
    out = logits.astype(np.float64)
    for axis, high in zip((-2, -1), size, strict=True):
        low = logits.shape[axis]
        source = np.clip((np.arange(high) + 0.5) * low / high - 0.5, 0, low - 1)
        first = np.floor(source).astype(int)
        weight = (source - first)[:, None] if axis == -2 else source - first
        out = np.take(out, first, axis) * (1 - weight) + np.take(out, np.minimum(first + 1, low - 1), axis) * weight
    return out


def differing(logits: NDArray[np.float32], size: tuple[int, int]) -> float:
    return float(np.mean(geometry.argmax_upsampled(logits, size) != interpolated(logits, size).argmax(axis=0)))


@pytest.mark.parametrize("size", [(512, 512), (37, 300), (1, 1), (90, 120)])
def test_resize_equals_pillow(size: tuple[int, int]) -> None:
    image = picture((90, 120))[:, ::-1]
    expected = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.array_equal(geometry.resize_bilinear(image, size), expected)


def test_resize_to_its_own_size_is_the_same() -> None:
    image = picture((5, 6))
    assert np.array_equal(geometry.resize_bilinear(image, (5, 6)), image)


@pytest.mark.parametrize("rescale", [1 / 255, 1.0])
def test_normalise_equals_the_formula(rescale: float) -> None:
    image, (mean, std) = picture((61, 47)), IMAGENET
    planes = geometry.normalise(image, mean, std, rescale)
    naive = ((image * rescale - np.array(mean)) / np.array(std)).transpose(2, 0, 1)[None]
    assert planes.dtype == np.float32
    assert planes.shape == (1, 3, 61, 47)
    assert planes.flags.c_contiguous
    assert np.abs(planes - naive).max() <= 1e-6 * max(1.0, float(np.abs(naive).max()))


def test_normalise_takes_views() -> None:
    image = picture((20, 30))
    turned = geometry.normalise(image[::-1, ::2], *IMAGENET)
    assert np.array_equal(turned, geometry.normalise(image[::-1, ::2].copy(), *IMAGENET))


@pytest.mark.parametrize("low", SIDES)
@pytest.mark.parametrize("high", SIDES)
def test_upsample_follows_its_definition_up_and_down(low: int, high: int) -> None:
    logits = noise((2, low, SIDES[-1 - SIDES.index(low)]))
    size = high, SIDES[-1 - SIDES.index(high)]
    up = geometry.upsample_logits(logits, size)
    assert up.shape == (2, *size)
    assert up.dtype == np.float32
    assert np.abs(up - interpolated(logits, size)).max() < 1e-4
    assert np.array_equal(geometry.upsample_logits(logits[1], size), up[1])


@pytest.mark.parametrize(("low", "high"), [((4, 6), (9, 5)), ((5, 5), (5, 5)), ((1, 1), (3, 4)), ((33, 20), (100, 7))])
def test_nearest_takes_the_pixel_that_torch_takes(low: tuple[int, int], high: tuple[int, int]) -> None:
    mask = noise(low) > 0
    rows, columns = (np.arange(n) * m // n for m, n in zip(low, high, strict=True))
    assert np.array_equal(geometry.upsample_nearest(mask, high), mask[np.ix_(rows, columns)])


@pytest.mark.parametrize("size", [(120, 160), (171, 128), (16, 16), (32, 32), (500, 33), (31, 1)])
@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_argmax_equals_upsampling_everything(size: tuple[int, int], kind: str) -> None:
    logits = noise((40, 32, 32)) if kind == "noise" else smooth(40, (32, 32), 8)
    assert differing(logits, size) <= 1e-4


@pytest.mark.parametrize("low", SIDES)
@pytest.mark.parametrize("high", SIDES)
def test_argmax_at_many_sizes(low: int, high: int) -> None:
    logits = noise((5, low, SIDES[-1 - SIDES.index(low)]), seed=low)
    assert differing(logits, (high, SIDES[-1 - SIDES.index(high)])) <= 1e-4


def test_argmax_in_small_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = smooth(30, (24, 32), 6)
    whole = geometry.argmax_upsampled(logits, (97, 131))
    monkeypatch.setattr(geometry, "_CHUNK_VALUES", 1)
    assert np.array_equal(geometry.argmax_upsampled(logits, (97, 131)), whole)


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_argmax_has_the_smallest_type(channels: int, dtype: type) -> None:
    labels = geometry.argmax_upsampled(noise((channels, 4, 4)), (9, 9))
    assert labels.dtype == dtype
    assert labels.shape == (9, 9)
    assert labels.max() < channels


def test_ties_go_to_the_lowest_index() -> None:
    logits = np.zeros((4, 3, 3), np.float32)
    logits[0] = -1
    assert (geometry.argmax_upsampled(logits, (8, 8)) == 1).all()
    logits[2, 1, 1] = 1
    assert set(np.unique(geometry.argmax_upsampled(logits, (9, 9)))) == {1, 2}


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.int8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(-3, 3)),
    st.tuples(*[st.integers(1, 20)] * 2),
)
def test_the_winner_is_never_below_the_best(scores: NDArray[np.int8], size: tuple[int, int]) -> None:
    """With many ties: whatever index is chosen reaches the maximum."""
    logits = scores.astype(np.float32)
    labels, exact = geometry.argmax_upsampled(logits, size), interpolated(logits, size)
    chosen = np.take_along_axis(exact, labels[None].astype(int), axis=0)[0]
    assert (chosen >= exact.max(axis=0) - 1e-5).all()


@pytest.mark.parity
@pytest.mark.parametrize("size", [(480, 640), (683, 512), (64, 64), (1500, 2000)])
@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_argmax_equals_torch(size: tuple[int, int], kind: str) -> None:
    torch = needed("torch")
    shape = (16 if size[0] > 1000 else 150 if kind == "smooth" else 20, 128, 128)
    logits = noise(shape) if kind == "noise" else smooth(shape[0], (128, 128), 20)
    upsampled = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False)
    assert np.mean(geometry.argmax_upsampled(logits, size) != upsampled[0].argmax(0).numpy()) <= 1e-4
    assert np.abs(geometry.upsample_logits(logits[:3], size) - upsampled[0, :3].numpy()).max() < 1e-4


@pytest.mark.parity
@pytest.mark.parametrize("size", [(97, 131), (5, 300), (64, 64)])
def test_nearest_equals_torch(size: tuple[int, int]) -> None:
    torch = needed("torch")
    mask = noise((64, 96)) > 0
    expected = torch.nn.functional.interpolate(torch.from_numpy(mask.astype(np.float32))[None, None], size=size)[0, 0].numpy() > 0
    assert np.array_equal(geometry.upsample_nearest(mask, size), expected)
