"""What was downloaded, from which commit, under which licence and with which digests: one JSON file per model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from locara_label.atomic import atomic_file
from locara_label.weights.digest import Digest, of_file

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Stamp:
    """How a file looked when its content was last hashed; while it looks the same it need not be hashed again."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a model with the digest that it must have."""

    path: str
    digest: Digest
    stamp: Stamp | None = None

    def check(self, folder: Path, *, trust_stamp: bool = True) -> Entry | None:
        """The entry with a fresh stamp, or None when the file is missing or not the recorded one."""
        place = folder / self.path
        try:
            stamp = Stamp.of(place)
            if trust_stamp and stamp == self.stamp:
                return self
            found = of_file(place, git=self.digest.sha256 is None)
            sound = self.digest.is_known and self.digest.conflict(found) is None
        except OSError:
            return None
        return replace(self, stamp=stamp, digest=self.digest.merged(found)) if sound else None


@dataclass(frozen=True, slots=True)
class Record:
    """The lock record of a model.

    Attributes:
        commit: commit of the repository; every later download uses it.
        accepted: when the licence was accepted, ISO 8601, or None where it need not be.
        complete: every file arrived; until then `files` is the plan of a download.
    """

    name: str
    repo: str
    commit: str | None
    licence: str
    accepted: str | None
    files: tuple[Entry, ...] = ()
    complete: bool = False

    def entry(self, path: str) -> Entry | None:
        return next((entry for entry in self.files if entry.path == path), None)

    def with_entry(self, entry: Entry) -> Record:
        return replace(self, files=tuple(entry if known.path == entry.path else known for known in self.files))

    def total(self) -> int | None:
        """Bytes of all files, or None while one of them is unknown."""
        sizes = [entry.digest.size for entry in self.files]
        return None if None in sizes or not sizes else sum(size for size in sizes if size is not None)


def read(path: Path) -> Record | None:
    """The record in a file; None when there is none or it cannot be understood."""
    try:
        return _record(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write(path: Path, content: Record | dict[str, Any]) -> None:
    """Writes JSON so that a reader sees the old or the new content, whatever happens in between."""
    data = content if isinstance(content, dict) else {"format": FORMAT, **asdict(content)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(json.dumps(data, indent=1).encode("ascii"))


def _record(data: dict[str, Any]) -> Record | None:
    if data.pop("format") != FORMAT:
        return None
    return Record(**{**data, "files": tuple(_entry(entry) for entry in data["files"])})


def _entry(data: dict[str, Any]) -> Entry:
    return Entry(data["path"], Digest(**data["digest"]), Stamp(**data["stamp"]) if data["stamp"] else None)
