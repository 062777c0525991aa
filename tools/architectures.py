"""The published configurations, as transformers models with random weights. Each row gives one weightless graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)

from tools.grounding_dino_modules import Detector, ImageEncoder, TextEncoder
from tools.sam2_modules import MaskDecoder, VisionEncoder
from tools.sam2_video_modules import MaskPrompt, MemoryAttention, MemoryEncoder, PointingDecoder

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
HIERA: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 96, "heads": 1, "depths": [1, 2, 7, 2], "global": [5, 7, 9]},
    "small": {"embed_dim": 96, "heads": 1, "depths": [1, 2, 11, 2], "global": [7, 10, 13]},
    "base-plus": {"embed_dim": 112, "heads": 2, "depths": [2, 3, 16, 3], "global": [12, 16, 20], "positions": 14},
    "large": {"embed_dim": 144, "heads": 2, "depths": [2, 6, 36, 4], "global": [23, 33, 43], "windows": [8, 4, 16, 8]},
}
"""Published SAM 2.1 backbones; positions and windows differ from the others where they are named."""
SAM2_SIDE = 1024
SAM2_PARTS = ("encoder", "decoder", "memory-encoder", "memory-attention", "mask-prompt")
SAM2_PICTURE_PARTS = SAM2_PARTS[:2]
SAM2_TWINS = {"prompt_encoder.shared_embedding.positional_embedding": "shared_image_embedding.positional_embedding"}
"""The same numbers twice; some files leave the former out. A fresh model has two different ones."""

GROUNDING_DINO = ("tiny", "base")
GROUNDING_DINO_PARTS: dict[str, Any] = {"image": ImageEncoder, "text": TextEncoder, "detector": Detector}
TOKENS = {"position_ids": {1: "tokens"}, "attention": {1: "tokens", 2: "tokens"}}


class NotTrained(Exception):
    """The mini model that a graph is for has no folder yet."""


@dataclass(frozen=True)
class Architecture:
    """One graph to build.

    Attributes:
        build: gives the transformers model for a number of labels.
        part: gives the module of that model to export.
        outputs: names of the graph's outputs.
        example: gives the inputs by name, in the order of the module's arguments.
        dynamic: by input, the axes whose sizes are free; none means that everything but the weights is constant.
        fixed_size: height and width of the picture where the graph accepts only one.
        has_labels: dimensions of some weights follow from the number of labels.
        twins: buffers that a graph never binds to, each with the one of the same numbers that it binds to instead.
        dynamo: takes the newer exporter, whose graph of a vision encoder is the faster one.
    """

    build: Callable[[int], Any]
    part: Callable[[Any], Any]
    outputs: tuple[str, ...]
    example: Callable[[], dict[str, Any]]
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    fixed_size: tuple[int, int] | None = None
    has_labels: bool = True
    twins: Mapping[str, str] = field(default_factory=dict)
    dynamo: bool = False


def _of_pixels(build: Callable[[int], Any], outputs: tuple[str, ...], fixed_size: tuple[int, int] | None = None) -> Architecture:
    """Pixels in, attributes of the model's output out."""
    shape = (1, 3, *fixed_size) if fixed_size else (2, 3, 128, 160)
    return Architecture(
        build,
        lambda model: Exported(model, outputs),
        outputs,
        lambda: {"pixel_values": torch.randn(shape)},
        {} if fixed_size else {"pixel_values": {0: "batch", 2: "height", 3: "width"}},
        fixed_size,
    )


def segformer(variant: str) -> Architecture:
    def build(labels: int) -> Any:
        return SegformerForSemanticSegmentation(SegformerConfig(num_labels=labels, **SEGFORMER[variant]))

    return _of_pixels(build, ("logits",))


def mask2former(variant: str, queries: int) -> Architecture:
    def build(labels: int) -> Any:
        swin = SwinConfig(drop_path_rate=0.3, out_features=STAGES, **SWIN[variant])
        return Mask2FormerForUniversalSegmentation(
            Mask2FormerConfig(backbone_config=swin, num_labels=labels, num_queries=queries)
        )

    return _mask2former(build, (384, 384))


def _mask2former(build: Callable[[int], Any], size: tuple[int, int]) -> Architecture:
    return _of_pixels(build, ("class_queries_logits", "masks_queries_logits"), size)


def segformer_mini() -> Architecture:
    def build(labels: int) -> Any:
        config = SegformerConfig.from_pretrained(MINI / "segformer")
        return SegformerForSemanticSegmentation(_relabel(config, labels))

    return _of_pixels(build, ("logits",))


def mask2former_mini() -> Architecture:
    def build(labels: int) -> Any:
        config = Mask2FormerConfig.from_pretrained(MINI / "mask2former")
        return Mask2FormerForUniversalSegmentation(_relabel(config, labels))

    size = json.loads((MINI / "mask2former" / "preprocessor_config.json").read_text())["size"]
    return _mask2former(build, (size["height"], size["width"]))


