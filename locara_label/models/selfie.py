"""Person and background. Source: MediaPipe Selfie Segmentation, in the interface of its published ONNX file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry
from locara_label.errors import BadWeights
from locara_label.models.base import NO_LIMIT, Image, Limit, checked, checked_threshold
from locara_label.runtime.session import Session, finite
from locara_label.types import Instance, Label, Mask

DEFAULT_THRESHOLD = 0.5
PERSON = Label(0, "person")


class Selfie:
    """Implements `SegmentationModel` with the one class "person".

    The published files take `pixel_values`, float32 [1, 3, H, W] in 0..1, or uint8 [1, H, W, 3] in the `-web` variants, and give
    `alphas`, one value in 0..1 for each pixel of the input.
    """

    def __init__(self, name: str, session: Session) -> None:
        self.name, self.provider = name, session.provider
        self.labels: tuple[Label, ...] = (PERSON,)
        self._session = session
        self._size, self._bytes_last = _layout(name, session)

    def alpha(self, image: Image, limit: Limit = NO_LIMIT) -> NDArray[np.float32]:
        """How much of each pixel is person, float32 [H, W] in 0..1, at the picture's own size."""
        resized = geometry.resize_bilinear(checked(image), self._size)
        pixels = resized[None] if self._bytes_last else geometry.normalise(resized, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1 / 255)
        found = self._session.run({self._session.inputs[0]: pixels}, stop=limit.stop, deadline_s=limit.deadline_s)
        small = finite(found[self._session.outputs[0]])
        if small.size != self._size[0] * self._size[1]:
            raise BadWeights(f"{self.name} gives {list(small.shape)}, not one value per pixel", code="weights.interface")
        small = small.reshape(self._size)
        return np.clip(geometry.upsample_logits(small, (image.shape[0], image.shape[1])), 0, 1)

    def segment(self, image: Image, threshold: float | None = None, limit: Limit = NO_LIMIT) -> list[Instance]:
        """See `SegmentationModel`; the threshold is on alpha, the score is the mean alpha of the region."""
        least = checked_threshold(threshold, DEFAULT_THRESHOLD)
        alpha = self.alpha(image, limit)
        inside = alpha >= max(least, 1e-6)
        if not inside.any():
            return []
        return [Instance(PERSON.name, PERSON.index, float(alpha[inside].mean()), Mask.from_array(inside))]


def _layout(name: str, session: Session) -> tuple[tuple[int, int], bool]:
    """Height and width of the input, and whether it takes bytes with the channels last."""
    key = session.inputs[0]
    shape, kind = session.input_shapes[key], session.input_types[key]
    bytes_last = kind == "tensor(uint8)"
    height, width = (shape[1:3] if bytes_last else shape[2:4]) if len(shape) == 4 else (None, None)
    if not isinstance(height, int) or not isinstance(width, int):
        raise BadWeights(f"{name} takes {kind} {list(shape)}, not one picture of a fixed size", code="weights.interface")
    return (height, width), bytes_last
