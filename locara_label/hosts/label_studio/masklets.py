"""Masks of tracked objects by project, task and region, every frame of them, in one SQLite file or in a PostgreSQL database.

Label Studio keeps a mask beside each keyframe at most; what lies between, how each object was shown and which runs are not done
yet are kept here. A call is one transaction that is on the disk when it returns, so a process that is killed loses nothing that
it was told is stored, and leaves nothing half.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, insert, select

from locara_label import rle
from locara_label.errors import BadMask, BadOption, StoreFailed
from locara_label.hosts.label_studio.masklet_records import Place, Record, State, StoredFrame, Wish
from locara_label.hosts.label_studio.store_database import Database
from locara_label.hosts.label_studio.store_postgres import PostgresDatabase
from locara_label.hosts.label_studio.store_sqlite import SqliteDatabase
from locara_label.hosts.label_studio.store_tables import FRAMES, MASKLETS, WISHES
from locara_label.types import Mask

__all__ = ["MaskletStore", "Place", "Record", "State", "StoredFrame", "Wish", "is_stored"]

_ALONE_S, _LOOK_S = 30.0, 0.02
_KEY = ("project", "task", "region")
_FIND = select(MASKLETS.c.id, MASKLETS.c.height, MASKLETS.c.width, MASKLETS.c.frame_count).with_for_update()
_RECORDS = select(*(column for column in MASKLETS.c if column.name != "id"))
_FRAMES = select(MASKLETS.c.height, MASKLETS.c.width, *(column for column in FRAMES.c if column.name != "masklet")).join_from(
    MASKLETS, FRAMES
)


class MaskletStore:
    """The store. Threads may share it; processes may open the same file (of a local disk) or database side by side.

    Every method raises `StoreFailed` with a code: store.disk_full, store.disk, store.refused, store.busy, store.damaged,
    store.unreachable, store.closed or store.failed. A call that raises has changed nothing.

    Attributes:
        database: for modules that keep tables of their own in it.
    """

    def __init__(self, where: Path | str) -> None:
        """Opens or makes a file, readable by its owner only, and its folder; or a database, as postgresql://user:password@host/name.

        Raises:
            StoreFailed: as above, and store.newer for a store of a later release, store.foreign for a file of something else.
            BadOption, MissingRuntime: see `PostgresDatabase`.
        """
        self.database: Database = SqliteDatabase(where) if isinstance(where, Path) else PostgresDatabase(where)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the use of the store; a second time does nothing."""
        self.database.close()

    def claim(self, place: str) -> AbstractContextManager[bool]:
        """See `Database.claim`."""
        return self.database.claim(place)

    @contextmanager
    def alone(self, project: int, task: int) -> Iterator[None]:
        """No other process is in such a block of this task meanwhile: for what is read, thought about and then written.

        Raises:
            StoreFailed: another one was for too long; code store.busy.
        """
        ends = time.monotonic() + _ALONE_S
        while True:
            with self.claim(f"task {project}/{task}") as mine:
                if mine:
                    yield
                    return
            if time.monotonic() > ends:
                raise StoreFailed(f"another server has task {task} of project {project} to itself", code="store.busy")
            time.sleep(_LOOK_S)

    def put(self, record: Record) -> None:
        """Stores a record in the place of the one before; its frames stay.

        Raises:
            BadOption: there are frames, of a video of another size or length; `replace` is for that.
        """
        row = _row(record)
        with self.database.writing() as connection:
            found = connection.execute(_FIND.where(_at(record.place))).one_or_none()
            if found is not None and found[1:] != (*record.size, record.frame_count) and _has_frames(connection, found.id):
                said = f"{record.place} has frames of a video of {found[3]} frames of {found[1]} x {found[2]}"
                raise BadOption(f"{said}, not {record.frame_count} of {record.size}", code="masklet.video")
            connection.execute(self.database.upsert(MASKLETS, *_KEY), row)

    def add(self, place: Place, frames: Iterable[StoredFrame]) -> None:
        """Stores frames, each in the place of what was there for its number; all or none of them.

        Raises:
            BadOption: nothing is stored at this place, or a frame is not one of its video; codes masklet.unknown, masklet.frame.
            BadMask: a mask is not of the video's size, or none.
        """
        ready = list(frames)
        with self.database.writing() as connection:
            found = connection.execute(_FIND.where(_at(place))).one_or_none()
            if found is None:
                raise BadOption(f"no masklet is stored for {place}", code="masklet.unknown")
            size = found.height, found.width
            rows = [{"masklet": found.id, **_frame_row(frame, size, found.frame_count)} for frame in ready]
            if rows:
                connection.execute(self.database.upsert(FRAMES, "masklet", "frame"), rows)

    def replace(self, record: Record, frames: Iterable[StoredFrame]) -> None:
        """Stores a record with exactly these frames; what was at its place is gone.

        Raises:
            BadOption, BadMask: as `add`.
        """
        row, rows = _row(record), [_frame_row(frame, record.size, record.frame_count) for frame in frames]
        with self.database.writing() as connection:
            connection.execute(delete(MASKLETS).where(_at(record.place)))
            connection.execute(self.database.upsert(MASKLETS, *_KEY), row)
            number = connection.execute(_FIND.where(_at(record.place))).one().id
            if rows:
                last = {one["frame"]: {"masklet": number, **one} for one in rows}
                connection.execute(insert(FRAMES), list(last.values()))

    def read(self, place: Place) -> Record | None:
        """The record of a place, None where there is none."""
        return next(iter(self._records(_RECORDS.where(_at(place)))), None)

    def frames(self, place: Place) -> tuple[StoredFrame, ...]:
        """The frames of a place by rising number; none for a place that holds nothing."""
        with self.database.reading() as connection:
            rows = connection.execute(_FRAMES.where(_at(place)).order_by(FRAMES.c.frame)).all()
        return tuple(self._frame(place, row) for row in rows)

    def of_task(self, project: int, task: int) -> tuple[Record, ...]:
        """The records of a task, by region."""
        found = _RECORDS.where(MASKLETS.c.project == project, MASKLETS.c.task == task)
        return self._records(found.order_by(MASKLETS.c.region))

    def of_project(self, project: int) -> tuple[Record, ...]:
        """The records of a project, by task and region."""
        found = _RECORDS.where(MASKLETS.c.project == project)
        return self._records(found.order_by(MASKLETS.c.task, MASKLETS.c.region))

    def unfinished(self) -> tuple[Record, ...]:
        """The records whose runs are still going, or were when the process ended; the oldest first."""
        return self._records(_RECORDS.where(MASKLETS.c.state == "running").order_by(MASKLETS.c.id))

    def remove(self, place: Place) -> None:
        """Forgets a masklet and its frames; nothing happens where there is none."""
        with self.database.writing() as connection:
            connection.execute(delete(MASKLETS).where(_at(place)))

    def remove_project(self, project: int) -> None:
        """Forgets all of a project."""
        with self.database.writing() as connection:
            for table in (MASKLETS, WISHES):
                connection.execute(delete(table).where(table.c.project == project))

    def put_wish(self, project: int, task: int, wish: Mapping[str, Any]) -> None:
        """Stores what a text asks of a task's video, in the place of what was asked before.

        Raises:
            BadOption: it is no plain JSON, or an id is none; codes masklet.field, masklet.place.
        """
        put = Wish(project, task, wish)
        row = {"project": project, "task": task, "content": _json(dict(put.content), "wish")}
        with self.database.writing() as connection:
            connection.execute(self.database.upsert(WISHES, "project", "task"), row)

    def wishes(self) -> tuple[Wish, ...]:
        """What was asked and is not done yet; the oldest first."""
        with self.database.reading() as connection:
            rows = connection.execute(select(WISHES).order_by(WISHES.c.id)).all()
        return tuple(self._wish(row.project, row.task, row.content) for row in rows)

    def wish(self, project: int, task: int) -> Wish | None:
        """What was asked of a task and is not done yet."""
        found = select(WISHES.c.content).where(WISHES.c.project == project, WISHES.c.task == task)
        with self.database.reading() as connection:
            content = connection.execute(found).scalar_one_or_none()
        return None if content is None else self._wish(project, task, content)

    def remove_wish(self, project: int, task: int) -> None:
        """Forgets what was asked of a task; nothing happens where nothing was."""
        with self.database.writing() as connection:
            connection.execute(delete(WISHES).where(WISHES.c.project == project, WISHES.c.task == task))

    def _records(self, query: Select[Any]) -> tuple[Record, ...]:
        with self.database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(self._record(row) for row in rows)

    def _record(self, row: Row[Any]) -> Record:
        values = dict(row._mapping)  # noqa: SLF001 - the documented name
        place = Place(*(values.pop(name) for name in _KEY))
        size = values.pop("height"), values.pop("width")
        try:
            prompts, wanted = json.loads(values.pop("prompts")), json.loads(values.pop("wanted"))
            return Record(place, size=size, prompts={int(at): one for at, one in prompts.items()}, wanted=wanted, **values)
        except (ValueError, RecursionError) as error:
            raise self._damaged(place, error) from error

    def _frame(self, place: Place, row: Row[Any]) -> StoredFrame:
        try:
            mask = Mask.from_coco({"size": [row.height, row.width], "counts": row.counts})
        except BadMask as error:
            raise self._damaged(place, error) from error
        return StoredFrame(row.frame, row.time_s, mask, row.score, bool(row.present), bool(row.prompted))

    def _wish(self, project: int, task: int, content: str) -> Wish:
        try:
            return Wish(project, task, dict(json.loads(content)))
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(Place(project, task, "wish"), error) from error

    def _damaged(self, place: Place, error: Exception) -> StoreFailed:
        return StoreFailed(f"{self.database.said} is damaged at {place}: {error}", code="store.damaged")


