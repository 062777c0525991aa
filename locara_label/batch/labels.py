"""From the model's labels to the categories of the data set, by a map that the user may give."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from locara_label.datasets.records import Category
from locara_label.errors import BadOption
from locara_label.types import Instance, Label

_KEYS = {"labels", "supercategories", "keep_unmapped"}


@dataclass(frozen=True)
class LabelMap:
    """What a map file says.

    Attributes:
        names: the model's label to the user's; "" leaves the label out.
        keep_unmapped: labels that the map does not name keep their own name; else they are left out.
        supercategories: of the user's labels.
        digest: of the file's content.
    """

    names: Mapping[str, str]
    keep_unmapped: bool = False
    supercategories: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""


def read_map(path: Path) -> LabelMap:
    """Reads a TOML file: `keep_unmapped = true`, then `[labels]` and, if wanted, `[supercategories]`.

    Raises:
        BadOption: the file cannot be read or says something else; code option.labels.
    """
    try:
        content = path.read_bytes()
        data = tomllib.loads(content.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise BadOption(f"{path} is not a TOML file: {error}", code="option.labels") from error
    if unknown := sorted(data.keys() - _KEYS):
        raise BadOption(f"{path}: {unknown[0]!r} is none of {', '.join(sorted(_KEYS))}", code="option.labels")
    keep = data.get("keep_unmapped", False)
    if not isinstance(keep, bool) or "labels" not in data:
        raise BadOption(f"{path} needs a table [labels], and keep_unmapped is true or false", code="option.labels")
    names, groups = (_texts(path, data.get(key, {}), key) for key in ("labels", "supercategories"))
    return LabelMap(names, keep, groups, sha256(content).hexdigest())


def _texts(path: Path, table: Any, key: str) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise BadOption(f'{path}: [{key}] has lines "name" = "name"', code="option.labels")
    return dict(table)


@dataclass(frozen=True)
class Categories:
    """The categories of a data set, numbered 1, 2, 3 ..., and which of the model's labels belong to each.

    Attributes:
        listed: in the order of their ids.
        by_index: the model's label index to its category; a label that is left out is not in it.
    """

    listed: tuple[Category, ...]
    by_index: Mapping[int, Category]

    @property
    def labels(self) -> list[Label]:
        """The categories as classes of label maps: index 0 is category 1."""
        return [Label(category.id - 1, category.name, is_stuff=not category.is_thing) for category in self.listed]

    def applied(self, instances: Sequence[Instance]) -> tuple[list[Instance], int]:
        """Instances under the names of their categories, and how many were left out.

        Regions of one category that is no thing become one region, with the best of their scores.
        """
        kept: list[Instance] = []
        regions: dict[int, int] = {}
        dropped = 0
        for instance in instances:
            category = self.by_index.get(instance.label_index)
            if category is None:
                dropped += 1
                continue
            named = _named(instance, category)
            if category.is_thing or category.id not in regions:
                regions[category.id] = len(kept)
                kept.append(named)
            else:
                kept[regions[category.id]] = _united(kept[regions[category.id]], named)
        return kept, dropped


def _named(instance: Instance, category: Category) -> Instance:
    return replace(instance, label=category.name, label_index=category.id - 1, is_stuff=not category.is_thing)


def _united(one: Instance, other: Instance) -> Instance:
    return replace(one, mask=one.mask.union(other.mask), score=max(one.score, other.score))


def categories(labels: Sequence[Label], label_map: LabelMap | None = None) -> Categories:
    """The categories that a model's labels become; without a map each label is one, its id one above its index.

    A category is a thing when any of its labels is. Its supercategory is that of the map, else "thing" or "stuff".

    Raises:
        BadOption: the map names a label that the model does not have, or gives a supercategory to no category.
    """
    names = _own_names(labels) if label_map is None else _mapped(labels, label_map)
    groups = label_map.supercategories if label_map else {}
    if strangers := [name for name in groups if name not in names.values()]:
        raise BadOption(_unknown(strangers[0], "category of the map", names.values()), code="option.labels")
    ordered = _in_order(names, label_map)
    things = {names[label.index] for label in labels if label.index in names and not label.is_stuff}
    listed = tuple(_category(number, name, name in things, groups) for number, name in enumerate(ordered, 1))
    by_name = {category.name: category for category in listed}
    return Categories(listed, {index: by_name[name] for index, name in names.items()})


def _category(number: int, name: str, is_thing: bool, groups: Mapping[str, str]) -> Category:
    return Category(number, name, groups.get(name, "thing" if is_thing else "stuff"), is_thing)


def _own_names(labels: Sequence[Label]) -> dict[int, str]:
    """Names by index; where two labels share a name, the later one carries its index."""
    names: dict[int, str] = {}
    used: set[str] = set()
    for label in labels:
        name = label.name or f"label {label.index}"
        names[label.index] = f"{name} ({label.index})" if name in used else name
        used.add(names[label.index])
    return names


def _mapped(labels: Sequence[Label], label_map: LabelMap) -> dict[int, str]:
    known = {label.name for label in labels}
    for name in label_map.names:
        if name not in known:
            raise BadOption(_unknown(name, "label of the model", known), code="option.labels")
    wanted = {label.index: label_map.names.get(label.name, label.name if label_map.keep_unmapped else "") for label in labels}
    if not any(wanted.values()):
        raise BadOption("the label map leaves out every label of the model", code="option.labels")
    return {index: name for index, name in wanted.items() if name}


def _in_order(names: Mapping[int, str], label_map: LabelMap | None) -> list[str]:
    first = label_map.names.values() if label_map else ()
    present = set(names.values())
    return [name for name in dict.fromkeys((*first, *names.values())) if name in present]


def _unknown(name: str, kind: str, known: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"{name!r} is no {kind}" + (f"; did you mean {', '.join(map(repr, similar))}?" if similar else "")
