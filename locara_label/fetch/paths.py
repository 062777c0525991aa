"""Files in granted folders, and no others: what lies outside is neither read nor told about."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from locara_label.errors import FetchFailed, NotAllowed
from locara_label.fetch.budget import Budget
from locara_label.fetch.urls import has_controls, shown

_CHUNK_BYTES = 1 << 20
_FILE_URL = re.compile(r"file://(?:localhost)?(?P<path>/[^?#]*)", re.IGNORECASE)
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_FOLDER = _READ | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)
# opening a FIFO would otherwise wait for a writer
_FILE = _READ | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_REFUSED = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True, slots=True)
class Granted:
    """A file of a granted folder; it need not exist.

    Attributes:
        root: the folder, without links.
        parts: names of the folders below it and of the file, without links when they were looked up.
        reference: as it was given.
    """

    root: Path
    parts: tuple[str, ...]
    reference: str

    def exists(self) -> bool:
        """As a regular file, which another program may yet remove."""
        return self.root.joinpath(*self.parts).is_file()

    def identity(self) -> str:
        """Changes whenever the content does, as far as the file system tells; see `opened` for what it raises."""
        with opened(self) as file:
            status = os.fstat(file.fileno())
        return f"{self.root.joinpath(*self.parts)}\0{status.st_ino}\0{status.st_size}\0{status.st_mtime_ns}"


def locate(reference: str, roots: Sequence[Path]) -> Granted:
    """The file that an absolute path or file URL names; links are followed as long as they end in a granted folder.

    Raises:
        NotAllowed: it is in no granted folder, and may or may not exist.
    """
    path = _plain(reference)
    if path is not None:
        for root in roots:
            if (inside := _inside(path, root)) is not None:
                return Granted(root.resolve(), inside, reference)
    raise not_granted(reference)


def not_granted(reference: str) -> NotAllowed:
    return NotAllowed(f"{shown(reference)!r} is not in a folder that is granted")


def _plain(reference: str) -> Path | None:
    """As a path, None where it is relative or a trick."""
    text = _from_file_url(reference) if reference[:5].lower() == "file:" else reference
    if text is None or has_controls(text) or (os.sep == "/" and "\\" in text):
        return None
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts or (sys.platform == "win32" and _is_device(PureWindowsPath(text))):
        return None
    return path


def _from_file_url(reference: str) -> str | None:
    match = _FILE_URL.fullmatch(reference)
    if match is None:
        return None
    try:
        text = unquote_to_bytes(match["path"].encode()).decode()
    except UnicodeError:
        return None
    return text.removeprefix("/") if sys.platform == "win32" else text


def _is_device(path: PureWindowsPath) -> bool:
    """CON, NUL, COM1 and the like, a share of another machine (asking for it sends credentials), or a stream of a file."""
    names = path.parts[1:]
    return path.drive[1:2] != ":" or any(":" in name or PureWindowsPath(name).is_reserved() for name in names)


def _inside(path: Path, root: Path) -> tuple[str, ...] | None:
    """Names below the root, links followed."""
    try:
        home = root.resolve()
        # so that nothing outside is asked for, unless a link inside the root leads there
        if not any(path.is_relative_to(start) for start in (root, home)):
            return None
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError):
        return None
    return resolved.relative_to(home).parts if home in resolved.parents else None


def read(granted: Granted, max_bytes: int, budget: Budget) -> bytes:
    """All bytes of the file; see `copy` for what it raises."""
    into = BytesIO()
    copy(granted, max_bytes, budget, into)
    return into.getvalue()


def copy(granted: Granted, max_bytes: int, budget: Budget, into: BinaryIO) -> None:
    """Writes all bytes of the file to another, piece by piece.

    Raises:
        NotAllowed: it turned into a link to elsewhere since it was located.
        FetchFailed: missing or not a regular file (fetch.not_found), not readable for this process (fetch.unauthorised),
            larger than `max_bytes` (fetch.too_large), too slow (fetch.timeout).
        Cancelled: see `Budget`.
    """
    with opened(granted) as file:
        too_large = os.fstat(file.fileno()).st_size > max_bytes
        length = 0
        while not too_large:
            budget.left_s()
            # one byte more than allowed, in case the file grows
            chunk = file.read(min(_CHUNK_BYTES, max_bytes + 1 - length))
            length += len(chunk)
            too_large = length > max_bytes
            if not chunk:
                return
            if not too_large:
                into.write(chunk)
    raise FetchFailed(f"{shown(granted.reference)} has more than {max_bytes} bytes, the limit", code="fetch.too_large")


@contextmanager
def opened(granted: Granted) -> Iterator[BinaryIO]:
    """The file, opened name by name, so that no folder can become a link on the way. For errors see `read`."""
    about = shown(granted.reference)
    try:
        file = os.fdopen(_descriptor(granted), "rb", buffering=0)
    except OSError as error:
        raise _failed(error, granted) from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FetchFailed(f"{about} is not a regular file", code="fetch.not_found")
        try:
            yield file
        except OSError as error:
            raise _failed(error, granted) from None


def _descriptor(granted: Granted) -> int:
    if os.open not in os.supports_dir_fd:
        return os.open(granted.root.joinpath(*granted.parts), _FILE)
    *folders, name = granted.parts
    folder = os.open(granted.root, _FOLDER)
    try:
        for part in folders:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        _check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))
        return os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _check_regular(status: os.stat_result) -> None:
    # opening a device can already do something
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "a link")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EISDIR, "not a regular file")


def _failed(error: OSError, granted: Granted) -> NotAllowed | FetchFailed:
    about = shown(granted.reference)
    if error.errno == errno.ELOOP:
        return not_granted(granted.reference)
    if error.errno == errno.EISDIR:
        return FetchFailed(f"{about} is not a regular file", code="fetch.not_found")
    if error.errno in _MISSING:
        return FetchFailed(f"{about} does not exist", code="fetch.not_found")
    if error.errno in _REFUSED:
        return FetchFailed(f"{about} may not be read by this process", code="fetch.unauthorised")
    return FetchFailed(f"{about} cannot be read: {error.strerror}", code="fetch.failed")
