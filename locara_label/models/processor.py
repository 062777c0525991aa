"""Pixels to model input, by the `preprocessor_config.json` that is published beside the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry
from locara_label.errors import BadWeights
from locara_label.models.base import Image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BILINEAR = 2
"""PIL's number of the filter, as the published files write it."""


@dataclass(frozen=True)
class Processor:
    """How a picture becomes the model's input.

    Attributes:
        height, width: exact size in pixels, where the published rule is a plain resize.
        shortest_edge, longest_edge: the other published rule, keeping the aspect ratio; then sizes are rounded up to `divisor`.
        mean, std: of each channel, after `rescale` has brought bytes to 0..1.
    """

    height: int | None = None
    width: int | None = None
    shortest_edge: int | None = None
    longest_edge: int | None = None
    divisor: int = 1
    rescale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the model's input for a picture of this height and width."""
        if self.height is not None and self.width is not None:
            height, width = self.height, self.width
        elif self.shortest_edge is not None:
            height, width = _keep_aspect(image_size, self.shortest_edge, self.longest_edge)
        else:
            height, width = image_size
        return math.ceil(height / self.divisor) * self.divisor, math.ceil(width / self.divisor) * self.divisor

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """RGB uint8 [H, W, 3] to float32 [1, 3, h, w]."""
        resized = geometry.resize_bilinear(image, self.input_size((image.shape[0], image.shape[1])))
        return geometry.normalise(resized, self.mean, self.std, self.rescale)


def _keep_aspect(size: tuple[int, int], shortest: int, longest: int | None) -> tuple[int, int]:
    """The rule of the published processors: the short side becomes `shortest`, unless the long side then exceeds `longest`."""
    height, width = size
    short, long = min(size), max(size)
    exact: float = shortest
    if longest is not None and long / short * shortest > longest:
        exact = longest * short / long
    target = max(round(exact), 1)
    if width < height:
        return int(exact * height / width), target
    return target, int(exact * width / height)


def parse(config: Mapping[str, Any]) -> Processor:
    """Reads a published `preprocessor_config.json`.

    Raises:
        BadWeights: with code `weights.processor`, for a rule that is not supported or values of a wrong kind.
    """
    try:
        return Processor(**_size(config), divisor=_positive(config.get("size_divisor") or 1), **_scaling(config))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise BadWeights(f"the preprocessor config cannot be used: {error}", code="weights.processor") from error


def _size(config: Mapping[str, Any]) -> dict[str, Any]:
    size = config.get("size")
    if not config.get("do_resize", True) or size is None:
        return {}
    if int(config.get("resample", BILINEAR)) != BILINEAR:
        raise ValueError(f"resample {config['resample']} is not bilinear")
    if isinstance(size, int):
        return {"height": _positive(size), "width": _positive(size)}
    keys = ("height", "width") if "height" in size else ("shortest_edge", "longest_edge")
    values = {key: _positive(size[key]) if size.get(key) is not None else None for key in keys}
    if values[keys[0]] is None or (keys[0] == "height" and values["width"] is None):
        raise ValueError(f"size {size} names neither height and width nor shortest_edge")
    return values


def _positive(number: Any) -> int:
    if not 0 < int(number) <= 1 << 14:
        raise ValueError(f"size {number} is not a number of pixels")
    return int(number)


def _scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    rescale = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", True):
        return {"rescale": rescale, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    mean = tuple(float(value) for value in config.get("image_mean", IMAGENET_MEAN))
    std = tuple(float(value) for value in config.get("image_std", IMAGENET_STD))
    if len(mean) != 3 or len(std) != 3 or not all(math.isfinite(value) for value in (*mean, *std, rescale)) or 0 in std:
        raise ValueError(f"mean {mean} and std {std} are not three numbers for three channels")
    return {"rescale": rescale, "mean": mean, "std": std}
