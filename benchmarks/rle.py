"""RLE against pycocotools: equality on random masks, and the time to encode a mask of 12 megapixels.

    python benchmarks/rle.py [--masks 100000] [--seed 0]

Prints JSON; exit status 1 when a mask differs or encoding takes over 40 ms (median, one thread).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from locara_label import rle

BAR_MS = 40.0
Bools = NDArray[np.bool_]


def random_mask(chance: np.random.Generator) -> Bools:
    """Noise, rectangles, discs, stripes, single pixels, empty and full masks of all small sizes, in either memory order."""
    height, width = (int(chance.integers(1, int(chance.choice([2, 3, 12, 90])))) for _ in range(2))
    mask: Bools = np.zeros((height, width), bool)
    kind = chance.integers(6)
    if kind == 0:
        mask = chance.random(mask.shape) < chance.random()
    elif kind == 1:
        (top, bottom), (left, right) = (np.sort(chance.integers(0, side + 1, 2)) for side in mask.shape)
        mask[top:bottom, left:right] = True
    elif kind == 2:
        rows, columns = np.ogrid[:height, :width]
        mask = np.hypot(rows - chance.uniform(0, height), columns - chance.uniform(0, width)) < chance.uniform(0, height + width)
    elif kind == 3:
        mask[chance.integers(height), chance.integers(width)] = True
    elif kind == 4:
        mask[:: int(chance.integers(1, 4)), :: int(chance.integers(1, 4))] = True
    if chance.random() < 0.2:
        mask = ~mask
    return np.asfortranarray(mask) if chance.random() < 0.5 else mask


def differs(mask: Bools) -> bool:
    """Whether anything that we say of a mask is not what pycocotools or the pixels say."""
    counts, size = rle.encode(mask), (mask.shape[0], mask.shape[1])
    theirs = coco.encode(np.asfortranarray(mask.view(np.uint8)))
    rows, columns = np.nonzero(mask)
    box = (0, 0, 0, 0)
    if len(rows):
        box = (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    return (
        counts != theirs["counts"]
        or not np.array_equal(rle.decode(counts, size), mask)
        or rle.compress(rle.run_lengths(counts), size) != counts
        or rle.area(counts, size) != len(rows)
        or rle.box_xywh(counts, size) != box
        or rle.encode_labels(mask.view(np.uint8)).get(1, rle.encode(np.zeros(size, bool))) != counts
    )


def smooth_mask(size: tuple[int, int] = (3000, 4000), seed: int = 0) -> Bools:
    """A few large blobs, as a model finds them."""
    field = np.random.default_rng(seed).normal(size=(6, 8)).astype(np.float32)
    mask: Bools = cv2.resize(field, (size[1], size[0]), interpolation=cv2.INTER_CUBIC) > 0
    return mask


def median_ms(work: Callable[[], object], times: int = 15) -> float:
    took = []
    for _ in range(times + 1):
        start = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(took[1:]), 2)


def timings() -> dict[str, float]:
    mask = smooth_mask()
    columns, counts = np.asfortranarray(mask), rle.encode(mask)
    return {
        "encode_12mp_row_major_ms": median_ms(lambda: rle.encode(mask)),
        "encode_12mp_column_major_ms": median_ms(lambda: rle.encode(columns)),
        "decode_12mp_ms": median_ms(lambda: rle.decode(counts, (3000, 4000))),
        "pycocotools_encode_12mp_row_major_ms": median_ms(lambda: coco.encode(np.asfortranarray(mask.view(np.uint8)))),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chance = np.random.default_rng(options.seed)
    differing = sum(differs(random_mask(chance)) for _ in range(options.masks))
    measured = timings()
    print(json.dumps({"masks": options.masks, "differing": differing, **measured, "bar_ms": BAR_MS}, indent=2))
    return int(differing > 0 or measured["encode_12mp_row_major_ms"] > BAR_MS)


if __name__ == "__main__":
    sys.exit(main())
