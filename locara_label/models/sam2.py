"""SAM 2.1 on pictures: one encoding for each picture, then masks from points, boxes and earlier masks.

Source: Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024; the arithmetic is that of transformers' `Sam2Processor`
and `Sam2Model`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry
from locara_label.errors import BadPrompt, BadWeights
from locara_label.models import processor
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked, checked_prompts, picture_hash
from locara_label.runtime.session import Session, finite
from locara_label.types import Candidate, Embedding, Mask, Prompt

EMBEDDINGS = ("image_embeddings.0", "image_embeddings.1", "image_embeddings.2")
INSIDE, OUTSIDE, TOP_LEFT, BOTTOM_RIGHT, NOTHING = 1, 0, 2, 3, -1
"""Labels of points."""
MASK_LOGIT = 10.0
"""Of a given mask: certain foreground and, negative, certain background. The published scale of masks in the video memory."""
MAX_LOGIT = 32.0
"""Earlier answers are held within this, as the published predictor does."""
MAX_BATCH = 8
"""Prompts in one run; at 1024 pixels each takes some 60 MB."""

Floats = NDArray[np.float32]
Clicks = tuple[Floats, NDArray[np.int64]]
"""Points [N, 2], x and y in pixels of the model's input, and their labels [N]."""


@dataclass(frozen=True)
class Stability:
    """When the single answer to a prompt gives way to the best of the three: `mask_decoder_config` of the published config."""

    is_used: bool = True
    delta: float = 0.05
    threshold: float = 0.98

    def accepts(self, logits: Floats) -> bool:
        """Whether a mask hardly changes when its threshold moves by `delta` either way."""
        narrow, wide = np.count_nonzero(logits > self.delta), np.count_nonzero(logits > -self.delta)
        return bool(not self.is_used or wide == 0 or narrow / wide >= self.threshold)


def parse_stability(config: Mapping[str, Any]) -> Stability:
    """Reads `config.json`.

    Raises:
        BadWeights: with code `weights.config`, if a value is of a wrong kind.
    """
    found = config.get("mask_decoder_config", {})
    try:
        stability = Stability(
            bool(found.get("dynamic_multimask_via_stability", True)),
            float(found.get("dynamic_multimask_stability_delta", Stability.delta)),
            float(found.get("dynamic_multimask_stability_thresh", Stability.threshold)),
        )
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadWeights(f"mask_decoder_config of the config cannot be used: {error}", code="weights.config") from error
    if not (math.isfinite(stability.delta) and math.isfinite(stability.threshold)):
        raise BadWeights("mask_decoder_config of the config has a number that is not finite", code="weights.config")
    return stability


class Encoder:
    """Pictures to embeddings, for both kinds of graphs.

    Attributes:
        side: height and width of the model's input in pixels.
    """

    def __init__(self, name: str, session: Session, preprocessor: Mapping[str, Any]) -> None:
        self._session = session
        self.side = self._side(name, session)
        self._processor = processor.parse({"size": {"height": self.side, "width": self.side}, **preprocessor})
        given = self._processor.height, self._processor.width
        if given != (self.side, self.side):
            text = f"the graph of {name} takes {self.side} pixels each way, its processor gives {given}"
            raise BadWeights(text, code="weights.input_size")

    @staticmethod
    def _side(name: str, session: Session) -> int:
        shape = session.input_shapes.get("pixel_values", ())[-1:]
        if not set(EMBEDDINGS) <= set(session.outputs) or not shape or not isinstance(shape[0], int):
            text = f"the encoder of {name} has inputs {session.input_shapes} and outputs {session.outputs}"
            raise BadWeights(f"{text}, not those of a SAM 2 encoder", code="weights.interface")
        return shape[0]

    def encode(self, image: Image, identity: str, limit: Limit) -> Embedding:
        pixels = self._processor.prepare(checked(image))
        feed = {"pixel_values": pixels.astype(input_type(self._session, "pixel_values"), copy=False)}
        found = self._session.run(feed, stop=limit.stop, deadline_s=limit.deadline_s)
        arrays = tuple(finite(found[name]) for name in EMBEDDINGS)
        for array in arrays:
            array.flags.writeable = False
        return Embedding(identity, picture_hash(image), (image.shape[0], image.shape[1]), arrays)