def sam2(variant: str, part: str) -> Architecture:
    """A graph of a published SAM 2.1; the official files hold the video model."""
    return _sam2(lambda: Sam2VideoModel(Sam2VideoConfig(vision_config=_hiera(HIERA[variant]))), SAM2_SIDE, 256, part)


def sam2_mini(part: str) -> Architecture:
    folder = _trained("sam2")
    if json.loads((folder / "config.json").read_text())["model_type"] == "sam2_video":
        video = Sam2VideoConfig.from_pretrained(folder)
        return _sam2(lambda: Sam2VideoModel(video), video.image_size, video.vision_config.fpn_hidden_size, part)
    if part not in SAM2_PICTURE_PARTS:
        raise NotTrained(f"{folder} has no memory yet")
    config = Sam2Config.from_pretrained(folder)
    return _sam2(lambda: Sam2Model(config), config.prompt_encoder_config.image_size, config.vision_config.fpn_hidden_size, part)


def grounding_dino(variant: str, part: str) -> Architecture:
    """A graph of a published Grounding DINO."""
    swin = SwinConfig(out_indices=[2, 3, 4], **SWIN[variant])
    return _grounding_dino(GroundingDinoConfig(backbone_config=swin), part)


def grounding_dino_mini(part: str) -> Architecture:
    return _grounding_dino(GroundingDinoConfig.from_pretrained(_trained("grounding-dino")), part)


def _grounding_dino(config: Any, part: str) -> Architecture:
    config.disable_custom_kernels = True  # they have no counterpart in a graph
    module = GROUNDING_DINO_PARTS[part]
    return Architecture(
        lambda _: GroundingDinoForObjectDetection(config),
        module,
        module.outputs,
        lambda: {name: _grounding_dino_example(name, config.d_model) for name in module.inputs},
        {name: _grounding_dino_axes(name) for name in module.inputs},
        has_labels=False,
    )


def _grounding_dino_example(name: str, channels: int) -> Any:
    count = 7
    if name.startswith("features"):
        level = int(name[-1])
        return torch.randn(1, channels, -(-43 >> level), -(-53 >> level))
    return {
        "pixel_values": torch.randn(1, 3, *ImageEncoder.example),
        "input_ids": torch.arange(101, 101 + count)[None],
        "text_features": torch.randn(1, count, channels),
        "position_ids": torch.arange(count)[None],
        "attention": torch.eye(count)[None],
    }[name]


def _grounding_dino_axes(name: str) -> Mapping[int, str]:
    if name.startswith("features"):
        return {2: f"height{name[-1]}", 3: f"width{name[-1]}"}
    return {"pixel_values": {2: "height", 3: "width"}, **TOKENS}.get(name, {1: "tokens"})


def _trained(folder: str) -> Path:
    if not (MINI / folder / "config.json").is_file():
        raise NotTrained(f"{MINI / folder} is not there; tools/train_{folder.replace('-', '_')}_mini.py makes it")
    return MINI / folder


def _hiera(row: Mapping[str, Any]) -> Any:
    dims = [row["embed_dim"] << stage for stage in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=dims[0],
        num_attention_heads=row["heads"],
        blocks_per_stage=row["depths"],
        embed_dim_per_stage=dims,
        num_attention_heads_per_stage=[row["heads"] << stage for stage in range(4)],
        window_size_per_stage=row.get("windows", [8, 4, 14, 7]),
        global_attention_blocks=row["global"],
        window_positional_embedding_background_size=[row.get("positions", 7)] * 2,
    )
    return Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=dims[::-1])


def _sam2(build: Callable[[], Any], side: int, channels: int, part: str) -> Architecture:
    if part == "encoder":
        return _sam2_encoder(lambda _: build(), side)
    return _SAM2_PARTS[part](lambda _: build(), side, channels)


def _sam2_encoder(build: Callable[[int], Any], side: int) -> Architecture:
    return Architecture(
        build,
        VisionEncoder,
        VisionEncoder.outputs,
        lambda: {"pixel_values": torch.randn(1, 3, side, side)},
        fixed_size=(side, side),
        has_labels=False,
        twins=SAM2_TWINS,
        dynamo=True,
    )


def _sam2_decoder(build: Callable[[int], Any], side: int, channels: int) -> Architecture:
    prompts, points = {0: "prompts"}, {0: "prompts", 1: "points"}
    module = PointingDecoder if hasattr(build(0), "object_pointer_proj") else MaskDecoder
    axes = ({0: "frames"}, points, points, prompts, prompts)
    return _of_module(build, side, module, _prompted(side, channels), dict(zip(MaskDecoder.inputs[2:], axes, strict=True)))


