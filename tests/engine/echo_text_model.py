"""A text model that finds what its prompt says, and which can be held up."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence

from locara_label.errors import Cancelled
from locara_label.models.base import NO_LIMIT, Image, Limit, checked, checked_embedding, picture_hash
from locara_label.types import Box, Detection, Embedding, TextPrompt

SCORE = 0.9
_AT = re.compile(r"at (\d+) (\d+) (\d+) (\d+)")


class EchoTextModel:
    """The phrase "at 3 4 10 12" is found in exactly that box (x0 y0 x1 y1) with a score of 0.9; no other phrase is found.

    What lies outside the picture is cut off; a box wholly outside is not found.
    """

    name = "echo-text"
    identity = "echo-text-1"
    provider = "none"

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.asked: list[TextPrompt] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        self._pause(limit)
        digest = picture_hash(checked(image))
        self.encoded.append(digest)
        return Embedding(self.identity, digest, image.shape[:2], ())

    def decode_many(self, embedding: Embedding, prompts: Sequence[TextPrompt], limit: Limit = NO_LIMIT) -> list[list[Detection]]:
        checked_embedding(embedding, self.identity)
        self._pause(limit)
        self.asked += prompts
        return [self._found(prompt, embedding.size) for prompt in prompts]

    def _found(self, prompt: TextPrompt, size: tuple[int, int]) -> list[Detection]:
        if prompt.box_threshold is not None and prompt.box_threshold > SCORE:
            return []
        matches = [(phrase, _AT.fullmatch(phrase)) for phrase in prompt.phrases]
        boxes = [(phrase, _box([int(text) for text in match.groups()], size)) for phrase, match in matches if match]
        said = prompt.text_threshold is None or prompt.text_threshold <= SCORE
        return [Detection(box, SCORE, phrase if said else "", phrase) for phrase, box in boxes if box is not None]

    def _pause(self, limit: Limit) -> None:
        self.entered.set()
        while not self.go_on.wait(0.01):
            if limit.stop is not None and limit.stop.is_set:
                raise Cancelled("stopped")


def _box(corners: list[int], size: tuple[int, int]) -> Box | None:
    x0, y0, x1, y1 = corners[0], corners[1], min(corners[2], size[1]), min(corners[3], size[0])
    return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