class Sam2:
    """A SAM 2.1 from official weights; implements `PromptModel`."""

    refines = True

    def __init__(
        self,
        name: str,
        identity: str,
        sessions: tuple[Session, Session],
        config: Mapping[str, Any],
        preprocessor: Mapping[str, Any],
    ) -> None:
        """`sessions` are those of the encoder and of the decoder.

        Raises:
            BadWeights: the graphs, `config.json` and `preprocessor_config.json` contradict each other.
        """
        self.name, self.identity, self.provider = name, identity, sessions[0].provider
        self._encoder, self._decoder = Encoder(name, sessions[0], preprocessor), sessions[1]
        self._stability = parse_stability(config)

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        """See `PromptModel`."""
        return self._encoder.encode(image, self.identity, limit)

    def decode(self, embedding: Embedding, prompt: Prompt, limit: Limit = NO_LIMIT) -> list[Candidate]:
        """See `PromptModel`."""
        return self.decode_many(embedding, [prompt], limit)[0]

    def decode_many(self, embedding: Embedding, prompts: Sequence[Prompt], limit: Limit = NO_LIMIT) -> list[list[Candidate]]:
        """See `PromptModel`; a mask given with logits is ignored, the logits being the finer of the two."""
        checked_prompts(embedding, prompts, self)
        clicks = [clicks_of(prompt, embedding.size, self._encoder.side) for prompt in prompts]
        masks = [self._mask_input(prompt) for prompt in prompts]
        found: dict[int, list[Candidate]] = {}
        clock = Clock(limit)
        for group in batches([len(labels) for _, labels in clicks]):
            logits, scores = self._run(embedding, [clicks[i] for i in group], [masks[i] for i in group], clock.left)
            for index, of_prompt, score in zip(group, logits, scores, strict=True):
                found[index] = self._candidates(of_prompt, score, prompts[index].candidates, embedding.size)
        return [found[index] for index in range(len(prompts))]

    def _mask_input(self, prompt: Prompt) -> Floats | None:
        """Logits [S/4, S/4] of what is already known of the object, or nothing."""
        quarter = self._encoder.side // 4
        if prompt.logits is not None:
            return checked_logits(prompt.logits, quarter).clip(-MAX_LOGIT, MAX_LOGIT)
        if prompt.mask is None:
            return None
        return (geometry.shrink_mask(prompt.mask.to_array(), (quarter, quarter)) * 2 - 1) * np.float32(MASK_LOGIT)

    def _run(
        self, embedding: Embedding, clicks: Sequence[Clicks], masks: Sequence[Floats | None], limit: Limit
    ) -> tuple[Floats, Floats]:
        """Logits [P, 4, S/4, S/4] and scores [P, 4] of prompts with equally many points."""
        quarter = self._encoder.side // 4
        nothing = np.zeros((quarter, quarter), np.float32)
        feed = {
            **dict(zip(EMBEDDINGS, embedding.arrays, strict=True)),
            "point_coords": np.stack([points for points, _ in clicks]),
            "point_labels": np.stack([labels for _, labels in clicks]),
            "mask_input": np.stack([nothing if mask is None else mask for mask in masks])[:, None],
            "has_mask_input": np.array([mask is not None for mask in masks], np.float32),
        }
        found = self._decoder.run(feed, stop=limit.stop, deadline_s=limit.deadline_s)
        return finite(found["masks"]), finite(found["iou_scores"])

    def _candidates(self, logits: Floats, scores: Floats, count: int, size: tuple[int, int]) -> list[Candidate]:
        """The published choice among the four masks of a prompt: the first, where it is stable, else the best of the others."""
        order = best_first(scores[1:]) + 1
        if count == 1:
            order = order[:1] if not self._stability.accepts(logits[0]) else np.zeros(1, np.int64)
        return [candidate(logits[index], scores[index], size, keep_logits=True) for index in order]


def batches(counts: Sequence[int]) -> Iterator[list[int]]:
    """Indices of prompts that run together.

    The model answers differently when points that say nothing are added, and the reference adds exactly one to each prompt. So
    prompts are not padded to a common number of points: those with equally many form a group.
    """
    for count in sorted(set(counts)):
        group = [index for index, other in enumerate(counts) if other == count]
        yield from (group[start : start + MAX_BATCH] for start in range(0, len(group), MAX_BATCH))


def clicks_of(prompt: Prompt, size: tuple[int, int], side: int) -> Clicks:
    """Points and the corners of the box, at least one point that says nothing; scaled as the published processor does."""
    points = [(point.x, point.y, INSIDE if point.positive else OUTSIDE) for point in prompt.points]
    if prompt.box is not None:
        points += [(prompt.box.x0, prompt.box.y0, TOP_LEFT), (prompt.box.x1, prompt.box.y1, BOTTOM_RIGHT)]
    table = np.array(points or [(0, 0, NOTHING)], np.float32)
    scale = np.array([side / size[1], side / size[0]], np.float32)
    return table[:, :2] * scale, table[:, 2].astype(np.int64)


def checked_logits(logits: Any, quarter: int) -> Floats:
    """Logits of an earlier answer.

    Raises:
        BadPrompt: they are not finite floats [quarter, quarter].
    """
    if not isinstance(logits, np.ndarray) or logits.shape != (quarter, quarter) or logits.dtype.kind != "f":
        found = f"{logits.dtype} {logits.shape}" if isinstance(logits, np.ndarray) else type(logits).__name__
        raise BadPrompt(f"logits of an earlier answer are floats [{quarter}, {quarter}], got {found}", code="prompt.logits")
    if not np.isfinite(logits).all():
        raise BadPrompt("logits of an earlier answer are not finite", code="prompt.logits")
    return logits.astype(np.float32, copy=False)


def best_first(scores: Floats) -> NDArray[np.int64]:
    """Indices by falling score; the lower index wins a tie."""
    return np.argsort(-scores, kind="stable")


def candidate(logits: Floats, score: float, size: tuple[int, int], *, keep_logits: bool) -> Candidate:
    """An answer at the picture's own size, by the published rule: logits are upsampled bilinearly, those above zero count."""
    mask = Mask.from_array(geometry.threshold_upsampled(logits, size))
    return Candidate(mask, float(np.clip(score, 0, 1)), logits.copy() if keep_logits else None)


def input_type(session: Session, name: str) -> np.dtype[Any]:
    """float16 where the graph asks for it, else float32."""
    return np.dtype(np.float16 if session.input_types[name] == "tensor(float16)" else np.float32)
