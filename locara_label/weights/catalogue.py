"""The known models, read from `catalogue.json`, and the names of their classes, read from `labels.json`."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from locara_label.errors import BadOption, UnknownModel
from locara_label.types import Label

Family = Literal["segformer", "mask2former", "selfie", "sam2", "sam2-video", "grounding-dino"]
Task = Literal["semantic", "instance", "panoptic", "matting", "prompt", "text", "video"]

PARTS = {"sam2": ("encoder", "decoder"), "grounding-dino": ("image", "text", "detector")}
"""Of families whose models are several graphs."""
VIDEO_PARTS = ("encoder", "decoder", "memory-encoder", "memory-attention", "mask-prompt")
"""Of a SAM 2 that tracks; the first two are those of the one that does not."""
PUBLISHED_VIDEO_PARTS = ("vision_encoder", "mask_decoder", "memory_encoder", "memory_attention", "pointer_tpos")
"""Files of one that others published, beside each other; the first is `Row.onnx`."""
_DATA = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of a model's weights; `must_accept` says that a download needs the user's explicit agreement."""

    id: str
    name: str
    url: str
    must_accept: bool


@dataclass(frozen=True, slots=True)
class File:
    """A file of a hub repository. Without `sha256` the digest is recorded at the first download and enforced afterwards."""

    path: str
    size: int | None = None
    sha256: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the catalogue.

    Attributes:
        repo: owner/name on the hub; None for a model that ships with the package.
        revision: the commit to use; None for "main as of the first download".
        files: what is needed beside the weights.
        weights: alternatives in order of preference; the first one that the hub has is used.
        about_bytes: size of the download, rounded; for people.
        input_size: height and width in pixels; the model's own preprocessor_config.json outranks it.
        labels: name of a label set; the model's own config.json outranks it.
        graph: name of the weightless graph that these weights fit; None where `onnx` is set.
        onnx: path of a published ONNX file that is used as it is; of the encoder, where there are two.
        onnx_decoder: path of the published ONNX file that answers prompts.
        queries: object queries of a mask transformer.
        bundled: folder below the package's `mini` folder.
    """

    name: str
    family: Family
    task: Task
    licence: Licence
    repo: str | None = None
    revision: str | None = None
    files: tuple[File, ...] = ()
    weights: tuple[File, ...] = ()
    about_bytes: int | None = None
    input_size: tuple[int, int] | None = None
    labels: str | None = None
    graph: str | None = None
    onnx: str | None = None
    onnx_decoder: str | None = None
    queries: int | None = None
    bundled: str | None = None

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of the shipped graphs that these weights are for."""
        if self.graph is None:
            return ()
        if self.family in PARTS:
            return tuple(f"{self.graph}-{part}" for part in PARTS[self.family])
        return (self.graph if self.queries is None else f"{self.graph}-q{self.queries}",)


def rows() -> tuple[Row, ...]:
    """Every model, in the order of the catalogue."""
    return tuple(_by_name().values())


def find(name: str) -> Row:
    """The row of a model.

    Raises:
        UnknownModel: there is no such row; the message names similar ones.
    """
    known = _by_name()
    if name in known:
        return known[name]
    longer = [other for other in known if other.startswith(name)] if name else []
    similar = longer[:3] or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(similar)}?" if similar else "`locara-label models list` shows all names"
    raise UnknownModel(f"no model is named {name!r}; {hint}")


@cache
def labels(set_name: str) -> tuple[Label, ...]:
    """The classes of a label set, by index.

    Raises:
        BadOption: there is no such set.
    """
    sets = _read("labels.json")
    if set_name not in sets:
        raise BadOption(f"no label set is named {set_name!r}; there are {', '.join(sets)}")
    return tuple(Label(index, entry["name"], entry["stuff"]) for index, entry in enumerate(sets[set_name]))


@cache
def _by_name() -> dict[str, Row]:
    data = _read("catalogue.json")
    licences = {key: Licence(id=key, **value) for key, value in data["licences"].items()}
    found = [_row({**data["families"][entry["family"]], **entry}, licences) for entry in data["rows"]]
    return {row.name: row for row in found}


def _row(entry: dict[str, Any], licences: dict[str, Licence]) -> Row:
    size = entry.pop("input_size", None)
    files, weights = (tuple(File(**file) for file in entry.pop(key, ())) for key in ("files", "weights"))
    licence = licences[entry.pop("licence")]
    return Row(**entry, licence=licence, files=files, weights=weights, input_size=tuple(size) if size else None)


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_DATA / name).read_text(encoding="utf-8"))
    return content
