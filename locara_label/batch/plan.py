"""What a job will do, frozen before it starts: every picture, the model, the options."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
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
START = f'{{"format": "{KIND} '.encode("ascii")
"""How every plan begins, of whatever release."""
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
        prompt: the phrases that a text model is asked for, with dots between them; None for models that are not asked.
        text_threshold: least score of a word of such a phrase; None for the model's default.
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
    prompt: str | None = None
    text_threshold: float | None = None

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
        fields = ("version", "model", "weights", "task", "threshold", "shard_size", "prompt", "text_threshold")
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
            **self.asked,
        }

    @property
    def asked(self) -> dict[str, Any]:
        """The fields of a text model; empty for others, whose plans and data sets are written without them."""
        return {} if self.prompt is None else {"prompt": self.prompt, "text_threshold": self.text_threshold}

    def to_bytes(self) -> bytes:
        """JSON, one picture a line."""
        return b"".join(self.to_lines())

    def to_lines(self) -> Iterator[bytes]:
        """Lines of `to_bytes`, for plans of millions of pictures."""
        yield f'{json.dumps(self._head())[:-1]},\n"inputs": [\n'.encode("ascii")
        last = len(self.items) - 1
        for place, item in enumerate(self.items):
            yield json.dumps(_item_row(item)).encode("ascii") + (b",\n" if place < last else b"\n")
        yield b"]}\n" if self.items else b"\n]}\n"


def read(path: Path) -> Plan | None:
    """The plan in a file, None where there is none.

    Raises:
        BatchError: the file is no plan, or one of another release's format; code batch.bad_plan.
    """
    try:
        with path.open("rb") as lines:
            return parse(path, lines)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BatchError(f"{path} is no plan that this release reads: {error}", code="batch.bad_plan") from error


def parse(name: object, lines: Iterable[bytes]) -> Plan:
    """The plan that `Plan.to_bytes` wrote, line by line.

    Raises:
        BatchError: it is none; code batch.bad_plan. `name` says which.
    """
    try:
        return _plan(iter(lines))
    except (OSError, ValueError, TypeError, KeyError, RecursionError, StopIteration) as error:
        raise BatchError(f"{name} is no plan that this release reads: {error}", code="batch.bad_plan") from error


def is_plan(path: Path) -> bool:
    """Whether a file is a plan, of whatever release."""
    with path.open("rb") as file:
        return file.read(len(START)) == START


def _plan(lines: Iterator[bytes]) -> Plan:
    """Each picture is parsed on its own: a million rows at once would take several times the memory of their items."""
    data = json.loads(next(lines).rstrip(b",\n \r") + b"}")
    if data["format"] != FORMAT:
        raise ValueError(f"it is a {data['format']!r}, not a {FORMAT!r}; --new starts afresh")
    names = ("version", "model", "weights", "task", "threshold", "shard_size", "provider")
    labels = tuple(Label(*row) for row in data["labels"])
    known = {name: data[name] for name in names}
    known |= {name: data.get(name) for name in ("prompt", "text_threshold")}
    return Plan(items=tuple(_items(lines)), labels=labels, **known)


def _items(lines: Iterator[bytes]) -> Iterator[Item]:
    if next(lines, b"").strip() != b'"inputs": [':
        raise ValueError("it lists no pictures")
    for line in lines:
        if line.strip() == b"]}":
            return
        if row := line.strip().rstrip(b","):
            yield Item(*json.loads(row))
    raise ValueError("it ends before its last picture")


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
