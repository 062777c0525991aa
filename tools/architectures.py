"""The published configurations, as transformers models with random weights. Each row gives one weightless graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)

MINI = Path(__file__).parent.parent / "locara_label" / "mini"

SEGFORMER = {
    "b0": {"depths": [2, 2, 2, 2], "hidden_sizes": [32, 64, 160, 256], "decoder_hidden_size": 256},
    "b1": {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 256},
    "b2": {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
    "b3": {"depths": [3, 4, 18, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
    "b4": {"depths": [3, 8, 27, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
    "b5": {"depths": [3, 6, 40, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
}
SWIN = {
    "tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7, "image_size": 224},
    "small": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7, "image_size": 224},
    "base": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12, "image_size": 384},
    "large": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12, "image_size": 384},
}
MASK2FORMER = (("tiny", 100), ("small", 100), ("base", 100), ("base", 200), ("large", 100), ("large", 200))
"""Published backbones and numbers of object queries."""
STAGES = ["stage1", "stage2", "stage3", "stage4"]


@dataclass(frozen=True)
class Architecture:
    """One graph to build.

    Attributes:
        build: gives the transformers model for a number of labels.
        outputs: names of the graph's outputs, which are attributes of the model's output.
        example_px: height and width of the example input, multiples of 32.
        fixed_size: the graph accepts only `example_px` (Swin's window shifts are constants of the size).
    """

    build: Callable[[int], Any]
    outputs: tuple[str, ...]
    example_px: tuple[int, int]
    fixed_size: bool = False


def segformer(variant: str) -> Architecture:
    def build(labels: int) -> Any:
        return SegformerForSemanticSegmentation(SegformerConfig(num_labels=labels, **SEGFORMER[variant]))

    return Architecture(build, ("logits",), (128, 160))


def mask2former(variant: str, queries: int) -> Architecture:
    def build(labels: int) -> Any:
        swin = SwinConfig(drop_path_rate=0.3, out_features=STAGES, **SWIN[variant])
        return Mask2FormerForUniversalSegmentation(
            Mask2FormerConfig(backbone_config=swin, num_labels=labels, num_queries=queries)
        )

    return _mask2former(build, (384, 384))


def _mask2former(build: Callable[[int], Any], size: tuple[int, int]) -> Architecture:
    return Architecture(build, ("class_queries_logits", "masks_queries_logits"), size, fixed_size=True)


def segformer_mini() -> Architecture:
    def build(labels: int) -> Any:
        config = SegformerConfig.from_pretrained(MINI / "segformer")
        return SegformerForSemanticSegmentation(_relabel(config, labels))

    return Architecture(build, ("logits",), (128, 160))


def mask2former_mini() -> Architecture:
    def build(labels: int) -> Any:
        config = Mask2FormerConfig.from_pretrained(MINI / "mask2former")
        return Mask2FormerForUniversalSegmentation(_relabel(config, labels))

    size = json.loads((MINI / "mask2former" / "preprocessor_config.json").read_text())["size"]
    return _mask2former(build, (size["height"], size["width"]))


def _relabel(config: Any, labels: int) -> Any:
    config.num_labels = labels
    return config


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    **{f"segformer-{v}": lambda v=v: segformer(v) for v in SEGFORMER},  # type: ignore[misc]
    **{f"mask2former-swin-{v}-q{q}": lambda v=v, q=q: mask2former(v, q) for v, q in MASK2FORMER},  # type: ignore[misc]
    "segformer-mini": segformer_mini,
    "mask2former-mini": mask2former_mini,
}


class Exported(torch.nn.Module):  # type: ignore[misc]
    """What the exporter sees: pixels in, the named outputs out."""

    def __init__(self, model: Any, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs
        self.eval()  # the exporter restores this flag for the whole tree, so it must be false here too

    def forward(self, pixel_values: Any) -> Any:
        found = self.model(pixel_values=pixel_values)
        return tuple(getattr(found, name) for name in self.outputs)


def randomise(model: Any, seed: int) -> None:
    """Gives every float parameter and buffer its own random content, so that content identifies a tensor."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                positive = "var" in name or ("norm" in name and name.endswith("weight"))
                tensor.copy_(1 + 0.05 * noise.abs() if positive else 0.05 * noise)
