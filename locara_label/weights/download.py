"""One file from the hub to its place: resumed where it broke off, checked by digest, moved into place in one step."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from locara_label.atomic import sync_folder
from locara_label.errors import DownloadFailed
from locara_label.weights.digest import Digest, of_file
from locara_label.weights.hub import Body, Link, Location, Unanswered

PART_SUFFIX = ".part"
SYNC_BYTES = 16 << 20
RESERVE_BYTES = 16 << 20
LARGEST_BYTES = 64 << 30
PROGRESS_BYTES = 1 << 20

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Target:
    """A file to fetch: where it is, where it goes, and what is known of its content."""

    location: Location
    place: Path
    digest: Digest

    @property
    def part(self) -> Path:
        return self.place.with_name(self.place.name + PART_SUFFIX)


def fetch(link: Link, target: Target, report: Callable[[int], None]) -> Digest:
    """Downloads a file, calls `report` with the bytes that are there, and gives the digest of what was placed.

    A part that an earlier run left is continued when a digest is known to check the result against. The caller holds
    the model's lock.

    Raises:
        DownloadFailed: see its `code`; a part stays for the next run unless its content was wrong.
    """
    with _disk_errors(target.place):
        target.place.parent.mkdir(parents=True, exist_ok=True)
        digest = link.first(lambda source: _fetch_from(link, source, target, report))
        target.part.replace(target.place)
        sync_folder(target.place.parent)
    return digest


def kept_bytes(path: Path) -> int:
    """Size of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _fetch_from(link: Link, source: str, target: Target, report: Callable[[int], None]) -> Digest:
    if not target.digest.is_known:
        target.part.unlink(missing_ok=True)
    is_continued = kept_bytes(target.part) > 0
    try:
        return _fill_and_check(link, source, target, report)
    except DownloadFailed as error:
        # what an earlier run left may be the wrong part of it
        if error.code != "download.wrong_hash" or not is_continued:
            raise
    return _fill_and_check(link, source, target, report)


def _fill_and_check(link: Link, source: str, target: Target, report: Callable[[int], None]) -> Digest:
    """Completes the part; one with wrong content is deleted."""
    try:
        _fill(link, source, target, report)
        return _checked(target, source)
    except DownloadFailed as error:
        if error.code == "download.wrong_hash":
            target.part.unlink(missing_ok=True)
        raise


def _fill(link: Link, source: str, target: Target, report: Callable[[int], None]) -> None:
    before = 0

    def attempt() -> None:
        nonlocal before
        before = kept_bytes(target.part)
        if target.digest.size is None or before != target.digest.size:
            _append(link, source, target, report)

    link.retry(source, attempt, gained=lambda: kept_bytes(target.part) - before >= PROGRESS_BYTES)


def _append(link: Link, source: str, target: Target, report: Callable[[int], None]) -> None:
    kept = kept_bytes(target.part)
    start = kept if target.digest.size is None or kept < target.digest.size else 0
    _check_space(target, start)
    with link.read(source, target.location, start) as body, target.part.open("r+b" if kept else "wb") as stream:
        limit = _limit(target, body, source)
        stream.truncate(body.start)
        stream.seek(body.start)
        end = _copy(body, stream, limit, report)
    if end < limit < LARGEST_BYTES:
        raise Unanswered(f"{source} stopped after {end} of {limit} bytes of {target.location.path}")
    if end > limit:
        raise DownloadFailed(
            f"{source} sent more than the {limit} bytes that {target.location.path} has", code="download.wrong_hash"
        )


def _copy(body: Body, stream: BinaryIO, limit: int, report: Callable[[int], None]) -> int:
    """Writes what arrives and gives the position after it; stops beyond the limit."""
    end = synced = body.start
    report(end)
    for chunk in body.chunks:
        stream.write(chunk)
        # out of this process at once, so that a kill loses nothing; onto the disk now and then, for power cuts
        stream.flush()
        end += len(chunk)
        if end - synced >= SYNC_BYTES:
            os.fsync(stream.fileno())
            synced = end
        report(end)
        if end > limit:
            return end
    os.fsync(stream.fileno())
    return end


def _limit(target: Target, body: Body, source: str) -> int:
    expected = target.digest.size
    if expected is not None and body.size is not None and body.size != expected:
        raise DownloadFailed(
            f"{source} has {body.size} bytes of {target.location.path} instead of {expected}", code="download.wrong_hash"
        )
    size = expected if expected is not None else body.size
    if size is None and not target.digest.is_known:
        raise DownloadFailed(f"{source} tells neither size nor digest of {target.location.path}, so it cannot be checked")
    return LARGEST_BYTES if size is None else size


def _checked(target: Target, source: str) -> Digest:
    found = of_file(target.part, git=target.digest.git_sha1 is not None)
    if conflict := target.digest.conflict(found):
        raise DownloadFailed(
            f"{target.location.path} of {target.location.repo} from {source} is not the expected file: {conflict}",
            code="download.wrong_hash",
        )
    return found


def _check_space(target: Target, kept: int) -> None:
    needed = (target.digest.size or 0) - kept
    free = shutil.disk_usage(target.part.parent).free
    if needed + RESERVE_BYTES > free:
        raise _disk_full(target.place, f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")


def _disk_full(place: Path, detail: str) -> DownloadFailed:
    return DownloadFailed(
        f"the disk is full at {place.parent}: {detail}; free some space or set LOCARA_CACHE_DIR to another disk, "
        "what has arrived is kept",
        code="download.disk_full",
    )


@contextmanager
def _disk_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(place, os.strerror(error.errno)) from error
        raise DownloadFailed(f"{place} cannot be written: {error.strerror}", code="download.not_writable") from error
