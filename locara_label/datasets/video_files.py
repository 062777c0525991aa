"""Data sets of one file per video: a file by itself, or a folder of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote

from locara_label.atomic import atomic_file, part_path, sync_folder
from locara_label.errors import BadDataset

MAX_FILE_BYTES = 1 << 29
_MAX_NAME = 200


def check_bytes(path: Path) -> None:
    """Refuses a file of one video that is longer than can be held in memory: `dataset.item_size`."""
    try:
        found = path.stat().st_size
    except OSError as error:
        raise BadDataset(f"{path} cannot be read: {error.strerror}", code="dataset.unreadable") from error
    if found > MAX_FILE_BYTES:
        raise BadDataset(f"a file of one video has at most {MAX_FILE_BYTES} bytes, this has {found}", code="dataset.item_size")


def files_in(path: Path, suffix: str) -> list[Path]:
    """The file itself, or the files of a folder that end so, by name.

    Raises:
        BadDataset: `dataset.unreadable`, or `dataset.empty` when there is none.
    """
    if not path.is_dir():
        return [path]
    try:
        found = sorted(entry for entry in path.iterdir() if entry.suffix == suffix and entry.is_file())
    except OSError as error:
        raise BadDataset(f"{path} cannot be read: {error.strerror}", code="dataset.unreadable") from error
    if not found:
        raise BadDataset(f"there is no {suffix} file in {path}", code="dataset.empty")
    return found


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that becomes `path` when the block ends; when it raises nothing is left.

    Raises:
        BadDataset: `dataset.exists`, when there is something at `path` that is not an empty folder.
        OSError: the folder around it is missing, full or not writable.
    """
    refuse_filled(path)
    part = part_path(path)
    part.mkdir()
    try:
        yield part
        _sync(part)
        refuse_filled(path)
        part.replace(path)
    except BaseException:
        remove_folder(part)
        raise
    sync_folder(path.absolute().parent)


def _sync(folder: Path) -> None:
    """Puts a folder and all in it on the disk."""
    for entry in folder.iterdir():
        if entry.is_dir():
            _sync(entry)
        else:
            with entry.open("r+b") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def refuse_filled(path: Path) -> None:
    """`BadDataset` with code `dataset.exists` for a file, or a folder with something in it."""
    if path.exists() and not (path.is_dir() and next(path.iterdir(), None) is None):
        raise BadDataset(f"{path} is there already; a data set of many files goes to a new folder", code="dataset.exists")


def remove_folder(folder: Path) -> None:
    """Takes away a folder of plain files and folders that this process made."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            remove_folder(entry)
        else:
            entry.unlink()
    folder.rmdir()


def file_name(name: str) -> str:
    """A video's name as one part of a path: percent-encoded where that needs to be.

    Raises:
        BadDataset: `video.field`, a name too long for a disk.
    """
    safe = quote(name, safe="", errors="surrogatepass")
    if len(safe) > _MAX_NAME:
        raise BadDataset(f"video {name!r:.120} has a name too long for a file", code="video.field")
    return safe


class OneOrMany:
    """A file that holds one video, or a new folder that holds a file for each; all there at the end of the block or nothing.

    Attributes:
        folder: being filled; None for a single file.
    """

    def __init__(self, path: Path, suffix: str) -> None:
        """A path that ends with the suffix is a single file."""
        self._path, self._single = path, path.suffix == suffix
        self._stack = ExitStack()
        self._file: BinaryIO | None = None
        self._videos, self._broken = 0, False
        self.folder: Path | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._single:
                self._file = stack.enter_context(atomic_file(self._path))
            else:
                self.folder = stack.enter_context(atomic_folder(self._path))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._broken:
                raise BadDataset(f"{self._path} was not written: an earlier write failed", code="dataset.incomplete")
            if self._single and not self._videos:
                raise BadDataset(f"{self._path} is a file of one video, and there is none", code="dataset.one_video")

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file for the next video, of this name below the folder if it is one.

        Raises:
            BadDataset: `dataset.one_video`, `video.name_twice`, or `dataset.closed` outside of a `with` block.
        """
        if self._file is None and self.folder is None:
            raise BadDataset("the writer is not open; use it in a with block", code="dataset.closed")
        if self._file is not None and self._videos:
            raise BadDataset(f"{self._path} is a file of one video; name a folder for more", code="dataset.one_video")
        self._videos += 1
        with nullcontext(self._file) if self._file is not None else _new_file(self.folder or self._path, name) as file:
            self._broken = True
            yield file
            self._broken = False


def _new_file(folder: Path, name: str) -> BinaryIO:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    try:
        return path.open("xb")
    except FileExistsError:
        raise BadDataset(f"two videos would be written to {name!r:.120}", code="video.name_twice") from None
