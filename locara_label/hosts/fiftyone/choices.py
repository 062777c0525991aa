"""The models that a form offers for each kind of work, and what each of them is doing. Does not import FiftyOne."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from locara_label import settings as environment
from locara_label.engine.grounding import GROUNDED_SAM2
from locara_label.engine.loading import CLASSIC, PROMPT_TASK, TEXT_TASK, VIDEO_TASK
from locara_label.settings import Settings
from locara_label.weights import catalogue
from locara_label.weights.catalogue import Row
from locara_label.weights.states import State

Use = Literal["regions", "words", "clicks", "video", "downloads"]
"""What a model is wanted for; "downloads" stands for all that have weights."""
_READY = State("ready")
_REGIONS = frozenset({"semantic", "instance", "panoptic"})


@dataclass(frozen=True, slots=True)
class Choice:
    """One model of a form.

    Attributes:
        state: of its weights on this machine.
        row: of the catalogue; None for what needs no weights of its own.
    """

    name: str
    state: State
    row: Row | None = None

    @property
    def is_ready(self) -> bool:
        """It can be loaded without a download."""
        return self.state.kind in ("ready", "loading")

    @property
    def classes(self) -> frozenset[str]:
        """That it is known to find; empty where its own files say it."""
        known = catalogue.labels(self.row.labels) if self.row is not None and self.row.labels else ()
        return frozenset(label.name for label in known)

    @property
    def text(self) -> str:
        """One line for people: name, state, and what a download means."""
        if self.is_ready or self.row is None:
            return self.name
        size = "" if self.row.about_bytes is None else f", {self.row.about_bytes / 1e6:.0f} MB"
        return f"{self.name} - {str(self.state).replace('_', ' ')}{size}, {self.row.licence.name}"


def choices(use: Use, settings: Settings | None = None) -> list[Choice]:
    """The models for a kind of work: those that are ready first, otherwise in the order of the catalogue."""
    store = (settings or environment.load()).store()
    found = [*_free(use), *(Choice(row.name, store.state(row), row) for row in catalogue.rows() if _serves(row, use))]
    return sorted(found, key=lambda choice: not choice.is_ready)


def find(name: str, settings: Settings | None = None) -> Choice:
    """One model, by its name.

    Raises:
        UnknownModel: there is none.
    """
    if name in (CLASSIC, GROUNDED_SAM2, "mini"):
        return Choice(name, _READY)
    row = catalogue.find(name)
    return Choice(name, (settings or environment.load()).store().state(row), row)


def _free(use: Use) -> Iterator[Choice]:
    if use in ("clicks", "video"):
        yield Choice(CLASSIC, _READY)
    if use == "words":
        yield Choice(GROUNDED_SAM2, _READY)


def _serves(row: Row, use: Use) -> bool:
    if use == "regions":
        return row.task in _REGIONS
    if use == "words":
        return row.task == TEXT_TASK
    if use == "clicks":
        return row.task == PROMPT_TASK
    if use == "video":
        return row.task == VIDEO_TASK or (row.task == PROMPT_TASK and _remembers(row))
    return row.bundled is None


def _remembers(row: Row) -> bool:
    """Whether the graphs of a memory are shipped for a model that answers prompts."""
    return row.graph is not None and (resources.files("locara_label.graphs") / f"{row.graph}-memory-attention.zip").is_file()
