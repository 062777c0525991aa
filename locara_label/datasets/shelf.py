"""Rows of a JSON data set put in order on disk, so that videos come with all that belongs to them, one at a time."""

from __future__ import annotations

import json
import sqlite3
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from locara_label.datasets.fields import fields, whole
from locara_label.datasets.json_stream import Entry, scan
from locara_label.datasets.masklet_files import MaskletSource
from locara_label.datasets.masklets import MaskletVideo
from locara_label.datasets.records import Category, located, where
from locara_label.errors import BadDataset, InputError

MAX_VIDEO_CHARS = 1 << 28
"""Most JSON of one video."""

_SCHEMA = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -512;
CREATE TABLE rows (
    place INTEGER PRIMARY KEY, kind TEXT, id INTEGER, owner INTEGER, at INTEGER, row TEXT, UNIQUE (kind, id)
);
CREATE INDEX belonging ON rows (kind, owner, place);
BEGIN;
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A list of the file.

    Attributes:
        kind: of its rows, as in `annotation 12`.
        owner: the field that holds the id of the row it belongs to; None for a table of its own.
        belongs_to: the kind of that row.
    """

    section: str
    kind: str
    owner: str | None = None
    belongs_to: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was in the file: `index` is its place in the list."""

    id: int
    index: int
    value: Mapping[str, Any]


class Shelf:
    """The lists of one JSON file, in a database that lives on disk while this is open and is gone afterwards.

    Attributes:
        categories: of the file, by id.
        info: the section of that name, when it is an object.
    """

    def __init__(self, path: Path, tables: Sequence[Table]) -> None:
        """Reads the whole file once.

        Raises:
            BadDataset: it cannot be read or is not JSON; a list is missing; an id is none, occurs twice, or leads nowhere; a
                category is none; there is no room for the rows (`dataset.no_room`).
        """
        self.categories: dict[int, Category] = {}
        self.info: Mapping[str, Any] = {}
        self._tables = {table.section: table for table in tables}
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            self._fill(path)
        except sqlite3.Error as error:
            self.close()
            raise BadDataset(f"there is no room to put {path.name} in order: {error}", code="dataset.no_room") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._rows.close()

    def ids(self, kind: str) -> Iterator[int]:
        """Ids of all rows of a kind, in file order."""
        place = 0
        query = "SELECT place, id FROM rows WHERE kind = ? AND owner IS NULL AND place > ? ORDER BY place LIMIT 1"
        while found := self._rows.execute(query, (kind, place)).fetchone():
            place = found[0]
            yield found[1]

    def row(self, kind: str, number: int) -> Row:
        """The row of this id, which must be there."""
        return _row(self._rows.execute("SELECT id, at, row FROM rows WHERE kind = ? AND id = ?", (kind, number)).fetchone())

    def of(self, kind: str, owner: int) -> Iterator[Row]:
        """The rows that belong to an id, in file order."""
        query = "SELECT id, at, row FROM rows WHERE kind = ? AND owner = ? ORDER BY place"
        yield from map(_row, self._rows.execute(query, (kind, owner)))

    def chars(self, kind: str, owner: int) -> int:
        """How long the rows that belong to an id are together."""
        query = "SELECT coalesce(sum(length(row)), 0) FROM rows WHERE kind = ? AND owner = ?"
        return int(self._rows.execute(query, (kind, owner)).fetchone()[0])

    def _fill(self, path: Path) -> None:
        self._rows.executescript(_SCHEMA)
        met: set[str] = set()
        for entry in scan(path):
            self._take(entry, met)
        for section in ("categories", *(name for name, table in self._tables.items() if not table.optional)):
            if section not in met:
                raise BadDataset(f"section {section!r} is missing", code="section.missing")
        for table in self._tables.values():
            self._check_owners(table)

    def _take(self, entry: Entry, met: set[str]) -> None:
        met.add(entry.section)
        if entry.section == "info" and isinstance(entry.value, dict):
            self.info = entry.value
        if entry.section != "categories" and entry.section not in self._tables:
            return
        if entry.index is None:
            raise BadDataset(f"section {entry.section!r} is not a list", code="section.kind")
        if entry.index >= 0:
            self._add(entry, self._tables.get(entry.section), entry.index)

    def _add(self, entry: Entry, table: Table | None, index: int) -> None:
        try:
            if table is None:
                self._add_category(Category.from_coco(entry.value))
            else:
                self._add_row(table, index, entry.value)
        except InputError as error:
            kind = "category" if table is None else table.kind
            raise located(error, where(kind, entry.value, index)) from error

    def _add_category(self, category: Category) -> None:
        if self.categories.setdefault(category.id, category) is not category:
            raise BadDataset("another category has the same id", code="category.id_twice")

    def _add_row(self, table: Table, index: int, value: Any) -> None:
        code = f"{table.kind}.field"
        row = fields(value, code)
        number, owner = whole(row, "id", code), None if table.owner is None else whole(row, table.owner, code)
        try:
            place = (table.kind, number, owner, index, json.dumps(row))
            self._rows.execute("INSERT INTO rows (kind, id, owner, at, row) VALUES (?, ?, ?, ?, ?)", place)
        except RecursionError:
            raise BadDataset("nested too deeply", code="dataset.deep") from None
        except sqlite3.IntegrityError:
            raise BadDataset(f"another {table.kind} has the same id", code=f"{table.kind}.id_twice") from None

    def _check_owners(self, table: Table) -> None:
        if table.owner is None:
            return
        query = """SELECT id, owner FROM rows AS one WHERE kind = ? AND NOT EXISTS
            (SELECT 1 FROM rows AS two WHERE two.kind = ? AND two.id = one.owner) LIMIT 1"""
        lost = self._rows.execute(query, (table.kind, table.belongs_to)).fetchone()
        if lost is not None:
            raise BadDataset(
                f"{table.kind} {lost[0]}: {table.belongs_to} {lost[1]} is not in the file",
                code=f"{table.kind}.{table.belongs_to}_unknown",
            )


class ShelfSource(MaskletSource):
    """A source that is one JSON file whose lists are put in order first."""

    tables: ClassVar[tuple[Table, ...]]
    """The lists of the format; the first is that of the videos."""

    def __init__(self, path: Path) -> None:
        """Reads the file once and puts it in order on disk; `BadDataset` when that cannot be done."""
        super().__init__()
        self._shelf = Shelf(path, self.tables)
        self.categories, self.info = self._shelf.categories, self._shelf.info

    def close(self) -> None:
        self._shelf.close()

    def places(self) -> Iterator[int]:
        return self._shelf.ids("video")

    def load(self, place: int) -> MaskletVideo:
        try:
            video = self._video(self._shelf.row("video", place))
            video.check_fields()
        except InputError as error:
            raise located(error, f"video {place}") from error
        return video

    @abstractmethod
    def _video(self, row: Row) -> MaskletVideo:
        """The video of a row, with all that belongs to it."""


def _row(found: tuple[int, int, str]) -> Row:
    return Row(found[0], found[1], json.loads(found[2]))
