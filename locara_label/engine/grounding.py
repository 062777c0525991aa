"""Names of pairs of models that turn text into masks, and their loading."""

from __future__ import annotations

from collections.abc import Sequence

from locara_label.engine.loading import DEFAULT_PROMPT_MODEL, DEFAULT_TEXT_MODEL, load_prompt_model, load_text_model
from locara_label.errors import UnknownModel
from locara_label.models.grounded import GroundedSam2, LabelledPhrases
from locara_label.settings import Settings

GROUNDED_SAM2 = "grounded-sam2"
"""Name of the pair that needs no download."""


def is_grounded(name: str) -> bool:
    """Whether `load_grounded` loads what has this name: "grounded-sam2", or a text and a prompt model with a plus between them.

    Whether there are such models is not asked here.
    """
    text, plus, masks = name.partition("+")
    return name == GROUNDED_SAM2 or bool(text and plus and masks and "+" not in masks)


def pair(name: str) -> tuple[str, str]:
    """The names of the text model and of the prompt model.

    Raises:
        UnknownModel: the name is no pair.
    """
    if name == GROUNDED_SAM2:
        return DEFAULT_TEXT_MODEL, DEFAULT_PROMPT_MODEL
    if not is_grounded(name):
        example = "grounding-dino-tiny+sam2.1-hiera-small"
        raise UnknownModel(f"no pair of models is named {name!r}; there are {GROUNDED_SAM2} and such as {example}")
    text, _, masks = name.partition("+")
    return text, masks


def load_grounded(name: str, device: str | None = None, *, settings: Settings | None = None) -> GroundedSam2:
    """Loads a text model and a prompt model that work as one.

    Args:
        name: "grounded-sam2" for the models that need no download, or TEXT+MASKS, two catalogue names, for example
            "grounding-dino-tiny+sam2.1-hiera-small".
        device: as in `loading.load`, for both.
        settings: as in `loading.load`.

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption, MissingRuntime, DeviceUnavailable: as in `loading.load`.
    """
    text, masks = pair(name)
    prompt_model = load_prompt_model(masks, None, device, settings=settings)
    return GroundedSam2(load_text_model(text, None, device, settings=settings), prompt_model)


def load_labelled(
    name: str,
    labels: Sequence[str],
    text_threshold: float | None = None,
    device: str | None = None,
    *,
    settings: Settings | None = None,
) -> LabelledPhrases:
    """A pair of models that looks for labels by their names, for jobs that load their model themselves.

    Raises:
        BadOption, BadPrompt: see `GroundedSam2.of_labels`.
        UnknownModel, NotDownloaded, BadWeights, MissingRuntime, DeviceUnavailable: see `load_grounded`.
    """
    return load_grounded(name, device, settings=settings).of_labels(labels, text_threshold=text_threshold)
