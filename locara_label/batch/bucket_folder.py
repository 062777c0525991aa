"""A job's folder in an object store: plan and shards are objects, data sets are written here and then uploaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from locara_label.batch import plan
from locara_label.batch.buckets import Bucket, Place
from locara_label.batch.folder import Folder, is_panoptic_png, is_shard_name, semantic_names
from locara_label.batch.plan import Plan, Shard
from locara_label.errors import BatchError

_PLAN = "plan.json"


def open_folder(where: Place) -> Folder:
    """The job's folder at a place. Opening touches nothing."""
    return BucketFolder(where) if isinstance(where, Bucket) else Folder(where)


class BucketFolder(Folder):
    """As `Folder`, but for the lock, which stores do not have.

    Two jobs with one plan would do the work twice and write the same bytes; the plan of the one that writes it first holds for
    both, for stores create an object only once. Nothing keeps `--new` from clearing away a running job's shards.
    """

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(Path())
        self._bucket = bucket

    @contextmanager
    def held(self) -> Iterator[None]:
        """Has a folder on this machine for data sets while they are written; it is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="locara-label-") as scratch:
            super().__init__(Path(scratch))
            yield

    def shown(self, path: Path) -> str:
        return self._bucket.at(path.relative_to(self.root).as_posix())

    def shard_name(self, shard: Shard) -> str:
        return self._bucket.at(_shard(shard))

    def read_plan(self) -> Plan | None:
        try:
            return plan.parse(self._bucket.at(_PLAN), self._bucket.read(_PLAN).splitlines())
        except FileNotFoundError:
            return None

    def write_plan(self, new: Plan, *, first: bool) -> None:
        self._bucket.write(_PLAN, b"".join(new.to_lines()), new=first)

    def _write_shard(self, shard: Shard, content: list[bytes]) -> None:
        self._bucket.write(_shard(shard), b"".join(content))

    def _read_shard(self, shard: Shard) -> bytes:
        return self._bucket.read(_shard(shard))

    def check_own(self) -> None:
        if self._bucket.exists(_PLAN):
            start = self._bucket.read(_PLAN, len(plan.START))
            foreign = [] if start == plan.START else [_PLAN]
        else:
            foreign = [name for name in self._own_names(None) if self._bucket.exists(name)]
        if foreign:
            text = f"{self._bucket.at(foreign[0])} is not of a pre-labelling job; choose another --out"
            raise BatchError(text, code="batch.foreign")

    def clear(self) -> None:
        for name in (*self._own_names(self._former()), _PLAN):
            self._bucket.remove(name)

    def publish(self) -> None:
        """Uploads what was written, the JSON files last, and takes away a list of failures that is no more."""
        written = sorted(path for path in self.root.rglob("*") if path.is_file())
        for path in sorted(written, key=lambda path: path.suffix == ".json"):
            self._bucket.upload(path, path.relative_to(self.root).as_posix())
        if self.failures not in written:
            self._bucket.remove(self.failures.name)

    def _former(self) -> Plan | None:
        try:
            return self.read_plan()
        except BatchError:
            return None

    def _own_names(self, former: Plan | None) -> Iterable[str]:
        yield from ("coco.json", "failures.json", "panoptic.json", "semantic/labels.json")
        for below, is_own in (("shards", is_shard_name), ("panoptic", is_panoptic_png)):
            yield from (name for name, *_ in self._bucket.listed(below) if is_own(name.rpartition("/")[2]))
        yield from (f"semantic/{name}" for name in (semantic_names(former) if former else ()))


def _shard(shard: Shard) -> str:
    return f"shards/{shard.number:05d}.jsonl"
