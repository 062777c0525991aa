"""Digests of files, as the hub states them: sha256 for large files, the git blob id for small ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Digest:
    """What is known about the content of a file; None where it is not."""

    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def is_known(self) -> bool:
        return self.sha256 is not None or self.git_sha1 is not None

    def conflict(self, other: Digest) -> str | None:
        """In words, where two descriptions cannot be of the same file."""
        for name in ("size", "sha256", "git_sha1"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours is not None and theirs is not None and ours != theirs:
                return f"{name} {theirs} instead of {ours}"
        return None

    def merged(self, other: Digest) -> Digest:
        return Digest(
            self.size if self.size is not None else other.size,
            self.sha256 or other.sha256,
            self.git_sha1 or other.git_sha1,
        )


def of_file(path: Path, *, git: bool = False) -> Digest:
    """Size and sha256 of a file, with `git` also the id that git gives its content."""
    return Digest(path.stat().st_size, sha256_of(path), git_sha1_of(path) if git else None)


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_sha1_of(path: Path) -> str:
    def start() -> hashlib._Hash:
        # git names content by this hash; it guards against damage, the commit that names it is what is trusted
        return hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, start).hexdigest()
