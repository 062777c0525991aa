"""Which label of the project a class of the model becomes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from locara_label.hosts.label_studio.config import ControlTag, ProjectLabel

_UNSPOKEN = "_- .?"


@dataclass(frozen=True, slots=True)
class LabelMap:
    """How the classes of a model become labels of one control.

    Attributes:
        labels: name of the project's label for each class that has one.
        unmapped: classes that no label stands for.
        skipped: classes whose label, or whose control, says `model_skip`.
        unused: labels of the project that no class becomes.
        thresholds: the least score for each label that, or whose control, states one.
    """

    labels: Mapping[str, str]
    unmapped: tuple[str, ...]
    skipped: tuple[str, ...]
    unused: tuple[str, ...]
    thresholds: Mapping[str, float]

    def label(self, name: str, score: float) -> str | None:
        """The label for a class found with this score; None where it has none or the score is too low."""
        found = self.labels.get(name)
        return None if found is None or score < self.thresholds.get(found, 0.0) else found


def map_labels(names: Iterable[str], control: ControlTag) -> LabelMap:
    """Classes to labels by `predicted_values`, else by name: as written, then without case, then without space, _, - and dots.

    The first label of the config that fits wins; of `predicted_values` and names, the closer spelling wins first.
    """
    classes = tuple(dict.fromkeys(names))
    found = {name: label for name in classes if (label := find_label(name, control.labels)) is not None}
    kept = {name: label.name for name, label in found.items() if not (label.skip or control.skip)}
    return LabelMap(
        kept,
        tuple(name for name in classes if name not in found),
        tuple(name for name in found if name not in kept),
        tuple(label.name for label in control.labels if label.name not in kept.values()),
        _thresholds(control),
    )


def spoken_names(label: ProjectLabel) -> tuple[str, ...]:
    """What annotators read, and what regions carry where that is another name."""
    return tuple(dict.fromkeys((label.options.get("value") or label.name, label.name)))


def find_label(name: str, labels: Iterable[ProjectLabel]) -> ProjectLabel | None:
    """The label that stands for a class or a phrase; see `map_labels`."""
    candidates = tuple(labels)
    for spelt in (_as_written, _caseless, _joined):
        for label in candidates:
            if spelt(name) in map(spelt, label.predicted_values):
                return label
    for spelt in (_as_written, _caseless, _joined):
        for label in candidates:
            if spelt(name) in map(spelt, spoken_names(label)):
                return label
    return None


def _as_written(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _caseless(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _joined(name: str) -> str:
    return "".join(letter for letter in _caseless(name) if letter not in _UNSPOKEN)


def _thresholds(control: ControlTag) -> dict[str, float]:
    stated = {
        label.name: control.score_threshold if label.score_threshold is None else label.score_threshold
        for label in control.labels
    }
    return {name: least for name, least in stated.items() if least is not None}