def _sam2_memory_encoder(build: Callable[[int], Any], side: int, channels: int) -> Architecture:
    objects = {0: "objects"}
    example = (
        torch.randn(1, channels, side // 16, side // 16),
        torch.randn(2, 1, side // 4, side // 4),
        torch.randn(2, 1),
        torch.ones(2),
    )
    axes = {"mask_logits": {0: "objects", 2: "height", 3: "width"}, "object_score_logits": objects, "binarize": objects}
    return _of_module(build, side, MemoryEncoder, example, axes)


def _sam2_memory_attention(build: Callable[[int], Any], side: int, channels: int) -> Architecture:
    cells, depth = (side // 16,) * 2, build(0).mem_dim
    example = (
        torch.randn(1, channels, *cells),
        torch.randn(2, 3, depth, *cells),
        torch.tensor([0, 2, 1]),
        torch.randn(2, 5, channels),
        torch.rand(5),
    )
    axes = (
        {0: "objects", 1: "memories"},
        {0: "memories"},
        {0: "objects", 1: "pointers"},
        {0: "pointers"},
    )
    return _of_module(build, side, MemoryAttention, example, dict(zip(MemoryAttention.inputs[1:], axes, strict=True)))


def _sam2_mask_prompt(build: Callable[[int], Any], side: int, channels: int) -> Architecture:
    example = torch.randn(1, channels, side // 16, side // 16), torch.ones(2, 1, side, side)
    return _of_module(build, side, MaskPrompt, example, {"mask": {0: "objects"}})


def _of_module(
    build: Callable[[int], Any], side: int, module: Any, example: tuple[Any, ...], dynamic: Mapping[str, Mapping[int, str]]
) -> Architecture:
    return Architecture(
        build,
        module,
        module.outputs,
        lambda: dict(zip(module.inputs, example, strict=True)),
        dynamic,
        fixed_size=(side, side),
        has_labels=False,
        twins=SAM2_TWINS,
    )


_SAM2_PARTS: dict[str, Callable[[Callable[[int], Any], int, int], Architecture]] = {
    "decoder": _sam2_decoder,
    "memory-encoder": _sam2_memory_encoder,
    "memory-attention": _sam2_memory_attention,
    "mask-prompt": _sam2_mask_prompt,
}


def _prompted(side: int, channels: int) -> tuple[Any, ...]:
    """Two prompts of three points on the embeddings of a picture."""
    shapes = ((channels // 8, side // 4), (channels // 4, side // 8), (channels, side // 16))
    embeddings = [torch.randn(1, depth, cells, cells) for depth, cells in shapes]
    labels, masks = torch.tensor([[1, 0, -1], [2, 3, 1]]), torch.randn(2, 1, side // 4, side // 4)
    return *embeddings, torch.rand(2, 3, 2) * side, labels, masks, torch.tensor([0.0, 1.0])


def _relabel(config: Any, labels: int) -> Any:
    config.num_labels = labels
    return config


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    **{f"segformer-{v}": lambda v=v: segformer(v) for v in SEGFORMER},  # type: ignore[misc]
    **{f"mask2former-swin-{v}-q{q}": lambda v=v, q=q: mask2former(v, q) for v, q in MASK2FORMER},  # type: ignore[misc]
    "segformer-mini": segformer_mini,
    "mask2former-mini": mask2former_mini,
    **{f"sam2.1-hiera-{v}-{p}": lambda v=v, p=p: sam2(v, p) for v in HIERA for p in SAM2_PARTS},  # type: ignore[misc]
    **{f"sam2-mini-{p}": lambda p=p: sam2_mini(p) for p in SAM2_PARTS},  # type: ignore[misc]
    **{
        f"grounding-dino-{v}-{p}": lambda v=v, p=p: grounding_dino(v, p)  # type: ignore[misc]
        for v in GROUNDING_DINO
        for p in GROUNDING_DINO_PARTS
    },
    **{f"grounding-dino-mini-{p}": lambda p=p: grounding_dino_mini(p) for p in GROUNDING_DINO_PARTS},  # type: ignore[misc]
}


def unite(model: Any, twins: Mapping[str, str]) -> None:
    """Copies the original of each twin into it."""
    with torch.no_grad():
        for twin, original in twins.items():
            model.get_buffer(twin).copy_(model.get_buffer(original))


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
    """Gives every float tensor of the file its own random content, so that content identifies a tensor.

    Buffers that are in no file stay as they are: they are formulas of the configuration.
    """
    generator = torch.Generator().manual_seed(seed)
    stored = model.state_dict().keys()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and name in stored:
                noise = torch.randn(tensor.shape, generator=generator)
                positive = "var" in name or ("norm" in name and name.endswith("weight"))
                tensor.copy_(1 + 0.05 * noise.abs() if positive else 0.05 * noise)
