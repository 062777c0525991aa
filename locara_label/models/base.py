"""What every segmentation model offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadImage, BadOption
from locara_label.runtime.session import Stop
from locara_label.types import Instance, Label

Image = NDArray[np.uint8]
"""RGB, [H, W, 3]."""


@dataclass(frozen=True)
class Limit:
    """Bounds of one call: `stop` cancels it from another thread, `deadline_s` counts seconds from the call."""

    stop: Stop | None = None
    deadline_s: float | None = None


NO_LIMIT = Limit()


class SegmentationModel(Protocol):
    """A loaded model. Calls are independent: nothing of one picture stays for the next, and threads may share a model.

    Attributes:
        name: the catalogue name.
        labels: every class in the order of the model's own indices.
        provider: the execution provider of ONNX Runtime that runs it.
    """

    name: str
    labels: tuple[Label, ...]
    provider: str

    def segment(self, image: Image, threshold: float | None = None, limit: Limit = NO_LIMIT) -> list[Instance]:
        """Finds regions.

        Args:
            image: RGB uint8 [H, W, 3].
            threshold: least score of a region, 0..1; None takes the family's published default.
            limit: cancels or bounds the run.

        Returns:
            Regions with masks of the picture's own size, never empty ones. They do not overlap, except those of instance models.

        Raises:
            BadImage: not an RGB uint8 array.
            Cancelled, DeadlineExceeded, InferenceFailed: see `runtime.session`.
        """
        ...


def checked(image: Any) -> Image:
    """The picture, once it is known to be one.

    Raises:
        BadImage: not RGB uint8 [H, W, 3] with at least one pixel.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise BadImage(f"a picture is an RGB uint8 array [H, W, 3], got {found}", code="image.array")
    return image


def checked_threshold(threshold: float | None, default: float) -> float:
    """A threshold in 0..1.

    Raises:
        BadOption: outside that range, or not a number.
    """
    value = default if threshold is None else float(threshold)
    if not 0 <= value <= 1:
        raise BadOption(f"a threshold lies between 0 and 1, got {value}", code="option.threshold")
    return value
