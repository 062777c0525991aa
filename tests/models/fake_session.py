"""A session that answers with arrays made up by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Answer = Callable[[np.ndarray], dict[str, np.ndarray]]


class FakeSession:
    provider = "CPUExecutionProvider"

    def __init__(
        self, answer: Answer | dict[str, np.ndarray], shape: Any = ("b", 3, "h", "w"), kind: str = "tensor(float)"
    ) -> None:
        self.answer = answer if callable(answer) else lambda _: answer
        self.inputs = ("pixel_values",)
        self.outputs = ("logits",) if callable(answer) else tuple(answer)
        self.input_shapes, self.input_types, self.symbols = {"pixel_values": tuple(shape)}, {"pixel_values": kind}, {}
        self.fed: list[np.ndarray] = []
        self.bounds: list[tuple[Any, Any]] = []

    def run(self, feed: dict[str, np.ndarray], *, stop: Any = None, deadline_s: Any = None) -> dict[str, np.ndarray]:
        self.fed.append(feed["pixel_values"])
        self.bounds.append((stop, deadline_s))
        return self.answer(feed["pixel_values"])
