"""The reference for Grounding DINO: random weights in the hub's layout, and transformers' own processor and model over them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models import bert_files

TIE = 1e-4
"""Between the scores of two proposals."""


@dataclass(frozen=True)
class Found:
    """A box that the published post-processing keeps, clipped to the picture; corners in pixels."""

    score: float
    box: tuple[float, ...]
    phrase: str


@dataclass(frozen=True)
class Seen:
    """What the model says about a picture and a text.

    Attributes:
        inputs, outputs: of the model.
        size: height and width of the picture.
    """

    inputs: Any
    outputs: Any
    size: tuple[int, int]

    @property
    def tokens(self) -> int:
        return int(self.inputs["input_ids"].shape[1])

    @property
    def chances(self) -> NDArray[Any]:
        """[Q, N] of every query for every token."""
        return np.asarray(self.outputs.logits[0, :, : self.tokens].sigmoid().numpy())


@dataclass(frozen=True)
class TextReference:
    """A folder in the hub's layout; `GroundingDinoForObjectDetection` and `GroundingDinoProcessor` with the same numbers."""

    folder: Path
    model: Any
    processor: Any

    def see(self, image: NDArray[Any], text: str) -> Seen:
        import torch

        inputs = self.processor(images=image, text=text, return_tensors="pt")
        with torch.no_grad():
            return Seen(inputs, self.model(**inputs), (image.shape[0], image.shape[1]))

    def tied(self, seen: Seen) -> NDArray[np.bool_]:
        """Queries [Q] whose proposal has the score of another but for rounding, so that the two may change places."""
        best = np.sort(seen.outputs.enc_outputs_class[0].max(-1)[0].numpy())[::-1][: seen.outputs.logits.shape[1] + 1]
        close = -np.diff(best) < TIE
        return np.asarray(close | np.append(False, close[:-1]))

    def found(self, seen: Seen, box_threshold: float, text_threshold: float) -> list[Found]:
        """Best first."""
        (result,) = self.processor.post_process_grounded_object_detection(
            seen.outputs, seen.inputs["input_ids"], box_threshold, text_threshold, target_sizes=[seen.size]
        )
        height, width = seen.size
        boxes = result["boxes"].numpy().clip(0, [width, height, width, height])
        rows = zip(result["scores"].tolist(), boxes.tolist(), result["text_labels"], strict=True)
        kept = [Found(score, tuple(box), phrase) for score, box, phrase in rows if box[0] < box[2] and box[1] < box[3]]
        return sorted(kept, key=lambda one: -one.score)


def make(
    folder: Path, build: Callable[[], Any], *, vocabulary: Sequence[str], edges: tuple[int, int], seed: int
) -> TextReference:
    """Writes config.json, preprocessor_config.json, model.safetensors and the tokenizer's files.

    Args:
        folder: to be made.
        build: makes a `GroundingDinoForObjectDetection`; its numbers are changed.
        vocabulary: pieces in the order of their ids, no more than the model has.
        edges: shortest and longest edge of its pictures in pixels.
        seed: of the numbers.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # sizes that are not best for CUDA
        model = build().eval().float()
    assert len(vocabulary) <= model.config.text_config.vocab_size
    randomise(model, seed)
    model.save_pretrained(folder)
    content = bert_files.tokenizer_json({piece: number for number, piece in enumerate(vocabulary)})
    (folder / "tokenizer.json").write_text(json.dumps(content | {"truncation": None}), "utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "clean_up_tokenization_spaces": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    pictures = transformers.GroundingDinoImageProcessorPil(size={"shortest_edge": edges[0], "longest_edge": edges[1]})
    pictures.save_pretrained(folder)
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    return TextReference(folder, model, transformers.GroundingDinoProcessor(pictures, tokenizer))


def randomise(model: Any, seed: int) -> None:
    """Numbers that keep queries, tokens and boxes apart, also in what a fresh model has at zero."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "bbox_embed" in name and parameter.dim() > 1:
                parameter.add_(0.5 * parameter.shape[-1] ** -0.5 * noise)
            elif parameter.dim() <= 1 and not ("norm" in name.lower() and name.endswith("weight")):
                parameter.add_(0.05 * noise)
            elif "sampling_offsets" in name:
                parameter.add_(0.02 * noise)
        model.model.decoder.layer_norm.weight.mul_(0.1)  # scores that are neither all 1 nor all 0


def thresholds(chances: NDArray[Any]) -> tuple[float, float]:
    """A box threshold that a few dozen boxes pass at most, and a text threshold that half of their tokens pass.

    Args:
        chances: [Q, N] of every query for every token.
    """
    scores = chances.max(1)
    few = np.quantile(scores, [max(0.5, 1 - 40 / len(scores)), 1 - 5 / len(scores)])
    box = widest_gap(scores, *few)
    words = chances[scores > box].ravel()
    return box, widest_gap(words, *np.quantile(words, [0.3, 0.5]))


def widest_gap(values: NDArray[Any], low: float, high: float) -> float:
    """The middle of the widest gap between two values from `low` to `high`: a threshold that rounding cannot cross."""
    inside = np.sort(np.concatenate([[low, high], values[(values > low) & (values < high)]]))
    at = int(np.diff(inside).argmax())
    return float((inside[at] + inside[at + 1]) / 2)
