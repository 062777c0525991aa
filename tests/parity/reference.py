"""The reference for parity tests: random weights as `save_pretrained` writes them, and transformers' own pipeline over them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PROCESSORS = {
    "segformer": "SegformerImageProcessorPil",
    "mask2former": "Mask2FormerImageProcessorPil",
}


@dataclass(frozen=True)
class Reference:
    """A randomised model on disk in the hub's layout, and the same model in torch with its published processor."""

    folder: Path
    model: Any
    processor: Any

    def outputs(self, image: np.ndarray) -> Any:
        import torch

        with torch.no_grad():
            return self.model(**self.processor(images=image, return_tensors="pt"))


def make(folder: Path, graph: str, *, labels: int, size_px: int, seed: int, sharpen: float = 1.0) -> Reference:
    """Writes config.json, preprocessor_config.json and model.safetensors of a randomised model.

    `sharpen` scales the class and mask heads, so that random models make decisions that are not mere ties.
    """
    import torch
    import transformers

    from tools.architectures import ARCHITECTURES, randomise

    torch.manual_seed(seed)
    torch.set_num_threads(2)
    model = ARCHITECTURES[graph]().build(labels).eval()
    randomise(model, seed)
    _sharpen(model, sharpen)
    model.save_pretrained(folder)
    family = graph.partition("-")[0]
    settings: dict[str, Any] = {"size": {"height": size_px, "width": size_px}}
    if family == "mask2former":
        settings["size_divisor"] = 32
    processor = getattr(transformers, PROCESSORS[family])(**settings)
    processor.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(index): f"class {index}" for index in range(labels)}
    config["label2id"] = {f"class {index}": index for index in range(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    return Reference(folder, model, processor)


def _sharpen(model: Any, factor: float) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "class_predictor" in name or "mask_embedder.2" in name:
                parameter.mul_(factor)
            if name == "class_predictor.bias":
                parameter[-1] = parameter.min()  # or most queries would say "no object"


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Pictures of several sizes, portrait and landscape."""
    from fixtures.scenes import make_scene

    sizes = [(240, 320), (333, 500), (480, 270), (64, 100), (700, 520)]
    return [make_scene(seed + index, sizes[index % len(sizes)]).image for index in range(count)]
