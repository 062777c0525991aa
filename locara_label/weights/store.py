"""The models on this machine: `models/<name>/` as the hub lays them out, `records/<name>.json` with what they must be."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from locara_label.errors import BadOption, BadWeights, DownloadFailed, LicenceNotAccepted, ModelError, NotDownloaded
from locara_label.weights import records
from locara_label.weights.catalogue import File, Row
from locara_label.weights.download import PART_SUFFIX, Target, fetch, kept_bytes
from locara_label.weights.hub import Hub, Link, Location
from locara_label.weights.plan import choose_weights, list_files, list_shards
from locara_label.weights.records import Entry, Record
from locara_label.weights.states import State, States

MINI = Path(__file__).parent.parent / "mini"
LOCK_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is; `total` is None until all sizes are known."""

    name: str
    path: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """Outcome of a check: one sentence per problem, none for a sound model."""

    name: str
    files: int
    problems: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        return not self.problems


class Store:
    """Downloads, checks and finds the files of models. Making one touches neither disk nor network.

    Several processes and threads may share a root: one downloads a model while the others wait for it.

    Attributes:
        states: for whoever loads models, to report loading, ready and failed.
    """

    def __init__(self, root: Path, hub: Hub, states: States | None = None) -> None:
        self.root = root
        self.hub = hub
        self.states = states or States()

    def folder(self, row: Row) -> Path:
        """The folder with config.json, preprocessor_config.json and the weights, all of them as recorded.

        A file is hashed again only when its size, time or inode changed since the last look.

        Raises:
            NotDownloaded: the message names the command to run.
            BadWeights: a file changed on the disk (code weights.wrong_hash).
        """
        if row.bundled is not None:
            return MINI / row.bundled
        record = self._complete(row)
        if not self._is_there(row, record):
            raise _not_downloaded(row)
        if self._refreshed(row, record) is None:
            bad = ", ".join(self._unsound(row, record, trust_stamp=True))
            raise BadWeights(
                f"{bad} of {row.name} is not the file that was downloaded; `locara-label models pull {row.name}` repairs it",
                code="weights.wrong_hash",
            )
        return self._models(row)

    def weights(self, row: Row) -> Path:
        """The file with the weights; for sharded weights their index, with the shards beside it.

        Raises:
            NotDownloaded, BadWeights: as `folder`.
        """
        folder = self.folder(row)
        known = row.weights or (File("model.safetensors"),)
        return next((folder / file.path for file in known if (folder / file.path).is_file()), folder / known[0].path)

    def state(self, row: Row) -> State:
        """What this process reported about the model, else what the disk shows; downloads of other processes included."""
        reported = self.states.get(row.name)
        if reported is not None:
            return reported
        if row.bundled is not None:
            return State("ready") if (MINI / row.bundled).is_dir() else State("error", reason="missing from this installation")
        record = records.read(self._record(row))
        if record is not None and self._is_there(row, record):
            return State("ready")
        if self._is_locked(row):
            return State("downloading", fraction=self._fraction(row, record))
        return self._last_failure(row) or State("not_downloaded")

    def pull(self, row: Row, *, accept_licence: bool = False, progress: Callable[[Progress], None] | None = None) -> Path:
        """Makes sure that a model is complete and sound, and gives its folder. Does nothing for one that is.

        Continues what a broken or killed run left; waits while another process downloads the same model.

        Raises:
            LicenceNotAccepted: the licence must be accepted first; the message names it.
            DownloadFailed: see its `code`.
        """
        if row.bundled is not None or self._is_sound(row):
            return self.folder(row)
        accepted = self._acceptance(row, accept_licence=accept_licence)
        with self._lock(row, progress):
            if not self._is_sound(row):
                self._download(row, accepted, progress or _ignore)
        return self.folder(row)

    def is_downloaded(self, row: Row) -> bool:
        """A download of this model was once completed and not removed; says nothing about its files now."""
        record = records.read(self._record(row))
        return record is not None and record.complete

    def verify(self, row: Row) -> Report:
        """Hashes every file of a model. A wrong one is refused from then on, until it is pulled again.

        Raises:
            NotDownloaded: the model is not here.
        """
        if row.bundled is not None:
            return Report(row.name, 0, ())
        record = self._complete(row)
        wrong = self._unsound(row, record, trust_stamp=False)
        if wrong:
            kept = tuple(replace(entry, stamp=None) if entry.path in wrong else entry for entry in record.files)
            self._keep(row, replace(record, files=kept))
        problems = [*(f"{path}: {text}" for path, text in wrong.items()), *self._strangers(row, record)]
        return Report(row.name, len(record.files), tuple(problems))

    def remove(self, row: Row) -> int:
        """Deletes a model with its record and the acceptance of its licence; gives the bytes that were freed.

        Raises:
            BadOption: the model ships with the package.
        """
        if row.bundled is not None:
            raise BadOption(f"{row.name} ships with the package and cannot be removed")
        if not self._models(row).exists() and not self._record(row).exists():
            return 0
        with self._lock(row, None):
            freed = sum(path.stat().st_size for path in self._models(row).rglob("*") if path.is_file())
            self._record(row).unlink(missing_ok=True)
            self._failure(row).unlink(missing_ok=True)
            shutil.rmtree(self._models(row), ignore_errors=True)
        self.states.forget(row.name)
        return freed

    # -- files ---------------------------------------------------------------------------------------------------

    def _models(self, row: Row) -> Path:
        return self.root / "models" / row.name

    def _record(self, row: Row) -> Path:
        return self.root / "records" / f"{row.name}.json"

    def _failure(self, row: Row) -> Path:
        return self.root / "records" / f"{row.name}.error.json"

    def _complete(self, row: Row) -> Record:
        record = records.read(self._record(row))
        if record is None or not record.complete:
            raise _not_downloaded(row)
        return record

    def _is_there(self, row: Row, record: Record) -> bool:
        folder = self._models(row)
        return record.complete and all((folder / entry.path).is_file() for entry in record.files)

    def _is_sound(self, row: Row) -> bool:
        record = records.read(self._record(row))
        return record is not None and self._is_there(row, record) and self._refreshed(row, record) is not None

    def _refreshed(self, row: Row, record: Record) -> Record | None:
        """The record with fresh stamps, kept for the next look; None when a file is not the recorded one."""
        entries = [entry.check(self._models(row)) for entry in record.files]
        sound = tuple(entry for entry in entries if entry is not None)
        if len(sound) < len(entries):
            return None
        if sound != record.files:
            self._keep(row, replace(record, files=sound))
        return replace(record, files=sound)

    def _unsound(self, row: Row, record: Record, *, trust_stamp: bool) -> dict[str, str]:
        folder, found = self._models(row), {}
        for entry in record.files:
            if entry.check(folder, trust_stamp=trust_stamp) is None:
                there = (folder / entry.path).is_file()
                found[entry.path] = "not the bytes that were downloaded" if there else "missing"
        return found

    def _strangers(self, row: Row, record: Record) -> Iterator[str]:
        known = {entry.path for entry in record.files}
        for path in sorted(self._models(row).rglob("*")):
            name = path.relative_to(self._models(row)).as_posix()
            if path.is_file() and name not in known and not name.endswith(PART_SUFFIX):
                yield f"{name}: not a file of this model"

    def _keep(self, row: Row, record: Record) -> None:
        # a shared cache may be read-only: then stamps are not remembered and files are hashed at each start
        with suppress(OSError):
            records.write(self._record(row), record)

    # -- downloads -----------------------------------------------------------------------------------------------

    def _acceptance(self, row: Row, *, accept_licence: bool) -> str | None:
        record = records.read(self._record(row))
        if record is not None and record.licence == row.licence.id and record.accepted:
            return record.accepted
        if accept_licence:
            return datetime.now(UTC).isoformat(timespec="seconds")
        if row.licence.must_accept:
            raise LicenceNotAccepted(
                f"{row.name} is under the {row.licence.name}, see {row.licence.url}; if you agree to it, run "
                f"`locara-label models pull {row.name} --accept-licence`"
            )
        return None

    def _download(self, row: Row, accepted: str | None, progress: Callable[[Progress], None]) -> None:
        self.states.forget(row.name)
        try:
            with self.hub.connect() as link:
                record = self._plan(link, row, accepted, progress)
                for entry in record.files:
                    record = record.with_entry(self._fetch(link, record, entry, progress))
                records.write(self._record(row), replace(record, complete=True))
        except (DownloadFailed, BadWeights) as error:
            self._remember(row, error)
            raise
        self._failure(row).unlink(missing_ok=True)

    def _plan(self, link: Link, row: Row, accepted: str | None, progress: Callable[[Progress], None]) -> Record:
        """Asks for the size and digest of every file first, so that the whole is known and a later run keeps the commit."""
        known = records.read(self._record(row)) or Record(row.name, row.repo or "", None, row.licence.id, accepted)
        plan = replace(known, licence=row.licence.id, accepted=accepted, complete=False, files=())
        plan = replace(plan, commit=row.revision or known.commit)
        plan = list_files(link, plan, row.files, known)
        plan = choose_weights(link, plan, row.weights, known)
        index = plan.files[-1]
        if index.path.endswith(".index.json"):
            plan = plan.with_entry(self._fetch(link, plan, index, progress))
            plan = list_shards(link, plan, self._models(row) / index.path, known)
        records.write(self._record(row), plan)
        return plan

    def _fetch(self, link: Link, record: Record, entry: Entry, progress: Callable[[Progress], None]) -> Entry:
        folder = self.root / "models" / record.name
        if sound := entry.check(folder):
            return sound
        others, total = sum(_bytes_here(folder, other) for other in record.files if other.path != entry.path), record.total()
        location = Location(record.repo, record.commit or "main", entry.path)
        target = Target(location, folder / entry.path, entry.digest)
        target.place.unlink(missing_ok=True)
        digest = fetch(link, target, lambda here: progress(Progress(record.name, entry.path, others + here, total)))
        return Entry(entry.path, entry.digest.merged(digest), records.Stamp.of(target.place))

    @contextmanager
    def _lock(self, row: Row, progress: Callable[[Progress], None] | None) -> Iterator[None]:
        from filelock import FileLock, Timeout

        place = self.root / "locks" / f"{row.name}.lock"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(place)
            while True:
                with suppress(Timeout):
                    lock.acquire(timeout=LOCK_POLL_S)
                    break
                self._follow(row, progress or _ignore)
        except OSError as error:
            raise DownloadFailed(f"{self.root} cannot be written: {error.strerror}", code="download.not_writable") from error
        try:
            yield
        finally:
            lock.release()

    def _follow(self, row: Row, progress: Callable[[Progress], None]) -> None:
        """Reports the progress of the process that holds the lock."""
        if record := records.read(self._record(row)):
            progress(Progress(row.name, "", self._here(row, record), record.total()))

    def _is_locked(self, row: Row) -> bool:
        from filelock import FileLock, Timeout

        place = self.root / "locks" / f"{row.name}.lock"
        if not place.exists():
            return False
        try:
            with FileLock(place, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def _fraction(self, row: Row, record: Record | None) -> float | None:
        total = record.total() if record else None
        return min(self._here(row, record) / total, 1.0) if record and total else None

    def _here(self, row: Row, record: Record) -> int:
        return sum(_bytes_here(self._models(row), entry) for entry in record.files)

    def _remember(self, row: Row, error: ModelError) -> None:
        if error.code == "download.offline":
            return
        with suppress(OSError):
            records.write(self._failure(row), error.to_json())

    def _last_failure(self, row: Row) -> State | None:
        import json

        try:
            data = json.loads(self._failure(row).read_bytes())
            return State.of_error(DownloadFailed(str(data["message"]), code=str(data["code"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _not_downloaded(row: Row) -> NotDownloaded:
    return NotDownloaded(f"{row.name} is not downloaded; run `locara-label models pull {row.name}`")


def _bytes_here(folder: Path, entry: Entry) -> int:
    place = folder / entry.path
    return kept_bytes(place) or kept_bytes(place.with_name(place.name + PART_SUFFIX))


def _ignore(progress: Progress) -> None:
    del progress