def is_stored(where: Path | str) -> bool:
    """Whether there is a store, or a server for one, without making it."""
    return isinstance(where, str) or where.is_file()


def _at(place: Place) -> ColumnElement[bool]:
    return and_(*(MASKLETS.c[name] == value for name, value in zip(_KEY, _key(place), strict=True)))


def _key(place: Place) -> tuple[int, int, str]:
    return place.project, place.task, place.region


def _row(record: Record) -> dict[str, Any]:
    plain = ("video", "to_name", "from_name", "frame_count", "label", "model", "version", "state", "error")
    return {
        **dict(zip(_KEY, _key(record.place), strict=True)),
        **{name: getattr(record, name) for name in plain},
        "height": record.size[0],
        "width": record.size[1],
        "prompts": _json({str(frame): one for frame, one in record.prompts.items()}, "prompts"),
        "wanted": _json(record.wanted, "wanted"),
    }


def _json(value: Any, name: str) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadOption(f"{name} of a masklet is plain JSON: {error}", code="masklet.field") from error


def _frame_row(frame: StoredFrame, size: rle.Size, count: int) -> dict[str, Any]:
    if not 0 <= frame.frame < count or not (math.isfinite(frame.time_s) and 0 <= frame.score <= 1):
        said = f"frame {frame.frame} at {frame.time_s} s with score {frame.score}"
        raise BadOption(f"{said} is none of a video of {count} frames", code="masklet.frame")
    if frame.mask.size != size:
        raise BadMask(f"the mask of frame {frame.frame} is of {frame.mask.size}, the video of {size}", code="mask.size")
    rle.check(frame.mask.counts, size)
    return {
        "frame": frame.frame,
        "time_s": float(frame.time_s),
        "counts": frame.mask.counts.decode("ascii"),
        "score": float(frame.score),
        "present": int(frame.present),
        "prompted": int(frame.prompted),
    }


def _has_frames(connection: Connection, number: int) -> bool:
    return connection.execute(select(FRAMES.c.frame).where(FRAMES.c.masklet == number).limit(1)).first() is not None
