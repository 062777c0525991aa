"""Folders that lie elsewhere: object stores by their address, through fsspec (its only home); shared folders are plain paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from locara_label.errors import BadOption, BatchError, MissingRuntime

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "memory": "fsspec"}
"""Kinds of addresses, and what reads them. What lies in `memory://` is seen by this process alone."""
_CHANGED = ("LastModified", "mtime", "updated", "created")


class Bucket:
    """A folder of an object store. Making one reaches nothing, and it travels to other processes by its address.

    Who may read and write is known to the store's own library, from the environment or the machine's role; never from an address.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bucket) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    @property
    def is_shared(self) -> bool:
        """Whether other processes see the same."""
        return not self.url.startswith("memory:")

    @cached_property
    def _files(self) -> Any:
        kind = self.url.partition(":")[0]
        try:
            import fsspec

            return fsspec.filesystem(kind, **({} if kind == "memory" else {"use_listings_cache": False}))
        except ImportError as error:
            text = f"{self.url} needs the package {PACKAGES[kind]}: pip install {PACKAGES[kind]}"
            raise MissingRuntime(text, code="batch.missing_library") from error

    @cached_property
    def _top(self) -> str:
        return str(self._files._strip_protocol(self.url)).rstrip("/")  # noqa: SLF001 - fsspec's own way to say it

    def at(self, name: str) -> str:
        """The address of something in it, as people write it."""
        return f"{self.url}/{name}"

    def listed(self, below: str = "") -> Iterator[tuple[str, int, int]]:
        """Name, bytes and time of the last change (ns) of everything below a folder of it, in no order.

        Raises:
            BatchError: it cannot be reached; code batch.store.
        """
        with reaching(self.at(below)):
            found = self._files.find(f"{self._top}/{below}".rstrip("/"), detail=True)
        for path, known in found.items():
            yield str(path)[len(self._top) + 1 :], *_stamp(known)

    def stamp(self, name: str) -> tuple[int, int]:
        """Bytes and time of the last change (ns).

        Raises:
            FileNotFoundError: there is no such object.
        """
        return _stamp(self._files.info(f"{self._top}/{name}"))

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """What an object holds, at most `max_bytes` of it.

        Raises:
            FileNotFoundError: there is no such object.
        """
        path = f"{self._top}/{name}"
        return bytes(self._files.cat_file(path) if max_bytes is None else self._files.cat_file(path, end=max_bytes))

    def exists(self, name: str) -> bool:
        with reaching(self.at(name)):
            return bool(self._files.isfile(f"{self._top}/{name}"))

    def write(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Writes an object, which appears whole or not at all.

        Raises:
            BatchError: the store refuses (batch.store), or, for a `new` one, it is there already (batch.busy).
        """
        try:
            with reaching(self.at(name)):
                self._files.pipe_file(f"{self._top}/{name}", content, mode="create" if new else "overwrite")
        except FileExistsError as error:
            raise BatchError(f"another job has just written {self.at(name)}", code="batch.busy") from error

    def upload(self, path: Path, name: str) -> None:
        """Writes an object of any size from a file."""
        with reaching(self.at(name)):
            self._files.put_file(str(path), f"{self._top}/{name}")

    def remove(self, name: str) -> None:
        """Removes an object; one that is not there is no trouble."""
        with reaching(self.at(name)):
            if self._files.exists(f"{self._top}/{name}"):
                self._files.rm_file(f"{self._top}/{name}")


Place = Path | Bucket
"""A folder of this machine, or of all machines that mount it, or of an object store."""


def place(text: str) -> Place:
    """What an address or path names. `file://` and plain paths are folders.

    Raises:
        BadOption: an address of another kind, or with credentials in it; code option.place.
    """
    kind, colon, rest = text.partition("://")
    if not colon:
        return Path(text)
    if kind == "file" and rest.startswith("/"):
        return Path(unquote(rest))
    if kind not in PACKAGES or not rest.strip("/"):
        known = ", ".join(f"{name}://" for name in ("file", *PACKAGES))
        raise BadOption(f"{kind}:// is no kind of folder; there are plain paths and {known}", code="option.place")
    if "@" in rest.partition("/")[0]:
        raise BadOption(f"an address of {kind}:// has credentials in it; they belong into the environment", code="option.place")
    return Bucket(text)


def is_plain(name: str) -> bool:
    """Whether a name below a folder stays below it; stores allow others."""
    parts = name.split("/")
    return not ({"", ".", ".."} & set(parts)) and "\\" not in name and "\0" not in name


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Whatever a store's library raises leaves as a BatchError with code batch.store, but what is there or not.

    Such libraries have no tree of errors in common, and only some of theirs are OSErrors.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, BatchError, MissingRuntime):
        raise
    except Exception as error:
        raise BatchError(f"{url} cannot be used: {type(error).__name__}: {error}"[:400], code="batch.store") from error


def _stamp(known: Mapping[str, Any]) -> tuple[int, int]:
    changed = next((known[key] for key in _CHANGED if known.get(key) is not None), 0)
    return int(known.get("size") or 0), _ns(changed)


def _ns(changed: Any) -> int:
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    return int((changed.timestamp() if isinstance(changed, datetime) else float(changed)) * 1_000_000) * 1000


def suffix_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
