"""Labels of a project as phrases to look for, and phrases that somebody typed as labels of the project."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.config import ControlTag, LabelingConfig, Output, ProjectLabel, parse
from locara_label.hosts.label_studio.label_map import find_label, spoken_names
from locara_label.models.base import SegmentationModel
from locara_label.models.grounded import GroundedSam2, phrase_of

_WORD = re.compile(r"\w+")


def label_phrases(config: str) -> tuple[str, ...]:
    """What to look for on the pictures of a project: for each label that masks can have, what it stands for in words.

    That is its `predicted_values`, else what annotators read. Labels, and controls, that say `model_skip` are left out.

    Raises:
        BadRequest: code config.unusable; no label has a word to look for. Code config.bad, see `config.parse`.
    """
    parsed = parse(config)
    labels = [label for control in _controls(parsed) for label in control.labels if not label.skip]
    phrases = [phrase_of(name) for label in labels for name in label.predicted_values or spoken_names(label)[:1]]
    found = tuple(dict.fromkeys(phrase for phrase in phrases if phrase))
    if not found:
        raise BadRequest("no label of the project can be looked for: masks have no labels with words", code="config.unusable")
    return found


def of_config(model: GroundedSam2, config: str) -> SegmentationModel:
    """A model whose classes are the phrases of a project's labels.

    Raises:
        BadRequest: see `label_phrases`.
        BadOption, BadPrompt: see `GroundedSam2.of_labels`.
    """
    return model.of_labels(label_phrases(config))


def _controls(config: LabelingConfig) -> list[ControlTag]:
    outputs = [output for shown in config.images for output in config.outputs(shown.name)]
    return [output.names for output in outputs if output.names is not None and not output.names.skip]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the masks of a phrase go.

    Attributes:
        output: the controls.
        label: None where no control of the picture has labels.
        threshold: the least score that the label, or its control, asks for.
    """

    output: Output
    label: str | None
    threshold: float = 0.0


def place_of(phrase: str, outputs: Sequence[Output], chosen: str | None = None) -> Place | None:
    """Where the masks of a phrase go; None if no label stands for it.

    The first that there is: the label that was chosen with the prompt; the one that the phrase names, by `predicted_values` or
    as it is written (see `map_labels`); the only one whose words are among the phrase's, as "car" in "red car"; the only one
    that there is. The first output with such a label has it.
    """
    if chosen is not None:
        return next((Place(output, chosen) for output in outputs if output.may_have(chosen)), None)
    named = [(output, label) for output in outputs if output.names is not None for label in output.names.labels]
    if not named:
        return next((Place(output, None) for output in outputs), None)
    for find in (_spelt, _within, _only):
        if (found := find(phrase, named)) is not None:
            return _placed(*found)
    return None


_Named = tuple[Output, ProjectLabel]


def _placed(output: Output, label: ProjectLabel) -> Place | None:
    control = output.names or output.shape
    if label.skip or control.skip:
        return None
    least = control.score_threshold if label.score_threshold is None else label.score_threshold
    return Place(output, label.name, least or 0.0)


def _spelt(phrase: str, named: Sequence[_Named]) -> _Named | None:
    for output in dict.fromkeys(output for output, _ in named):
        label = find_label(phrase, [label for other, label in named if other == output])
        if label is not None:
            return output, label
    return None


def _within(phrase: str, named: Sequence[_Named]) -> _Named | None:
    """Of "traffic light" and "light" the longer counts; where two labels are left, nobody knows which is meant."""
    words = _words(phrase)
    spans = [
        (span, one) for one in named for name in (*one[1].predicted_values, *spoken_names(one[1])) if (span := _span(name, words))
    ]
    widest = [one for span, one in spans if not any(set(span) < set(other) for other, _ in spans)]
    return widest[0] if len({label.name for _, label in widest}) == 1 else None


def _only(_phrase: str, named: Sequence[_Named]) -> _Named | None:
    return named[0] if len({label.name for _, label in named}) == 1 else None


def _span(name: str, words: Sequence[str]) -> range | None:
    """Where the words of a name stand together among others; None where they do not."""
    wanted = _words(name)
    starts = range(len(words) - len(wanted) + 1) if wanted else ()
    return next((range(start, start + len(wanted)) for start in starts if words[start : start + len(wanted)] == wanted), None)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", phrase_of(text)).casefold())
