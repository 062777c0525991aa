"""The frame of a data set's JSON file, written while its long lists grow side by side in bounded memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from locara_label.atomic import atomic_file, spool_file
from locara_label.errors import BadDataset

_COPY_BYTES = 1 << 20


class SpooledSections:
    """`{...head, "first": [...], "second": [...], ...}`, one row a line, ASCII, keys in the order given.

    All lists but the first wait in files beside the target until the first is complete. The target appears at the end of the
    `with` block; when that raises, or a write failed inside it, nothing is left.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], sections: Sequence[str]) -> None:
        """Raises BadDataset when the head is not JSON."""
        self._path, self._names, self._head = path, tuple(sections), _head(head, sections[0])
        self._stack = ExitStack()
        self._rows: dict[str, _Rows] = {}
        self._broken = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            target = stack.enter_context(atomic_file(self._path))
            spools = [stack.enter_context(spool_file(self._path)) for _ in self._names[1:]]
            target.write(self._head)
            self._rows = {name: _Rows(file) for name, file in zip(self._names, [target, *spools], strict=True)}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._merge()

    def add_rows(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Appends rows, each to the section that is named with it; they must be plain, finite JSON."""
        if not self._rows:
            raise BadDataset("the writer is not open; use it in a with block", code="dataset.closed")
        self._broken = True
        for section, row in rows:
            self._rows[section].add(row)
        self._broken = False

    def _merge(self) -> None:
        if self._broken or not self._rows:
            raise BadDataset(f"{self._path} was not written: an earlier write failed", code="dataset.incomplete")
        target = self._rows[self._names[0]].file
        for name in self._names[1:]:
            spool = self._rows[name].file
            target.write(f"],\n{json.dumps(name)}: [\n".encode("ascii"))
            spool.seek(0)
            shutil.copyfileobj(spool, target, _COPY_BYTES)
        target.write(b"]}\n")
        self._rows = {}


class SpooledFile(SpooledSections):
    """The lists of a COCO file: `images` and `annotations`, and more behind them."""

    def __init__(self, path: Path, head: Mapping[str, Any], more: Sequence[str] = ()) -> None:
        """Raises BadDataset when the head is not JSON."""
        super().__init__(path, head, ("images", "annotations", *more))

    def add(self, image: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows to both lists; the rows must be plain, finite JSON."""
        self.add_rows(chain([("images", image)], (("annotations", row) for row in annotations)))


class _Rows:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._lead = b""

    def add(self, row: Any) -> None:
        self.file.write(self._lead + json.dumps(row, allow_nan=False).encode("ascii"))
        self._lead = b",\n"


def _head(head: Mapping[str, Any], first: str) -> bytes:
    try:
        sections = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n" for key, value in head.items()]
    except (TypeError, ValueError, RecursionError) as error:
        raise BadDataset(f"the info of a data set is plain JSON: {error}", code="dataset.info") from error
    return ("{" + "".join(sections) + f"{json.dumps(first)}: [\n").encode("ascii")
