from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from locara_label.errors import BadWeights
from locara_label.models.processor import IMAGENET_MEAN, IMAGENET_STD, Processor, parse


def test_a_plain_resize() -> None:
    processor = parse({"size": {"height": 64, "width": 32}})
    assert processor.input_size((100, 7)) == (64, 32)
    grey = np.full((10, 20, 3), 128, np.uint8)
    pixels = processor.prepare(grey)
    assert (pixels.shape, pixels.dtype) == ((1, 3, 64, 32), np.float32)
    wanted = (128 / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(pixels[0, :, 5, 5], wanted, atol=1e-5)


def test_a_number_is_a_square() -> None:
    assert parse({"size": 48}).input_size((9, 9)) == (48, 48)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((480, 640), (800, 1066)),
        ((640, 480), (1066, 800)),
        ((100, 100), (800, 800)),
        ((100, 1000), (133, 1333)),
        ((1000, 100), (1333, 133)),
    ],
)
def test_the_shortest_edge(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert parse({"size": {"shortest_edge": 800, "longest_edge": 1333}}).input_size(size) == wanted


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 16000)])
def test_a_very_long_picture_keeps_a_pixel(size: tuple[int, int]) -> None:
    processor = parse({"size": {"shortest_edge": 800, "longest_edge": 1333}})
    assert min(processor.input_size(size)) >= 1
    assert processor.prepare(np.zeros((*size, 3), np.uint8)).size > 0


def test_sizes_are_rounded_up() -> None:
    assert Processor(shortest_edge=100, divisor=32).input_size((100, 150)) == (128, 160)
    assert parse({"do_resize": False, "size_divisor": 32}).input_size((33, 64)) == (64, 64)


def test_without_rules_the_picture_is_taken_as_it_is() -> None:
    processor = parse({"do_resize": False, "do_rescale": False, "do_normalize": False})
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    np.testing.assert_array_equal(processor.prepare(image)[0], image.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "config",
    [
        {"size": {}}, {"size": []}, {"size": "big"}, {"size": {"height": 0, "width": 8}}, {"size": {"height": 8}}, {"size": -3},
        {"size": {"height": float("inf"), "width": 8}}, {"size": {"height": float("nan"), "width": 8}}, {"size": 8, "resample": 3},  # noqa: E501
        {"size": {"height": 1 << 20, "width": 1 << 20}}, {"size": {"shortest_edge": None}}, {"size": 8, "resample": None},
        {"size_divisor": -32}, {"size_divisor": 10**9}, {"size_divisor": "x"}, {"image_mean": [1, 2]}, {"image_mean": None},
        {"image_std": [1, 0, 1]}, {"image_std": [1, float("nan"), 1]}, {"image_mean": "abc"}, {"rescale_factor": None},
        {"rescale_factor": float("nan")}, {"rescale_factor": float("inf")},
    ],
)  # fmt: skip
def test_what_cannot_be_used(config: dict[str, Any]) -> None:
    with pytest.raises(BadWeights) as raised:
        parse(config)
    assert raised.value.code == "weights.processor"
