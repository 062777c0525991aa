"""An encoder whose embeddings are constant."""

from __future__ import annotations

from typing import Any

import numpy as np

from locara_label.models.sam2 import EMBEDDINGS

SIDE, QUARTER = 64, 16
"""Of the model's input and of its masks, in pixels."""
SIZE = (40, 80)
"""Of the pictures that tests use."""


class FakeEncoder:
    provider = "CPUExecutionProvider"
    inputs = ("pixel_values",)
    outputs: tuple[str, ...] = EMBEDDINGS

    def __init__(self, side: Any = SIDE, kind: str = "tensor(float)", value: float = 1.0) -> None:
        self.input_shapes, self.input_types = {"pixel_values": (1, 3, side, side)}, {"pixel_values": kind}
        self.value, self.fed = value, []

    def run(self, feed: dict[str, np.ndarray], *, stop: Any = None, deadline_s: Any = None) -> dict[str, np.ndarray]:
        self.fed.append(feed["pixel_values"])
        kind = feed["pixel_values"].dtype
        shapes = [(1, 2, 16, 16), (1, 4, 8, 8), (1, 16, 4, 4)]
        return {name: np.full(shape, self.value, kind) for name, shape in zip(EMBEDDINGS, shapes, strict=True)}
