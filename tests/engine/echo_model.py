"""A prompt model whose answers tell which picture and which prompt they belong to, and which can be held up."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from locara_label.errors import Cancelled
from locara_label.models.base import NO_LIMIT, Image, Limit, picture_hash
from locara_label.types import Candidate, Embedding, Mask, Prompt


class EchoModel:
    """The mask of a prompt is the pixels at least as bright as the picture's first pixel, plus the prompt's own pixel."""

    name = "echo"
    identity = "echo-1"
    provider = "none"
    refines = False

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        self._pause(limit)
        digest = picture_hash(image)
        self.encoded.append(digest)
        return Embedding(self.identity, digest, image.shape[:2], (image[..., 0].astype(np.float32),))

    def decode(self, embedding: Embedding, prompt: Prompt, limit: Limit = NO_LIMIT) -> list[Candidate]:
        return self.decode_many(embedding, [prompt], limit)[0]

    def decode_many(self, embedding: Embedding, prompts: Sequence[Prompt], limit: Limit = NO_LIMIT) -> list[list[Candidate]]:
        self._pause(limit)
        return [[self._candidate(embedding.arrays[0], prompt)] for prompt in prompts]

    def _candidate(self, plane: np.ndarray, prompt: Prompt) -> Candidate:
        found = plane > plane[0, 0]
        for point in prompt.points:
            found[int(point.y), int(point.x)] = True
        return Candidate(Mask.from_array(found), 0.5)

    def _pause(self, limit: Limit) -> None:
        self.entered.set()
        while not self.go_on.wait(0.01):
            if limit.stop is not None and limit.stop.is_set:
                raise Cancelled("stopped")
