"""Family to class: an explicit table. A model is a session plus what is published beside its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from locara_label.errors import BadWeights, UnknownModel
from locara_label.models import processor
from locara_label.models.base import PromptModel, SegmentationModel, TextModel
from locara_label.models.grounding_dino import GroundingDino, Reader
from locara_label.models.grounding_dino_published import PublishedGroundingDino
from locara_label.models.mask2former import Mask2Former, Task
from locara_label.models.sam2 import Sam2
from locara_label.models.sam2_published import PublishedSam2
from locara_label.models.segformer import Segformer
from locara_label.models.selfie import Selfie
from locara_label.models.wordpiece import Tokenizer
from locara_label.runtime.session import Session
from locara_label.types import Label

Maker = TypeVar("Maker")


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


@dataclass(frozen=True)
class PromptParts:
    """Everything that a family needs to become a prompt model.

    Attributes:
        name: catalogue name.
        identity: changes with the name and the weights.
        encoder, decoder: the loaded graphs.
        config: `config.json`.
        preprocessor: `preprocessor_config.json`.
        published: path of the decoder, where the graphs are ONNX files as others published them; for messages.
    """

    name: str
    identity: str
    encoder: Session
    decoder: Session
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    published: str | None


@dataclass(frozen=True)
class TextParts:
    """Everything that a family needs to become a text model.

    Attributes:
        name: catalogue name.
        identity: changes with the name and the weights.
        sessions: the loaded graphs: image encoder, text encoder, detector; or the one graph that others published.
        tokenizer: of the text encoder.
        config: `config.json`.
        preprocessor: `preprocessor_config.json`.
    """

    name: str
    identity: str
    sessions: tuple[Session, ...]
    tokenizer: Tokenizer
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]


def build(family: str, parts: Parts) -> SegmentationModel:
    """A model of a family.

    Raises:
        UnknownModel: no such family.
        BadWeights: the published files contradict each other.
    """
    return _maker(family, FAMILIES, "model family")(parts)


def build_prompt_model(family: str, parts: PromptParts) -> PromptModel:
    """A prompt model of a family.

    Raises:
        UnknownModel: no such family.
        BadWeights: the published files contradict each other.
    """
    return _maker(family, PROMPT_FAMILIES, "family of prompt models")(parts)


def build_text_model(family: str, parts: TextParts) -> TextModel:
    """A text model of a family.

    Raises:
        UnknownModel: no such family.
        BadWeights: the published files contradict each other.
    """
    return _maker(family, TEXT_FAMILIES, "family of text models")(parts)


def _maker(family: str, makers: Mapping[str, Maker], what: str) -> Maker:
    if family not in makers:
        raise UnknownModel(f"no {what} is called {family!r}; there are {', '.join(makers)}")
    return makers[family]


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


def _sam2(parts: PromptParts) -> PromptModel:
    sessions = parts.encoder, parts.decoder
    if parts.published is not None:
        return PublishedSam2(parts.name, parts.identity, sessions, parts.preprocessor, parts.published)
    return Sam2(parts.name, parts.identity, sessions, parts.config, parts.preprocessor)


def _grounding_dino(parts: TextParts) -> TextModel:
    reader = Reader(parts.tokenizer, parts.config)
    if len(parts.sessions) == 1:
        return PublishedGroundingDino(parts.name, parts.identity, parts.sessions[0], reader, parts.preprocessor)
    image, text, detector = parts.sessions
    return GroundingDino(parts.name, parts.identity, (image, text, detector), reader, parts.preprocessor)


FAMILIES: dict[str, Callable[[Parts], SegmentationModel]] = {
    "segformer": _segformer,
    "mask2former": _mask2former,
    "selfie": _selfie,
}
PROMPT_FAMILIES: dict[str, Callable[[PromptParts], PromptModel]] = {"sam2": _sam2}
TEXT_FAMILIES: dict[str, Callable[[TextParts], TextModel]] = {"grounding-dino": _grounding_dino}
