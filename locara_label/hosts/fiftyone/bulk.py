"""Results of a pre-labelling job into a data set, slice by slice, from the job's shards; masks are decoded one slice at a time.

Samples and labels go to the database in bulk, as FiftyOne's `add_samples` and `set_values` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.media as fomm
import fiftyone.core.sample as fos
from bson import ObjectId
from pymongo import UpdateOne

from locara_label.batch import labels
from locara_label.batch.bucket_folder import open_folder
from locara_label.batch.buckets import Place, is_plain
from locara_label.batch.folder import Folder
from locara_label.batch.labels import Categories, LabelMap
from locara_label.batch.plan import Plan, Shard
from locara_label.batch.prefetch import ahead
from locara_label.batch.rows import Failed, Row
from locara_label.errors import BadOption, BatchError, Cancelled
from locara_label.hosts.fiftyone import fields
from locara_label.hosts.fiftyone.documents import detections_document
from locara_label.hosts.fiftyone.fields import ERRORS
from locara_label.hosts.fiftyone.labels import Region, Size
from locara_label.hosts.fiftyone.samples import check_field, check_media, database
from locara_label.runtime.session import Stop

PICTURES = 512
"""In a slice, about; a slice has whole shards."""
_LOADS = "locara_label_loads"


@dataclass(frozen=True)
class Loaded:
    """What is in the data set after a slice.

    Attributes:
        done, total: pictures of the job.
        added: samples that this slice made.
        regions: that this slice wrote.
        problems: file name and reason of each picture of this slice that has no labels now.
    """

    done: int
    total: int
    added: int
    regions: int
    problems: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Entry:
    """A picture on its way to the database: labels as a document, or why there are none."""

    path: str
    name: str
    size: Size | None
    document: dict[str, Any] | None
    problem: str = ""


def opened(name: str) -> fo.Dataset:
    """The data set of a name; a new one that stays where there is none."""
    with database():
        return fo.load_dataset(name) if fo.dataset_exists(name) else fo.Dataset(name, persistent=True)


def load(
    dataset: fo.Dataset,
    results: Place,
    field: str,
    *,
    root: Path | str,
    label_map: LabelMap | None = None,
    stop: Stop | None = None,
) -> Iterator[Loaded]:
    """Loads the results of a job as Detections, in the order of its plan; goes on where an earlier load of them was ended.

    Args:
        dataset: of images; pictures that have no sample yet get one, and keep their tags and other fields if they have.
        results: the folder or address of a job (`--out`), finished or not.
        field: of the labels; is replaced. Reasons of failures go to the field with "_error" behind its name.
        root: folder that the pictures are in, for FiftyOne.
        label_map: as in `prelabel --labels`.
        stop: cancels from another thread.

    Raises:
        BadOption: at once; `option.root`, `option.results`, `option.field`, or the label map does not fit.
        BatchError: a shard is not there yet or damaged (batch.shard); what comes before it is loaded.
        Cancelled, RunError: on the way; slices before it are loaded.
    """
    check_media(dataset, fomm.IMAGE)
    top, folder = Path(root), open_folder(results)
    if not top.is_dir():
        raise BadOption(f"{top} is not a folder", code="option.root")
    plan = folder.read_plan()
    if plan is None:
        raise BadOption(f"{results} has no plan.json, so it is no folder of a pre-labelling job", code="option.results")
    chosen = labels.categories(plan.labels, label_map)
    identity = _identity(plan, label_map, top)
    return _Load(dataset, check_field(field), folder, plan, top.absolute(), chosen, identity).slices(stop)


@dataclass(frozen=True)
class _Load:
    """One job into one field.

    Attributes:
        root: absolute folder of the pictures.
        identity: changes whenever other labels would be loaded.
    """

    dataset: fo.Dataset
    field: str
    folder: Folder
    plan: Plan
    root: Path
    categories: Categories
    identity: str

    def slices(self, stop: Stop | None) -> Iterator[Loaded]:
        self._prepare()
        begun, size = self._loaded(), self.plan.shard_size
        shards = [shard for shard in self.plan.shards() if shard.number >= begun]
        together = max(1, PICTURES // size)
        parts = (shards[start : start + together] for start in range(0, len(shards), together))
        with closing(ahead(parts, self._entries, 1, 2)) as read:
            for part, entries in read:
                if stop is not None and stop.is_set:
                    raise Cancelled(
                        f"cancelled after {part[0].number * size} of {len(self.plan.items)} pictures; these are loaded"
                    )
                added, problems = self._write(entries)
                self._note(part[-1].number + 1)
                done = part[-1].number * size + len(part[-1].items)
                regions = sum(len(entry.document["detections"]) for entry in entries if entry.document)
                yield Loaded(done, len(self.plan.items), added, regions, problems)

    def _prepare(self) -> None:
        names = [category.name for category in self.categories.listed]
        if self.dataset.media_type is None:
            with database():
                self.dataset.media_type = fomm.IMAGE
        fields.prepare(self.dataset, self.field, fo.Detections, names)
        with database():
            if not self.dataset.has_sample_field(self.field + ERRORS):
                self.dataset.add_sample_field(self.field + ERRORS, fo.StringField)

    def _loaded(self) -> int:
        known = self.dataset.info.get(_LOADS)
        found = known.get(self.field) if isinstance(known, dict) else None
        return int(found["shards"]) if isinstance(found, dict) and found.get("job") == self.identity else 0

    def _note(self, count: int) -> None:
        with database():
            known = dict(self.dataset.info.get(_LOADS) or {})
            self.dataset.info[_LOADS] = {**known, self.field: {"job": self.identity, "shards": count}}
            self.dataset.save()

    def _entries(self, shards: Sequence[Shard]) -> list[_Entry]:
        return [self._entry(row) for shard in shards for row in self._rows(shard)]

    def _rows(self, shard: Shard) -> list[Row]:
        rows = self.folder.read_shard(shard)
        if rows is None:
            text = f"{self.folder.shard_name(shard)} is missing or damaged; the command that made the others makes it"
            raise BatchError(text, code="batch.shard")
        return rows

    def _entry(self, row: Row) -> _Entry:
        path, name = str(self.root / row.file_name), row.file_name
        if isinstance(row, Failed):
            return _Entry(path, name, None, None, f"{row.error.code}: {row.error.message}")
        regions = [Region.of_instance(instance) for instance in self.categories.applied(row.instances)[0]]
        return _Entry(path, name, row.size, detections_document(regions))

    def _write(self, entries: Sequence[_Entry]) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Adds samples that are missing, then writes all labels at once."""
        known = self._known(entries)
        judged = [_judged(entry, known.get(entry.path)) for entry in entries]
        new = [entry for entry in judged if entry.path not in known and entry.size is not None]
        if new:
            with database():
                ids = self.dataset.add_samples([_sample(entry) for entry in new])
            known |= {entry.path: (one, None) for entry, one in zip(new, ids, strict=True)}
        self._set({known[entry.path][0]: entry for entry in judged if entry.path in known})
        return len(new), tuple((entry.name, entry.problem) for entry in judged if entry.problem)

    def _known(self, entries: Sequence[_Entry]) -> dict[str, tuple[str, Size | None]]:
        """Id, and size where it is known, of the samples that there are, by their files."""
        with database():
            view = self.dataset.select_by("filepath", [entry.path for entry in entries])
            paths, ids, widths, heights = view.values(["filepath", "id", "metadata.width", "metadata.height"])
        sizes = [(high, wide) if high and wide else None for wide, high in zip(widths, heights, strict=True)]
        return {path: (one, size) for path, one, size in zip(paths, ids, sizes, strict=True)}

    def _set(self, entries: Mapping[str, _Entry]) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        updates = [
            UpdateOne({"_id": ObjectId(one)}, {"$set": {**self._values(entry), "last_modified_at": now}})
            for one, entry in entries.items()
        ]
        with database():
            if updates:
                self.dataset._sample_collection.bulk_write(updates, ordered=False)  # noqa: SLF001 - as documents.write
            fos.Sample._reload_docs(self.dataset._sample_collection_name, sample_ids=list(entries))  # noqa: SLF001

    def _values(self, entry: _Entry) -> dict[str, Any]:
        return {self.field: entry.document, self.field + ERRORS: entry.problem or None}


def _identity(plan: Plan, label_map: LabelMap | None, root: Path) -> str:
    keys = [shard.key for shard in plan.shards()]
    whole = f"{len(plan.items)} {keys} {label_map.digest if label_map else ''} {root.absolute()}"
    return sha256(whole.encode()).hexdigest()


def _judged(entry: _Entry, known: tuple[str, Size | None] | None) -> _Entry:
    """An entry that cannot have its labels has a problem instead."""
    if entry.problem:
        return entry
    problem = ""
    if not is_plain(entry.name):
        problem = "path.outside: the name does not stay below the folder of the pictures"
    elif known is None and not Path(entry.path).is_file():
        problem = "path.missing: there is no such picture"
    elif known is not None and known[1] not in (None, entry.size):
        problem = f"image.size: the sample is {known[1]}, the results say {entry.size} (height, width)"
    return _Entry(entry.path, entry.name, entry.size if known else None, None, problem) if problem else entry


def _sample(entry: _Entry) -> fo.Sample:
    height, width = entry.size or (None, None)
    return fo.Sample(filepath=entry.path, metadata=fo.ImageMetadata(width=width, height=height))
