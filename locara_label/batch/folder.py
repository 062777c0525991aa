"""The folder of a job: which files in it are the job's, one job at a time, and disk trouble as one clear error."""

from __future__ import annotations

import errno
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath

from locara_label.atomic import PART_GLOB, atomic_file, is_part
from locara_label.batch import plan
from locara_label.batch.plan import Plan, Shard
from locara_label.batch.rows import Row, from_line
from locara_label.errors import BatchError

RESUMABLE = "finished shards are kept, the same command goes on from there"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SHARD = re.compile(r"\d{5,}\.jsonl")
_PANOPTIC = re.compile(r"\d{12}\.png")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what a disk refuses into a BatchError that says how to go on.

    Raises:
        BatchError: batch.disk_full, batch.not_writable or batch.write.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise BatchError(f"{path} cannot be written: {reason}; {RESUMABLE}", code=_code(error)) from error


def _code(error: OSError) -> str:
    return "batch.disk_full" if error.errno in _FULL else "batch.not_writable" if error.errno in _REFUSED else "batch.write"


class Folder:
    """Paths, reading and writing of a job's files. Making one touches no disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plan, self.shards = root / "plan.json", root / "shards"
        self.coco, self.failures = root / "coco.json", root / "failures.json"
        self.panoptic, self.panoptic_pngs = root / "panoptic.json", root / "panoptic"
        self.semantic, self.semantic_labels = root / "semantic", root / "semantic" / "labels.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other jobs out of the folder, which is made, and clears away what a killed one left half-written.

        Raises:
            BatchError: another job runs here (batch.busy), or the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        with writing(self.root):
            self.shards.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise BatchError(f"another job works in {self.root}", code="batch.busy") from error
        try:
            with writing(self.root):
                self._sweep()
            yield
        finally:
            lock.release()

    def _sweep(self) -> None:
        flat = (path for folder in (self.root, self.shards, self.panoptic_pngs) for path in folder.glob(PART_GLOB))
        for path in (*flat, *self.semantic.rglob(PART_GLOB)):
            if is_part(path):
                path.unlink(missing_ok=True)

    def save(self, path: Path, lines: Iterable[bytes]) -> None:
        """Writes a file that appears whole or not at all."""
        with writing(path), atomic_file(path) as file:
            for line in lines:
                file.write(line)

    def shard_path(self, shard: Shard) -> Path:
        return self.shards / f"{shard.number:05d}.jsonl"

    def shown(self, path: Path) -> str:
        """What to call one of the folder's files when talking to people."""
        return str(path)

    def shard_name(self, shard: Shard) -> str:
        """As `shown`, for a shard's file."""
        return self.shown(self.shard_path(shard))

    def read_plan(self) -> Plan | None:
        """The plan of an earlier run, None where there is none.

        Raises:
            BatchError: see `plan.read`.
        """
        return plan.read(self.plan)

    def write_plan(self, new: Plan, *, first: bool) -> None:
        """Writes the plan down; `first` where there was none."""
        del first  # the folder is held
        self.save(self.plan, new.to_lines())

    def publish(self) -> None:
        """Called when data sets are written: brings them where they belong, if they are not there."""

    def write_shard(self, shard: Shard, lines: list[bytes]) -> None:
        """Writes the rows of a shard; the last line holds its key, their number and their hash."""
        end = {"end": shard.key, "rows": len(lines), "sha256": sha256(b"".join(lines)).hexdigest()}
        self._write_shard(shard, [*lines, json.dumps(end).encode("ascii") + b"\n"])

    def _write_shard(self, shard: Shard, content: list[bytes]) -> None:
        self.save(self.shard_path(shard), content)

    def _read_shard(self, shard: Shard) -> bytes:
        return self.shard_path(shard).read_bytes()

    def read_shard(self, shard: Shard) -> list[Row] | None:
        """The rows of a finished shard; None when it is missing, damaged, or of another plan."""
        try:
            *lines, end = self._read_shard(shard).splitlines(keepends=True)
            wanted = {"end": shard.key, "rows": len(shard.items), "sha256": sha256(b"".join(lines)).hexdigest()}
            return [from_line(line) for line in lines] if json.loads(end) == wanted else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def check_own(self) -> None:
        """Refuses a folder with files that have the names of a job's files and no plan beside them.

        The plan is the first file that a job writes and the last that `clear` removes, so such files are somebody else's.

        Raises:
            BatchError: code batch.foreign.
        """
        with writing(self.root):
            if self.plan.exists():
                foreign = [] if plan.is_plan(self.plan) else [self.plan]
            else:
                foreign = [path for path in self._own(None) if path.exists()]
        if foreign:
            raise BatchError(f"{foreign[0]} is not of a pre-labelling job; choose another --out", code="batch.foreign")

    def clear(self) -> None:
        """Removes a former job's files, and folders that are empty then; a stranger's files stay."""
        with writing(self.root):
            for path in (*self._own(_former(self.plan)), self.plan):
                path.unlink(missing_ok=True)
            _remove_empty((self.panoptic_pngs, *sorted(self.semantic.rglob("*"), reverse=True), self.semantic))

    def _own(self, former: Plan | None) -> list[Path]:
        """Files that a job with this plan may have written, the plan aside."""
        own = [self.coco, self.failures, self.panoptic, self.semantic_labels]
        own += [path for path in self.shards.glob("*.jsonl") if is_shard_name(path.name)]
        own += [path for path in self.panoptic_pngs.glob("*.png") if is_panoptic_png(path.name)]
        return own + ([self.semantic / name for name in semantic_names(former)] if former else [])


def is_shard_name(name: str) -> bool:
    return _SHARD.fullmatch(name) is not None


def is_panoptic_png(name: str) -> bool:
    return _PANOPTIC.fullmatch(name) is not None


def _former(path: Path) -> Plan | None:
    try:
        return plan.read(path)
    except BatchError:
        return None


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty, not a folder, or not there
            folder.rmdir()


def semantic_names(frozen: Plan) -> list[str]:
    """The label map of each picture, relative to the folder of label maps.

    `a/b.jpg` has `a/b.png`, or `a/b.jpg.png` where several pictures would have the same, on disks that ignore case as well.
    """
    names = [_below(item.file_name) for item in frozen.items]
    shared = Counter(_png(name).casefold() for name in names)
    taken: set[str] = set()
    found = []
    for place, name in enumerate(names):
        options = [_png(name)] if shared[_png(name).casefold()] == 1 else []
        options += [f"{name}.png", f"{name}.{place}.png"]
        found.append(next((option for option in options if option.casefold() not in taken), options[-1]))
        taken.add(found[-1].casefold())
    return found


def _png(name: str) -> str:
    return PurePosixPath(name).with_suffix(".png").as_posix()


def _below(name: str) -> str:
    """A name that stays below a folder, for pictures outside the root as well."""
    return name.replace(":", "_").lstrip("/") if Path(name).is_absolute() else name
