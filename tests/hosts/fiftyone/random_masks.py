"""Masks of every awkward kind, and data sets with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from locara_label import images
from locara_label.types import Mask

Bools = NDArray[np.bool_]
SIZES = ((97, 131), (240, 320), (333, 500), (61, 59), (7, 401), (480, 640))


def ring(chance: Generator, size: tuple[int, int]) -> Bools:
    """With a hole, often beyond the border."""
    height, width = size
    canvas = np.zeros(size, np.uint8)
    centre = int(chance.integers(width)), int(chance.integers(height))
    radius = int(chance.integers(2, max(min(size) // 2, 3)))
    cv2.circle(canvas, centre, radius, 1, -1)
    cv2.circle(canvas, centre, radius // 2, 0, -1)
    return canvas.astype(bool)


def parts(chance: Generator, size: tuple[int, int]) -> Bools:
    """Boxes far apart."""
    canvas = np.zeros(size, bool)
    for _ in range(int(chance.integers(2, 5))):
        y, x = int(chance.integers(size[0])), int(chance.integers(size[1]))
        canvas[y : y + int(chance.integers(1, 30)), x : x + int(chance.integers(1, 30))] = True
    return canvas


def pixel(chance: Generator, size: tuple[int, int]) -> Bools:
    canvas = np.zeros(size, bool)
    canvas[int(chance.integers(size[0])), int(chance.integers(size[1]))] = True
    return canvas


def borders(chance: Generator, size: tuple[int, int]) -> Bools:
    """Touches one border, two, or all."""
    canvas = np.zeros(size, bool)
    if chance.random() < 0.3:
        canvas[:] = True
    canvas[-1 if chance.random() < 0.5 else 0] = True
    if chance.random() < 0.5:
        canvas[:, -1 if chance.random() < 0.5 else 0] = True
    return canvas


def noise(chance: Generator, size: tuple[int, int]) -> Bools:
    height, width = size
    y, x = int(chance.integers(height)), int(chance.integers(width))
    canvas = np.zeros(size, bool)
    inside = canvas[y : y + 40, x : x + 40]
    inside[:] = chance.random(inside.shape) < 0.4
    return canvas


def masks(count: int, seed: int = 3) -> Iterator[Mask]:
    """Not empty, all kinds in turn, ten of one size after the other."""
    chance = np.random.default_rng(seed)
    kinds = (ring, parts, pixel, borders, noise)
    made = 0
    while made < count:
        canvas = kinds[made % len(kinds)](chance, SIZES[made // 10 % len(SIZES)])
        if canvas.any():
            made += 1
            yield Mask.from_array(canvas)


def grouped(count: int, at_a_time: int = 10) -> list[list[Mask]]:
    """Masks of one size each."""
    found = list(masks(count))
    return [found[start : start + at_a_time] for start in range(0, count, at_a_time)]


def write_picture(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """A plain one: what is in it is no matter."""
    images.write_png(path, np.full((*size, 3), seed % 256, np.uint8))
    return path
