"""A text model that reads a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, picture_hash
from locara_label.types import Box, Detection, Embedding, TextPrompt


class ScriptedTextModel:
    """Finds on each frame what the script has for it, as far as it is asked for.

    Frames are known by their pixels' value, which grows by `per_frame`.
    """

    name = identity = "scripted-text"
    provider = "none"

    def __init__(self, script: Mapping[int, Sequence[tuple[str, Box]]], per_frame: int = 1) -> None:
        self.script, self.per_frame = script, per_frame
        self.asked: list[tuple[int, tuple[str, ...]]] = []

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        Clock(limit)
        return Embedding(self.identity, picture_hash(image), image.shape[:2], (image[:1, :1, 0],))

    def decode_many(self, embedding: Embedding, prompts: Sequence[TextPrompt], limit: Limit = NO_LIMIT) -> list[list[Detection]]:
        Clock(limit)
        frame = round(float(embedding.arrays[0][0, 0]) / self.per_frame)
        self.asked += [(frame, prompt.phrases) for prompt in prompts]
        found = [Detection(box, 0.8 - 0.01 * at, phrase, phrase) for at, (phrase, box) in enumerate(self.script.get(frame, ()))]
        return [[replace(one) for one in found if one.asked in prompt.phrases] for prompt in prompts]
