"""SAM 2.1 from ONNX files in the interface of the `onnx-community` repositories: points and boxes in, three masks out.

These files take no earlier mask and do not give the single answer, so nothing can be refined and one candidate is the best of the
three. Their decoder was exported with boxes, and such a graph adds the point that says nothing to a box, not to points. The
official answer without a box therefore needs that point from the caller, and an empty `input_boxes`. A box goes in as its two
corners, labelled 2 and 3, and the same last point: what the graph itself makes of a box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadWeights, InferenceFailed
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked_prompts
from locara_label.models.sam2 import (
    EMBEDDINGS,
    NOTHING,
    Clicks,
    Encoder,
    Floats,
    best_first,
    candidate,
    clicks_of,
    input_type,
)
from locara_label.runtime.session import Session, finite
from locara_label.types import Box, Candidate, Embedding, Point, Prompt

POINTS, LABELS, BOXES = "input_points", "input_labels", "input_boxes"
NEEDED = {POINTS, LABELS, *EMBEDDINGS}
OUTPUTS = {"pred_masks", "iou_scores"}
CHANNELS = (32, 64, 256)
INTEGERS = {"tensor(int32)": np.int32}
MAX_DIFFERENCE = 0.05
"""Of the self-test, as a share of the logits' standard deviation: far more than rounding, far less than undefined tokens make."""


class PublishedSam2:
    """A SAM 2.1 from published ONNX files; implements `PromptModel`."""

    refines = False

    def __init__(
        self, name: str, identity: str, sessions: tuple[Session, Session], preprocessor: Mapping[str, Any], decoder_file: str
    ) -> None:
        """`sessions` are those of the encoder and of the decoder, `decoder_file` is for messages.

        Raises:
            BadWeights: with code `weights.interface`, if the files have other inputs or outputs; with code
                `weights.empty_boxes`, if the decoder cannot tell "no box" (see `_check_empty_boxes`).
        """
        self.name, self.identity, self.provider = name, identity, sessions[0].provider
        self._encoder, self._decoder, self._file = Encoder(name, sessions[0], preprocessor), sessions[1], decoder_file
        self._takes_boxes = BOXES in self._decoder.inputs
        self._check_interface()
        if self._takes_boxes:
            self._check_empty_boxes()

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        """See `PromptModel`."""
        return self._encoder.encode(image, self.identity, limit)

    def decode(self, embedding: Embedding, prompt: Prompt, limit: Limit = NO_LIMIT) -> list[Candidate]:
        """See `PromptModel`."""
        return self.decode_many(embedding, [prompt], limit)[0]

    def decode_many(self, embedding: Embedding, prompts: Sequence[Prompt], limit: Limit = NO_LIMIT) -> list[list[Candidate]]:
        """See `PromptModel`. One run for each prompt: not all published files take several at once."""
        checked_prompts(embedding, prompts, self)
        clock = Clock(limit)
        return [self._answer(embedding, prompt, clock.left) for prompt in prompts]

    def _answer(self, embedding: Embedding, prompt: Prompt, limit: Limit) -> list[Candidate]:
        clicks = self._padded(clicks_of(prompt, embedding.size, self._encoder.side))
        logits, scores = self._run(embedding.arrays, clicks, no_boxes(), limit)
        order = best_first(scores)[: prompt.candidates]
        return [candidate(logits[index], scores[index], embedding.size, keep_logits=False) for index in order]

    def _padded(self, clicks: Clicks) -> Clicks:
        if not self._takes_boxes:  # such a graph adds the last point itself
            return clicks
        points, labels = clicks
        return np.vstack([points, np.zeros((1, 2), np.float32)]), np.append(labels, NOTHING)

    def _run(self, arrays: Sequence[NDArray[Any]], clicks: Clicks, boxes: Floats, limit: Limit) -> tuple[Floats, Floats]:
        """Logits [3, S/4, S/4] and scores [3]; boxes are [1, 0 or 1, 4]."""
        session, (points, labels) = self._decoder, clicks
        floats = dict(zip((*EMBEDDINGS, POINTS, BOXES), (*arrays, points[None, None], boxes), strict=True))
        feed = {
            name: value.astype(input_type(session, name), copy=False) for name, value in floats.items() if name in session.inputs
        }
        feed[LABELS] = labels[None, None].astype(INTEGERS.get(session.input_types[LABELS], np.int64), copy=False)
        found = session.run(feed, stop=limit.stop, deadline_s=limit.deadline_s)
        return finite(found["pred_masks"])[0, 0], finite(found["iou_scores"])[0, 0]

    def _check_interface(self) -> None:
        given, outputs = set(self._decoder.inputs), set(self._decoder.outputs)
        wrong = [*sorted(NEEDED - given), *sorted(given - NEEDED - {BOXES}), *sorted(OUTPUTS - outputs)]
        if wrong:
            text = (
                f"{self._file} of {self.name} is not a SAM 2 decoder of the published kind: {', '.join(wrong)} missing or unknown"
            )
            raise BadWeights(text, code="weights.interface")

    def _check_empty_boxes(self) -> None:
        """Asks the same twice: with a box, and with the corners of the box as points and no box.

        Both are the same tokens to a sound graph. In some exports an empty box still leaves room for its tokens, which then hold
        whatever was in memory, or the run fails.
        """
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(shape, np.float32) for shape in self._embedding_shapes()]
        side = self._encoder.side
        size, box = (side, side), Box(0.2 * side, 0.3 * side, 0.8 * side, 0.7 * side)
        point = Point(0.5 * side, 0.5 * side)
        boxes = np.array([[[box.x0, box.y0, box.x1, box.y1]]], np.float32)
        try:
            with_box, _ = self._run(arrays, clicks_of(Prompt((point,)), size, side), boxes, NO_LIMIT)
            without, _ = self._run(arrays, self._padded(clicks_of(Prompt((point,), box), size, side)), no_boxes(), NO_LIMIT)
        except InferenceFailed as error:
            raise self._confused(error.message) from error
        difference = float(np.abs(with_box - without).max())
        if difference > MAX_DIFFERENCE * float(with_box.std()):
            raise self._confused(f"its answers to the same prompt differ by {difference:.2g}")

    def _confused(self, why: str) -> BadWeights:
        text = f"{self._file} of {self.name} does not work without a box: {why}; use the official weights or another variant"
        return BadWeights(text, code="weights.empty_boxes")

    def _embedding_shapes(self) -> list[tuple[int, ...]]:
        cells = [self._encoder.side // cell for cell in (4, 8, 16)]
        found = [self._decoder.input_shapes[name][1:2] for name in EMBEDDINGS]
        channels = [dim[0] if dim and isinstance(dim[0], int) else usual for dim, usual in zip(found, CHANNELS, strict=True)]
        return [(1, channel, cell, cell) for channel, cell in zip(channels, cells, strict=True)]


def no_boxes() -> Floats:
    """Float32 [1, 0, 4]."""
    return np.zeros((1, 0, 4), np.float32)
