"""What a text model is asked for, from a prompt and the labels that a user keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from locara_label.batch.labels import LabelMap
from locara_label.errors import BadOption
from locara_label.models.grounded import phrase_of
from locara_label.types import TextPrompt


@dataclass(frozen=True)
class Asked:
    """Phrases, which are the model's labels, and the map from them to the user's labels.

    Attributes:
        phrases: as `phrase_of` writes them.
        label_map: by phrases; None keeps the phrases as labels.
        unasked: labels of the map that no phrase of the prompt asks for.
    """

    phrases: tuple[str, ...]
    label_map: LabelMap | None
    unasked: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The phrases with dots between them."""
        return " . ".join(self.phrases)


def map_of_names(names: Sequence[str]) -> LabelMap:
    """The map of label names that are their own phrases."""
    return LabelMap({name: name for name in names}, digest=sha256(json.dumps(list(names)).encode("ascii")).hexdigest())


def asked(prompt: str | None, label_map: LabelMap | None) -> Asked:
    """What to ask for: the phrases of the prompt, else those that the map has labels for.

    With both the map says under which labels the phrases are kept, and which are left out. Names of the map are read as
    `phrase_of` does: "Traffic_Light" is the phrase "traffic light".

    Raises:
        BadOption: there is neither, two labels share a phrase, or no phrase has a label; codes option.prompt, option.labels.
        BadPrompt: there is no phrase, or too much of them.
    """
    if label_map is None:
        if prompt is None:
            raise BadOption("say what to look for, with --prompt or --labels", code="option.prompt")
        return Asked(_phrases(prompt), None)
    labels = _by_phrase(label_map.names)
    phrases = TextPrompt(tuple(labels)).phrases if prompt is None else _phrases(prompt)
    names = {phrase: label for phrase, label in labels.items() if phrase in phrases}
    if not any(names.values()) and not label_map.keep_unmapped:
        raise BadOption(f"none of {' . '.join(phrases)!r:.120} has a label", code="option.labels")
    kept = set(names.values())
    groups = {label: group for label, group in label_map.supercategories.items() if prompt is None or label in kept}
    unasked = tuple(dict.fromkeys(label for label in labels.values() if label and label not in kept))
    return Asked(phrases, replace(label_map, names=names, supercategories=groups), unasked)


def _phrases(prompt: str) -> tuple[str, ...]:
    found = dict.fromkeys(phrase_of(phrase) for phrase in TextPrompt.of(prompt).phrases)
    return TextPrompt(tuple(phrase for phrase in found if phrase)).phrases


def _by_phrase(names: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, label in names.items():
        phrase = phrase_of(name)
        if not phrase:
            raise BadOption(f"the label {name!r:.120} has no word to look for", code="option.labels")
        if found.setdefault(phrase, label) != label:
            text = f"the labels {found[phrase]!r:.120} and {label!r:.120} share the phrase {phrase!r:.120}"
            raise BadOption(text, code="option.labels")
    return found
