"""Segmentation assistance for people who label data.

    model = locara_label.load("mini")
    image = locara_label.read_image("picture.jpg")
    for instance in model.segment(image):
        print(instance.label, instance.score, instance.mask.area)

Importing this module loads nothing else: what a name stands for is imported when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locara_label.engine.loading import load
    from locara_label.errors import LocaraError
    from locara_label.images import read as read_image
    from locara_label.models.base import SegmentationModel
    from locara_label.types import Box, Instance, Label, Mask

__version__ = "0.1.0"
__all__ = ["Box", "Instance", "Label", "LocaraError", "Mask", "SegmentationModel", "__version__", "load", "read_image"]

_HOMES = {
    "Box": ("types", "Box"),
    "Instance": ("types", "Instance"),
    "Label": ("types", "Label"),
    "LocaraError": ("errors", "LocaraError"),
    "Mask": ("types", "Mask"),
    "SegmentationModel": ("models.base", "SegmentationModel"),
    "load": ("engine.loading", "load"),
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
