"""What a job will do, frozen before it starts: every picture, the model, the options."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from locara_label import __version__
from locara_label.batch.inputs import Item
from locara_label.errors import BatchError
from locara_label.types import Label

KIND = "locara-label plan"
FORMAT = f"{KIND} 1"
SHARD_SIZE = 16


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of pictures that is worked on and written down as one.

    Attributes:
        number: from 0.
        key: changes whenever anything changes that its rows depend on.
        items: the pictures, in the order of the plan.
    """

    number: int
    key: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Plan:
    """Two jobs with equal plans give the same bytes.

    Attributes:
        model: catalogue name.
        weights: identity of the weights' content.
        task: "semantic", "instance" or "panoptic".
        threshold: least score; None for the model's default.
        provider: the execution provider that the first run got.
        labels: every class of the model, in its order.
        items: the pictures, sorted by name.
        shard_size: pictures in a shard.
        version: of this package.
    """

    model: str
    weights: str
    task: str
    threshold: float | None
    items: tuple[Item, ...]
    shard_size: int = SHARD_SIZE
    version: str = __version__
    provider: str = ""
    labels: tuple[Label, ...] = ()

    @property
    def shard_count(self) -> int:
        return -(-len(self.items) // self.shard_size)

    def shards(self) -> Iterator[Shard]:
        """The pictures in shards, each made when it is asked for."""
        head = json.dumps(self._head()).encode("ascii")
        for number in range(self.shard_count):
            items = self.items[number * self.shard_size : (number + 1) * self.shard_size]
            content = json.dumps([_item_row(item) for item in items]).encode("ascii")
            yield Shard(number, sha256(head + b"\n" + content).hexdigest(), items)

    def bound(self, provider: str, labels: tuple[Label, ...]) -> Plan:
        """The plan once the model has been loaded."""
        return replace(self, provider=provider, labels=labels)

    def refreshed(self, names: frozenset[str], now: Plan) -> Plan:
        """The plan with what is now known of the files of some pictures; all others stay as they were frozen."""
        current = {item.file_name: item for item in now.items if item.file_name in names}
        return replace(self, items=tuple(current.get(item.file_name, item) for item in self.items))

    def differences(self, other: Plan) -> list[str]:
        """One phrase for each part in which `other`, a plan made later, is another one; provider and labels aside."""
        fields = ("version", "model", "weights", "task", "threshold", "shard_size")
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in fields)
        changed = [f"{name}: {_short(before)} before, {_short(now)} now" for name, before, now in pairs if before != now]
        return changed + _input_differences(self.items, other.items)

    def _head(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": self.version,
            "model": self.model,
            "weights": self.weights,
            "task": self.task,
            "threshold": self.threshold,
            "shard_size": self.shard_size,
            "provider": self.provider,
            "labels": [[label.index, label.name, label.is_stuff] for label in self.labels],
        }

    def to_bytes(self) -> bytes:
        """JSON, one picture a line."""
        head = json.dumps(self._head())[:-1]
        rows = ",\n".join(json.dumps(_item_row(item)) for item in self.items)
        return f'{head},\n"inputs": [\n{rows}\n]}}\n'.encode("ascii")


def read(path: Path) -> Plan | None:
    """The plan in a file, None where there is none.

    Raises:
        BatchError: the file is no plan, or one of another release's format; code batch.bad_plan.
    """
    try:
        return _plan(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BatchError(f"{path} is no plan that this release reads: {error}", code="batch.bad_plan") from error


def is_plan(path: Path) -> bool:
    """Whether a file is a plan, of whatever release."""
    start = f'{{"format": "{KIND} '.encode("ascii")
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _plan(data: Mapping[str, Any]) -> Plan:
    if data["format"] != FORMAT:
        raise ValueError(f"it is a {data['format']!r}, not a {FORMAT!r}; --new starts afresh")
    names = ("version", "model", "weights", "task", "threshold", "shard_size", "provider")
    labels = tuple(Label(*row) for row in data["labels"])
    return Plan(items=tuple(Item(*row) for row in data["inputs"]), labels=labels, **{name: data[name] for name in names})


def _item_row(item: Item) -> list[str | int]:
    return [item.file_name, item.size, item.mtime_ns]


def _short(value: object) -> str:
    return "the default" if value is None else f"{value!s:.40}"


def _input_differences(before: tuple[Item, ...], now: tuple[Item, ...]) -> list[str]:
    if before == now:
        return []
    old, new = ({item.file_name: item for item in items} for items in (before, now))
    groups = {
        "new": sorted(new.keys() - old.keys()),
        "gone": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }
    return ["inputs: " + ", ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in groups.items() if names)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
