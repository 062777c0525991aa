"""Files that appear whole or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_serial = itertools.count()


def part_path(path: Path) -> Path:
    """A name beside `path` that no other writer, in this process or another, uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_serial)}.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of `path` when the block ends, on the disk as well as in the folder.

    When the block raises, `path` is what it was before and nothing else is left. The folder must exist.
    """
    part = part_path(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def spool_file(path: Path) -> Iterator[BinaryIO]:
    """A read-write file beside `path` that is gone when the block ends."""
    part = part_path(path)
    try:
        with part.open("w+b") as file:
            yield file
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows has no handle for a folder
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
