"""Family to class: an explicit table. A model is a session plus what is published beside its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from locara_label.errors import BadWeights, UnknownModel
from locara_label.models import processor
from locara_label.models.base import SegmentationModel
from locara_label.models.mask2former import Mask2Former, Task
from locara_label.models.segformer import Segformer
from locara_label.models.selfie import Selfie
from locara_label.runtime.session import Session
from locara_label.types import Label


@dataclass(frozen=True)
class Parts:
    """Everything that a family needs to become a model.

    Attributes:
        name: catalogue name.
        task: "semantic", "instance", "panoptic" or "matting".
        session: the loaded graph.
        config: `config.json`.
        preprocessor: `preprocessor_config.json`.
        known: labels that the catalogue knows for the model, in the order of its indices; they say what is stuff.
    """

    name: str
    task: str
    session: Session
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    known: tuple[Label, ...]


def build(family: str, parts: Parts) -> SegmentationModel:
    """A model of a family.

    Raises:
        UnknownModel: no such family.
        BadWeights: the published files contradict each other.
    """
    if family not in FAMILIES:
        raise UnknownModel(f"no model family is called {family!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[family](parts)


def labels(parts: Parts) -> tuple[Label, ...]:
    """The classes of the weights: names from `config.json` (a fine-tuned model has its own), else those of the catalogue.

    Raises:
        BadWeights: with code `weights.labels`, if their number is not that of the weights.
    """
    names = _names(parts.config)
    count = parts.session.symbols.get("labels", len(names) or len(parts.known))
    if len(names) == count:
        stuff = {label.name for label in parts.known if label.is_stuff}
        return tuple(Label(index, name, name in stuff) for index, name in enumerate(names))
    if not names and len(parts.known) == count:
        return parts.known
    given = len(names) or len(parts.known)
    raise BadWeights(f"the weights of {parts.name} have {count} classes, its config names {given}", code="weights.labels")


def _names(config: Mapping[str, Any]) -> list[str]:
    try:
        table = {int(index): str(name) for index, name in config.get("id2label", {}).items()}
        return [table[index] for index in range(len(table))]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadWeights(f"id2label of the config is not a table of classes: {error}", code="weights.labels") from error


def _segformer(parts: Parts) -> SegmentationModel:
    return Segformer(parts.name, parts.session, processor.parse(parts.preprocessor), labels(parts))


def _mask2former(parts: Parts) -> SegmentationModel:
    return Mask2Former(parts.name, parts.session, processor.parse(parts.preprocessor), labels(parts), cast("Task", parts.task))


def _selfie(parts: Parts) -> SegmentationModel:
    return Selfie(parts.name, parts.session)


FAMILIES: dict[str, Callable[[Parts], SegmentationModel]] = {
    "segformer": _segformer,
    "mask2former": _mask2former,
    "selfie": _selfie,
}
