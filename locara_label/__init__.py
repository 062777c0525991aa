"""Segmentation assistance for people who label data.

    model = locara_label.load("mini")
    image = locara_label.read_image("picture.jpg")
    for instance in model.segment(image):
        print(instance.label, instance.score, instance.mask.area)
    (found,) = locara_label.mask_from_prompt(image, points=[(120, 80)])

Importing this module loads nothing else: what a name stands for is imported when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locara_label.engine.loading import load, load_prompt_model
    from locara_label.engine.prompting import mask_from_prompt
    from locara_label.engine.tracking import open_video
    from locara_label.errors import LocaraError
    from locara_label.images import read as read_image
    from locara_label.models.base import PromptModel, SegmentationModel, TextModel
    from locara_label.server.opening import open_service
    from locara_label.types import (
        Box,
        Candidate,
        Detection,
        Embedding,
        Grounded,
        Instance,
        Label,
        Mask,
        Point,
        Prompt,
        TextPrompt,
    )

__version__ = "0.1.0"
__all__ = [
    "Box",
    "Candidate",
    "Detection",
    "Embedding",
    "Grounded",
    "Instance",
    "Label",
    "LocaraError",
    "Mask",
    "Point",
    "Prompt",
    "PromptModel",
    "SegmentationModel",
    "TextModel",
    "TextPrompt",
    "__version__",
    "load",
    "load_prompt_model",
    "mask_from_prompt",
    "open_service",
    "open_video",
    "read_image",
]

_HOMES = {
    "Box": ("types", "Box"),
    "Candidate": ("types", "Candidate"),
    "Detection": ("types", "Detection"),
    "Embedding": ("types", "Embedding"),
    "Grounded": ("types", "Grounded"),
    "Instance": ("types", "Instance"),
    "Label": ("types", "Label"),
    "LocaraError": ("errors", "LocaraError"),
    "Mask": ("types", "Mask"),
    "Point": ("types", "Point"),
    "Prompt": ("types", "Prompt"),
    "PromptModel": ("models.base", "PromptModel"),
    "SegmentationModel": ("models.base", "SegmentationModel"),
    "TextModel": ("models.base", "TextModel"),
    "TextPrompt": ("types", "TextPrompt"),
    "load": ("engine.loading", "load"),
    "load_prompt_model": ("engine.loading", "load_prompt_model"),
    "mask_from_prompt": ("engine.prompting", "mask_from_prompt"),
    "open_video": ("engine.tracking", "open_video"),
    "open_service": ("server.opening", "open_service"),
    "read_image": ("images", "read"),
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'locara_label' has no attribute {name!r}")
        module, attribute = _HOMES[name]
        value = getattr(import_module(f"locara_label.{module}"), attribute)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
