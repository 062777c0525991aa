"""What has to be known before the annotations of a COCO file make sense: its pictures and categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locara_label.datasets.json_stream import Entry, scan
from locara_label.datasets.records import Category, CocoImage, Problem, where
from locara_label.errors import BadDataset

HARMLESS = {"image.file_name_twice", "category.name_twice"}
"""Codes of problems that leave a file readable."""

_LISTS = ("images", "annotations", "categories")


@dataclass
class Header:
    info: Mapping[str, Any] = field(default_factory=dict)
    images: dict[int, CocoImage] = field(default_factory=dict)
    categories: dict[int, Category] = field(default_factory=dict)
    _lists: set[str] = field(default_factory=set)
    _names: set[tuple[str, str]] = field(default_factory=set)

    def problems(self, path: Path) -> Iterator[Problem]:
        """Fills the header from a file and says what is wrong on the way; an entry that cannot be used is left out."""
        try:
            for entry in scan(path):
                yield from self._take(entry)
        except BadDataset as error:
            yield Problem.of(error, "file")
            return
        for section in _LISTS:
            if section not in self._lists:
                yield Problem("file", "section.missing", f"section {section!r} is missing")

    def _take(self, entry: Entry) -> Iterator[Problem]:
        if entry.section == "info" and isinstance(entry.value, dict):
            self.info = entry.value
        if entry.section not in _LISTS:
            return
        self._lists.add(entry.section)
        if entry.index is None:
            yield Problem("file", "section.kind", f"section {entry.section!r} is not a list")
        elif entry.index >= 0 and entry.section != "annotations":
            yield from self._add("image" if entry.section == "images" else "category", entry)

    def _add(self, kind: str, entry: Entry) -> Iterator[Problem]:
        try:
            if kind == "image":
                self._add_image(CocoImage.from_coco(entry.value))
            else:
                self._add_category(Category.from_coco(entry.value))
        except BadDataset as error:
            yield Problem.of(error, where(kind, entry.value, entry.index))

    def _add_image(self, image: CocoImage) -> None:
        if image.id is None or self.images.setdefault(image.id, image) is not image:
            raise BadDataset("another image has the same id", code="image.id_twice")
        self._name("image", image.file_name, "image.file_name_twice")

    def _add_category(self, category: Category) -> None:
        if self.categories.setdefault(category.id, category) is not category:
            raise BadDataset("another category has the same id", code="category.id_twice")
        self._name("category", category.name, "category.name_twice")

    def _name(self, kind: str, name: str, code: str) -> None:
        if (kind, name) in self._names:
            raise BadDataset(f"another {kind} has the same name {name!r:.120}", code=code)
        self._names.add((kind, name))


def read_header(path: Path) -> Header:
    """The header of a file that can be read.

    Raises:
        BadDataset: the first thing that is wrong with it, `HARMLESS` ones excepted.
    """
    header = Header()
    for problem in header.problems(path):
        if problem.code not in HARMLESS:
            raise BadDataset(f"{path.name}: {problem.where}: {problem.message}", code=problem.code)
    return header


def rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Place and value of each entry of `annotations`, decoded one at a time.

    Raises:
        BadDataset: the file is not one JSON object.
    """
    for entry in scan(path):
        if entry.section == "annotations" and entry.index is not None and entry.index >= 0:
            yield entry.index, entry.value
