"""The reference for parity tests: random weights as `save_pretrained` writes them, and transformers' own pipeline over them."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

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

    def outputs(self, image: NDArray[Any]) -> Any:
        import torch

        with torch.no_grad():
            return self.model(**self.processor(images=image, return_tensors="pt"))


def export(
    module: Any, example: tuple[Any, ...], names: tuple[list[str], list[str]], axes: dict[str, Any], path: Path, **options: Any
) -> None:
    """Writes an ONNX file as published ones are made: by the exporter that follows a run.

    Args:
        module: of torch.
        example: its inputs in that run.
        names: of inputs and of outputs.
        axes: that are free, by the name of the input.
        path: of the file.
        options: more of `torch.onnx.export`.
    """
    import torch

    inputs, outputs = names
    words = {"input_names": inputs, "output_names": outputs, "dynamic_axes": axes, "opset_version": 17, "dynamo": False}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, example, str(path), **words, **options)


def make(folder: Path, graph: str, *, labels: int, size_px: int, seed: int) -> Reference:
    """Writes config.json, preprocessor_config.json and model.safetensors of a randomised model."""
    import torch
    import transformers

    from tools.architectures import ARCHITECTURES, randomise

    torch.manual_seed(seed)
    torch.set_num_threads(2)
    model = ARCHITECTURES[graph]().build(labels).eval()
    randomise(model, seed)
    family = graph.partition("-")[0]
    settings: dict[str, Any] = {"size": {"height": size_px, "width": size_px}}
    if family == "mask2former":
        settings["size_divisor"] = 32
    processor = getattr(transformers, PROCESSORS[family])(**settings)
    if family == "mask2former":
        _diversify(model, processor(images=pictures(3, seed=1000), return_tensors="pt")["pixel_values"])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(index): f"class {index}" for index in range(labels)}
    config["label2id"] = {f"class {index}": index for index in range(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    return Reference(folder, model, processor)


_MASK_STD, _CLASS_STD = 4.0, 2.0


def _diversify(model: Any, pixel_values: Any) -> None:
    """Makes the queries of a randomised Mask2Former differ, in the middle of their range, as those of a trained one do.

    Without it all queries say the same everywhere: one class, and a mask that is full or empty.
    """
    import torch

    queries = model.model.transformer_module
    with torch.no_grad():
        queries.queries_embedder.weight.mul_(20)
        queries.queries_features.weight.mul_(20)
        # Attention follows the masks, so that a change of the heads changes what they see.
        for _ in range(4):
            _centre(model, pixel_values)


def _centre(model: Any, pixel_values: Any) -> None:
    import torch

    embedder = model.model.transformer_module.decoder.mask_predictor.mask_embedder
    last = [module for module in embedder.modules() if isinstance(module, torch.nn.Linear)][-1]
    projection = model.model.pixel_level_module.decoder.mask_projection
    embeddings, features, outputs = _heard(model, last, projection, pixel_values)
    classes = outputs.class_queries_logits.flatten(0, 1)
    last.bias.sub_(embeddings.flatten(0, 1).mean(0))
    projection.bias.sub_(features.mean((0, 2, 3)))
    model.class_predictor.bias.sub_(classes.mean(0))
    _scale(last, _MASK_STD / outputs.masks_queries_logits.std())
    _scale(model.class_predictor, _CLASS_STD / classes.std(0).mean())


def _scale(layer: Any, factor: Any) -> None:
    layer.weight.mul_(factor)
    layer.bias.mul_(factor)


def _heard(model: Any, last: Any, projection: Any, pixel_values: Any) -> tuple[Any, Any, Any]:
    """What two layers put out in a run, the last time they did, and what the model did."""
    heard: dict[Any, Any] = {}

    def listen(layer: Any, inputs: Any, output: Any) -> None:
        del inputs
        heard[layer] = output

    hooks = [layer.register_forward_hook(listen) for layer in (last, projection)]
    outputs = model(pixel_values=pixel_values)
    for hook in hooks:
        hook.remove()
    return heard[last], heard[projection], outputs


def pictures(count: int, seed: int = 0) -> list[NDArray[Any]]:
    """Pictures of several sizes, portrait and landscape."""
    from fixtures.scenes import make_scene

    sizes = [(240, 320), (333, 500), (480, 270), (64, 100), (700, 520)]
    return [make_scene(seed + index, sizes[index % len(sizes)]).image for index in range(count)]
