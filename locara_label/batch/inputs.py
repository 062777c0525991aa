"""What the user named, as pictures in a fixed order: a folder, a pattern, a list of paths, or one picture."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TextIO

from locara_label.batch.buckets import Bucket, Place, place, suffix_of
from locara_label.errors import BadOption

SUFFIXES = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
STDIN = "-"
MISSING = -1
"""Size of a picture that was not there: it stays an input, so that its absence is told."""


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One picture to label.

    Attributes:
        file_name: relative to the root of the inputs, with forward slashes; absolute for a picture outside the root.
        size: bytes, or `MISSING`.
        mtime_ns: time of the last change.
    """

    file_name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Inputs:
    """Pictures below a folder, sorted by file name, each once."""

    root: Place
    items: tuple[Item, ...]


def find(source: str, excluded: Iterable[Place] = (), stdin: TextIO | None = None) -> Inputs:
    """The pictures that `source` names.

    Args:
        source: a folder (searched with its subfolders, hidden files and folders left out), a pattern with `*`, `?` or `[...]`
            (`**` for any depth), a `.txt` file with one path a line, `-` for such lines on standard input, or a picture.
            A folder may also be one of an object store, by its address; see `buckets.place`.
        excluded: folders and files that are never inputs of a folder or pattern, such as the job's own output.
        stdin: what `-` reads, standard input by default.

    Raises:
        BadOption: it names nothing, or nothing that is a picture; codes batch.no_source, batch.no_inputs, batch.bad_list.
        BatchError: an object store cannot be reached; code batch.store.
    """
    where = place(source)
    if isinstance(where, Bucket):
        return _sorted(source, where, _stored(where, tuple(excluded)))
    named = source if source == STDIN else str(where)
    outside = tuple(path.resolve() for path in excluded if isinstance(path, Path))
    root, paths = _named(named, stdin or sys.stdin)
    if named != STDIN and not Path(named).is_file():
        paths = (path for path in paths if not _is_inside(path, outside))
    return _sorted(source, root, (_item(path, root) for path in paths))


def _sorted(source: str, root: Place, found: Iterable[Item]) -> Inputs:
    items = {item.file_name: item for item in found}
    if not items:
        raise BadOption(f"{source} names no pictures ({', '.join(sorted(SUFFIXES))})", code="batch.no_inputs")
    return Inputs(root, tuple(items[name] for name in sorted(items)))


def _stored(bucket: Bucket, excluded: tuple[Place, ...]) -> Iterator[Item]:
    """As `_walk` for an object store, where hidden files and folders are only names."""
    below = tuple(f"{other.url}/" for other in excluded if isinstance(other, Bucket))
    for name, size, changed_ns in bucket.listed():
        is_hidden = any(part.startswith(".") and part not in {".", ".."} for part in name.split("/"))
        if suffix_of(name) in SUFFIXES and not is_hidden and not bucket.at(name).startswith(below):
            yield Item(name, size, changed_ns)


def _named(source: str, stdin: TextIO) -> tuple[Path, Iterator[Path]]:
    """The root and every path below it that may be a picture."""
    path = Path(source)
    if source == STDIN:
        return Path.cwd(), _listed(stdin, Path.cwd())
    if path.is_dir():
        return path.absolute(), _walk(path.absolute())
    if path.is_file():
        root = path.absolute().parent
        return root, _list_file(path, root) if path.suffix.lower() == ".txt" else iter([path.absolute()])
    if glob.has_magic(source):
        root = _fixed_part(path.absolute())
        # unlike Path.glob, glob leaves hidden files and folders out
        found = (Path(name) for name in glob.iglob(str(path.absolute()), recursive=True))  # noqa: PTH207
        return root, (match for match in found if match.suffix.lower() in SUFFIXES and match.is_file())
    raise BadOption(f"{source} is no folder, pattern, list or picture", code="batch.no_source")


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and PurePath(name).suffix.lower() in SUFFIXES:
                yield Path(folder, name)


def _fixed_part(pattern: Path) -> Path:
    """The deepest folder that every match of an absolute pattern lies in."""
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def _list_file(path: Path, root: Path) -> Iterator[Path]:
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            yield from _listed(stream, root)
    except OSError as error:
        raise BadOption(f"{path} cannot be read: {error.strerror}", code="batch.bad_list") from error


def _listed(lines: Iterable[str], root: Path) -> Iterator[Path]:
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if "\0" in name:
            raise BadOption(f"line {number} of the list is not a path", code="batch.bad_list")
        if name:
            yield root / name


def _is_inside(path: Path, folders: tuple[Path, ...]) -> bool:
    return bool(folders) and any(path.resolve().is_relative_to(folder) for folder in folders)


def _item(path: Path, root: Path) -> Item:
    name = _file_name(path, root)
    try:
        status = path.stat()
    except OSError:
        return Item(name, MISSING, MISSING)
    return Item(name, status.st_size, status.st_mtime_ns)


def _file_name(path: Path, root: Path) -> str:
    whole = Path(os.path.normpath(path))  # as written: links keep the names that their user gave them
    return PurePosixPath(whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()
