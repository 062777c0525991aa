"""One picture's outcome, and how it is written in a shard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from locara_label.errors import InferenceFailed, LocaraError
from locara_label.rle import Size
from locara_label.types import Instance, Mask


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a picture has no labels; `code` is stable, `message` is for people."""

    code: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        if isinstance(error, LocaraError):
            return cls(error.code, error.message)
        return cls("internal", f"{type(error).__name__}: {error}"[:300])

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture with what the model found.

    Attributes:
        size: height and width in pixels.
        instances: with the model's own labels.
    """

    file_name: str
    size: Size
    instances: tuple[Instance, ...]

    def to_json(self) -> dict[str, Any]:
        height, width = self.size
        found = [_instance_row(instance) for instance in self.instances]
        return {"file_name": self.file_name, "width": width, "height": height, "instances": found}


@dataclass(frozen=True, slots=True)
class Failed:
    """A picture that could not be labelled."""

    file_name: str
    error: Failure

    def to_json(self) -> dict[str, Any]:
        return {"file_name": self.file_name, "error": self.error.to_json()}


Row = Labelled | Failed


def labelled(file_name: str, size: Size, instances: Sequence[Instance]) -> Labelled:
    """A row of what a model answered, held to what models promise; empty masks are left out.

    Raises:
        InferenceFailed: a score outside 0..1 or a mask of another size; code run.contract.
    """
    for instance in instances:
        if not 0 <= instance.score <= 1:
            raise InferenceFailed(f"the model gave {instance.label!r} a score of {instance.score}", code="run.contract")
        if instance.mask.size != size:
            raise InferenceFailed(f"the model gave a mask of {instance.mask.size} for a picture of {size}", code="run.contract")
    return Labelled(file_name, size, tuple(instance for instance in instances if instance.mask.area))


def to_line(row: Row) -> bytes:
    return json.dumps(row.to_json(), allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def from_line(line: bytes) -> Row:
    """The row of a line that `to_line` wrote; anything else raises a ValueError, TypeError or KeyError."""
    data = json.loads(line)
    if "error" in data:
        return Failed(data["file_name"], Failure(**data["error"]))
    size = data["height"], data["width"]
    return Labelled(data["file_name"], size, tuple(_instance(row, size) for row in data["instances"]))


def _instance_row(instance: Instance) -> dict[str, Any]:
    return {
        "label": instance.label,
        "label_index": int(instance.label_index),
        "score": round(float(instance.score), 6),
        "counts": instance.mask.counts.decode("ascii"),
        "is_stuff": bool(instance.is_stuff),
    }


def _instance(row: Mapping[str, Any], size: Size) -> Instance:
    mask = Mask(size, row["counts"].encode("ascii"))
    return Instance(row["label"], row["label_index"], row["score"], mask, row["is_stuff"])
