"""Grounding DINO from one ONNX file in the interface of the `onnx-community` repositories: a picture and a text in, boxes out.

Nothing in such a file can be kept between two prompts but the prepared pixels. Its pictures are of one size as a rule (800 x 800
pixels); a picture is brought to that size without regard to its shape, and boxes are shares of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadWeights, InferenceFailed
from locara_label.models import processor
from locara_label.models.base import NO_LIMIT, Image, Limit, checked, checked_embedding, picture_hash
from locara_label.models.grounding_dino import EDGES, Floats, Reader, Sentence, answers
from locara_label.models.sam2 import input_type
from locara_label.runtime.session import Session, finite
from locara_label.types import Detection, Embedding, TextPrompt

PIXELS, IDS, KINDS, ATTENTION, PIXEL_MASK = "pixel_values", "input_ids", "token_type_ids", "attention_mask", "pixel_mask"
NEEDED = {PIXELS, IDS}
OPTIONAL = {KINDS, ATTENTION, PIXEL_MASK}
OUTPUTS = {"logits", "pred_boxes"}
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}


class PublishedGroundingDino:
    """A Grounding DINO from a published ONNX file; implements `TextModel`."""

    def __init__(self, name: str, identity: str, session: Session, reader: Reader, preprocessor: Mapping[str, Any]) -> None:
        """Raises BadWeights: with code `weights.interface`, if the file has other inputs or outputs; or for its processor."""
        self.name, self.identity, self.provider = name, identity, session.provider
        self._session, self._reader = session, reader
        self._check_interface()
        self._processor = processor.parse({"size": EDGES, **preprocessor, **_fixed_size(session)})

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        """See `PromptedModel`. Keeps the prepared pixels; the whole graph runs for each prompt."""
        del limit
        pixels = self._processor.prepare(checked(image))
        pixels.flags.writeable = False
        return Embedding(self.identity, picture_hash(image), (image.shape[0], image.shape[1]), (pixels,))

    def decode_many(self, embedding: Embedding, prompts: Sequence[TextPrompt], limit: Limit = NO_LIMIT) -> list[list[Detection]]:
        """See `PromptedModel`."""
        checked_embedding(embedding, self.identity)
        return answers(embedding, prompts, self._reader, self._detect, limit)

    def _detect(self, embedding: Embedding, sentence: Sentence, limit: Limit) -> tuple[Floats, Floats]:
        """Logits [Q, N] and boxes [Q, 4]."""
        found = self._session.run(self._feed(embedding.arrays[0], sentence), stop=limit.stop, deadline_s=limit.deadline_s)
        logits, boxes, tokens = found["logits"], found["pred_boxes"], len(sentence.ids)
        if logits.ndim != 3 or logits.shape[2] < tokens or boxes.shape != (1, logits.shape[1], 4):
            text = f"{self.name} gave logits {logits.shape} and boxes {boxes.shape} for {tokens} tokens"
            raise InferenceFailed(text, code="run.shapes")
        return finite(logits[0, :, :tokens]), finite(boxes[0])  # beyond the tokens, logits are minus infinity

    def _feed(self, pixels: NDArray[np.float32], sentence: Sentence) -> dict[str, NDArray[Any]]:
        ids = np.array([sentence.ids])
        whole: dict[str, NDArray[Any]] = {IDS: ids, KINDS: np.zeros_like(ids), ATTENTION: np.ones_like(ids)}
        whole[PIXEL_MASK] = np.ones((1, *pixels.shape[2:]), np.int64)
        types = self._session.input_types
        given: dict[str, NDArray[Any]] = {
            name: value.astype(INTEGERS[types[name]], copy=False) for name, value in whole.items() if name in types
        }
        return {PIXELS: pixels.astype(input_type(self._session, PIXELS), copy=False), **given}

    def _check_interface(self) -> None:
        given, outputs = set(self._session.inputs), set(self._session.outputs)
        wrong = [*sorted(NEEDED - given), *sorted(given - NEEDED - OPTIONAL), *sorted(OUTPUTS - outputs)]
        if wrong:
            text = f"the ONNX file of {self.name} is not a Grounding DINO of the published kind: {', '.join(wrong)}"
            raise BadWeights(f"{text} missing or unknown", code="weights.interface")
        for name in given - {PIXELS}:
            if self._session.input_types[name] not in INTEGERS:
                kind = self._session.input_types[name]
                raise BadWeights(
                    f"{name} of the ONNX file of {self.name} is a {kind}, not whole numbers", code="weights.interface"
                )


def _fixed_size(session: Session) -> dict[str, Any]:
    """What a processor has to say about the size that the graph was made for; nothing where it takes any.

    Raises:
        BadWeights: with code `weights.interface`, if the input is no picture.
    """
    shape = session.input_shapes[PIXELS]
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise BadWeights(f"{PIXELS} of the ONNX file is {list(shape)}, not [1, 3, height, width]", code="weights.interface")
    height, width = shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        return {}
    return {"size": {"height": height, "width": width}, "do_resize": True}
