"""The reference for SAM 2: random weights as the official repositories hold them, and transformers' picture model over them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Sam2Reference:
    """A folder in the hub's layout and `Sam2Model` with the same numbers; `side` is the model's input in pixels."""

    folder: Path
    model: Any
    side: int

    def pixel_values(self, image: NDArray[Any]) -> Any:
        """What `Sam2ImageProcessor` does, which needs torchvision: a plain resize of bytes with antialiasing, then scaling."""
        import torch

        planes = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
        size = (self.side, self.side)
        resized = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(values)[None, :, None, None] for values in (MEAN, STD))
        return (resized.float() / 255 - mean) / std

    def embeddings(self, image: NDArray[Any]) -> list[Any]:
        import torch

        with torch.no_grad():
            return list(self.model.get_image_embeddings(self.pixel_values(image)))

    def coordinates(self, points: list[tuple[float, float]], size: tuple[int, int]) -> Any:
        """`Sam2Processor._normalize_coordinates`: [N, 2] in pixels of the picture to pixels of the input."""
        import torch

        scaled = torch.tensor(points, dtype=torch.float32).reshape(-1, 2)
        scaled[:, 0] = scaled[:, 0] * (self.side / size[1])
        scaled[:, 1] = scaled[:, 1] * (self.side / size[0])
        return scaled

    def answer(self, embeddings: list[Any], size: tuple[int, int], prompt: Any, masks: Any = None) -> tuple[Any, Any]:
        """Logits [K, S/4, S/4] and scores [K] for a `Prompt`; masks are logits [S/4, S/4] of an earlier answer."""
        import torch

        given: dict[str, Any] = {}
        if prompt.points:
            given["input_points"] = self.coordinates([(p.x, p.y) for p in prompt.points], size)[None, None]
            given["input_labels"] = torch.tensor([[[int(p.positive) for p in prompt.points]]])
        if prompt.box is not None:
            box = prompt.box
            given["input_boxes"] = self.coordinates([(box.x0, box.y0), (box.x1, box.y1)], size).reshape(1, 1, 4)
        if masks is not None:
            given["input_masks"] = torch.from_numpy(masks)[None, None]
        with torch.no_grad():
            found = self.model(image_embeddings=list(embeddings), multimask_output=prompt.candidates == 3, **given)
        return found.pred_masks[0, 0], found.iou_scores[0, 0]


def upsampled(logits: Any, size: tuple[int, int]) -> NDArray[Any]:
    """`post_process_masks` of one mask: float32 [S/4, S/4] to bool [H, W]."""
    import torch

    full = torch.nn.functional.interpolate(logits[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return np.asarray((full > 0).numpy())


def make(folder: Path, graph: str, seed: int) -> Sam2Reference:
    """Writes config.json, preprocessor_config.json and model.safetensors of a randomised model, and gives the picture model.

    Args:
        folder: to be made.
        graph: the name of a graph of `tools.architectures` without "-encoder".
        seed: of the numbers.
    """
    import torch
    from transformers import Sam2Model

    from tools.architectures import ARCHITECTURES, unite

    torch.manual_seed(seed)
    architecture = ARCHITECTURES[f"{graph}-encoder"]()
    built = architecture.build(0).eval()
    randomise(built, seed)
    unite(built, architecture.twins)
    built.save_pretrained(folder)
    assert architecture.fixed_size is not None
    return of_model(folder, built, architecture.fixed_size[0], Sam2Model)


def of_model(folder: Path, built: Any, side: int, kind: Any) -> Sam2Reference:
    size = {"height": side, "width": side}
    content = {
        "image_processor_type": "Sam2ImageProcessorFast",
        "size": size,
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    if not isinstance(built, kind):
        built = _picture_model(built, kind)
    return Sam2Reference(folder, built, side)


def _picture_model(video: Any, kind: Any) -> Any:
    """The picture model with the numbers of a video model."""
    from transformers import Sam2Config, Sam2MaskDecoderConfig, Sam2PromptEncoderConfig

    config = video.config
    prompt = Sam2PromptEncoderConfig(
        **{k: getattr(config.prompt_encoder_config, k) for k in ("hidden_size", "image_size", "patch_size")}
    )
    sizes = ("hidden_size", "mlp_dim", "num_attention_heads", "iou_head_hidden_dim")
    decoder = Sam2MaskDecoderConfig(**{k: getattr(config.mask_decoder_config, k) for k in sizes})
    model = kind(Sam2Config(vision_config=config.vision_config, prompt_encoder_config=prompt, mask_decoder_config=decoder)).eval()
    lacking = model.load_state_dict(video.state_dict(), strict=False).missing_keys
    assert lacking == []
    return model


def randomise(model: Any, seed: int) -> None:
    """Numbers that keep signals alive through the depth, in the parameters that transformers sets to zero too."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if (
                parameter.dim() > 1
                and float(parameter.abs().max()) > 0
                and not ("embedding" in name and parameter.numel() < 4096)
            ):
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.add_(0.1 * noise)
