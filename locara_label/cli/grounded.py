"""What the commands that are asked in words share: the labels that they take, and what they say about their models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from locara_label.cli.output import MINI, note
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.batch.labels import LabelMap
    from locara_label.batch.phrases import Asked

_KNOWS_NO_THINGS = "it follows colours and edges and knows no things; for photos name a SAM 2.1"
_SCENES_ONLY = "it was trained on generated scenes; for photos name a SAM 2.1"


def read_labels(given: Sequence[str]) -> LabelMap | None:
    """Label names, or one TOML file that maps phrases to labels; None where nothing is given.

    Raises:
        BadOption: a file beside others, or one that cannot be used; code option.labels.
    """
    from locara_label.batch.labels import read_map
    from locara_label.batch.phrases import map_of_names

    files = [text for text in given if text.lower().endswith(".toml")]
    if files and len(given) > 1:
        raise BadOption(f"--labels takes one file or several names, not {files[0]} beside others", code="option.labels")
    if files:
        return read_map(Path(files[0]))
    return map_of_names(given) if given else None


def note_models(name: str, text_option: str, masks_option: str) -> None:
    """Says what is to be known of a pair of models, and which options name others."""
    from locara_label.engine.grounding import pair
    from locara_label.engine.loading import CLASSIC, PROMPT_TASK, TEXT_TASK, find_row

    text, masks = pair(name)
    if find_row(text, TEXT_TASK).bundled is not None:
        note(f"note: {MINI}for those run `locara-label models pull grounding-dino-tiny` and name that model with {text_option}")
    if masks == CLASSIC:
        note(f"note: classic makes the masks: {_KNOWS_NO_THINGS} with {masks_option}")
    elif find_row(masks, PROMPT_TASK).bundled is not None:
        note(f"note: the mini SAM 2 makes the masks: {_SCENES_ONLY} with {masks_option}")


def note_unasked(sought: Asked) -> None:
    """Names labels of the map that nothing asks for."""
    if sought.unasked:
        names = ", ".join(map(repr, sought.unasked[:5])) + (", ..." if len(sought.unasked) > 5 else "")
        note(f"note: the prompt does not ask for {names} of --labels")
