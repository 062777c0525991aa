"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART_GLOB = ".locara-*.tmp"
_PART = re.compile(r"\.locara-[0-9a-f]{16}\.tmp")


def part_path(path: Path) -> Path:
    """A name beside `path` that no other writer uses, here or on another machine, and never too long for a disk."""
    return path.with_name(f".locara-{secrets.token_hex(8)}.tmp")


def is_part(path: Path) -> bool:
    """Whether a file is named like one of `part_path`: half-written, unless its writer still lives."""
    return _PART.fullmatch(path.name) is not None


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of `path` when the block ends, on the disk as well as in the folder.

    When the block raises, `path` is what it was before and nothing else is left. The folder must exist.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    part = part_path(path)
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def spool_file(path: Path) -> Iterator[BinaryIO]:
    """A read-write file beside `path` that is gone when the block ends."""
    part = part_path(path)
    try:
        with part.open("x+b") as file:
            yield file
    finally:
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Puts on the disk which files a folder has, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows has no handle for a folder
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
