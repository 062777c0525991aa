"""FiftyOne: samples and labels to our types and back, models for `apply_model`, and the work behind the plugin's operators.

    from locara_label.hosts.fiftyone import model
    dataset.apply_model(model("mini"), "pred")

FiftyOne is imported when something here is first used, not by importing this package.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from locara_label.errors import MissingRuntime

if TYPE_CHECKING:
    import fiftyone.core.models as fom

__all__ = ["model"]


def check_installed() -> None:
    """Raises MissingRuntime where FiftyOne is not installed."""
    if find_spec("fiftyone") is None:
        raise MissingRuntime("FiftyOne is not installed: pip install locara-label[fiftyone]")


def model(name: str, **options: Any) -> fom.Model:
    """A model for `dataset.apply_model` and `dataset.compute_embeddings`; see `factory.model`."""
    check_installed()
    from locara_label.hosts.fiftyone.factory import model as make

    return make(name, **options)
