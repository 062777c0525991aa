"""The models that a server answers with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from locara_label.models.base import PromptModel, SegmentationModel, TextModel, VideoModel
from locara_label.models.grounded import GroundedSam2

Load = Callable[[str], tuple[PromptModel | None, SegmentationModel | None]]
"""A name to a model that answers prompts or to one that finds regions."""
LoadVideo = Callable[[str], VideoModel]


@dataclass(frozen=True)
class Models:
    """What each of them is for.

    Attributes:
        prompt: answers clicks, and makes masks of the boxes that `text` finds.
        prelabel: fills new tasks; None for none. One that understands text looks for the labels of each project.
        text: answers text prompts; None for none.
        version: of every answer; None takes the name of the model that pre-labels, else of the one that answers clicks.
        prompt_weights: the folder that the files of `prompt` were read from; None for those of the store.
        load: loads a model by name, when a request names one that the settings grant.
        load_video: the same for models that follow objects through video, the server's own included.
    """

    prompt: PromptModel
    prelabel: SegmentationModel | GroundedSam2 | None = None
    text: TextModel | None = None
    version: str | None = None
    prompt_weights: Path | None = None
    load: Load | None = None
    load_video: LoadVideo | None = None
