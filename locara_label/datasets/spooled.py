"""The frame of a COCO file, written while its two long lists grow side by side in bounded memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from locara_label.datasets.atomic import atomic_file, spool_file
from locara_label.errors import BadDataset

_COPY_BYTES = 1 << 20


class SpooledFile:
    """`{...head, "images": [...], "annotations": [...]}`, one row a line, ASCII, keys in the order given.

    Annotations wait in a file beside the target until the images are complete. The target appears at the end of the `with`
    block; when that raises, or a write failed inside it, nothing is left.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        """Raises BadDataset when the head is not JSON."""
        self._path, self._head = path, _head(head)
        self._stack = ExitStack()
        self._images: _Rows | None = None
        self._annotations: _Rows | None = None
        self._broken = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            target = stack.enter_context(atomic_file(self._path))
            spool = stack.enter_context(spool_file(self._path))
            target.write(self._head)
            self._images, self._annotations = _Rows(target), _Rows(spool)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._merge()

    def add(self, image: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows to both lists; the rows must be plain, finite JSON."""
        if self._images is None or self._annotations is None:
            raise BadDataset("the writer is not open; use it in a with block", code="dataset.closed")
        self._broken = True
        self._images.add(image)
        for row in annotations:
            self._annotations.add(row)
        self._broken = False

    def _merge(self) -> None:
        if self._broken or self._images is None or self._annotations is None:
            raise BadDataset(f"{self._path} was not written: an earlier write failed", code="dataset.incomplete")
        target, spool = self._images.file, self._annotations.file
        target.write(b'],\n"annotations": [\n')
        spool.seek(0)
        shutil.copyfileobj(spool, target, _COPY_BYTES)
        target.write(b"]}\n")
        self._images = self._annotations = None


class _Rows:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._lead = b""

    def add(self, row: Mapping[str, Any]) -> None:
        self.file.write(self._lead + json.dumps(row, allow_nan=False).encode("ascii"))
        self._lead = b",\n"


def _head(head: Mapping[str, Any]) -> bytes:
    try:
        sections = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n" for key, value in head.items()]
    except (TypeError, ValueError, RecursionError) as error:
        raise BadDataset(f"the info of a data set is plain JSON: {error}", code="dataset.info") from error
    return ("{" + "".join(sections) + '"images": [\n').encode("ascii")
