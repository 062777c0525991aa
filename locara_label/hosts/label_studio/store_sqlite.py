"""The store in one SQLite file of a local disk; processes of one machine may open it side by side."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from locara_label.errors import StoreFailed
from locara_label.hosts.label_studio.store_database import FAILED, Database, Failure
from locara_label.hosts.label_studio.store_tables import VERSION

_APPLICATION = 0x4C4F4341
"""Marks the file as ours ("LOCA")."""
_BUSY_S = 30.0
_CHECKED_BYTES = 1 << 28
"""A file up to this size is gone through when it is opened; damage in a larger one is told when it is met."""

_CODES = {
    sqlite3.SQLITE_FULL: ("store.disk_full", "the disk is full"),
    sqlite3.SQLITE_IOERR: ("store.disk", "the disk fails"),
    sqlite3.SQLITE_CORRUPT: ("store.damaged", "the file is damaged; move it away, or put a copy in its place"),
    sqlite3.SQLITE_NOTADB: ("store.damaged", "the file is no masklet store; move it away, or put a copy in its place"),
    sqlite3.SQLITE_READONLY: ("store.refused", "the file or its folder may not be written"),
    sqlite3.SQLITE_CANTOPEN: ("store.refused", "the file or its folder may not be written"),
    sqlite3.SQLITE_PERM: ("store.refused", "the file or its folder may not be written"),
    sqlite3.SQLITE_BUSY: ("store.busy", f"another process has held the file for {_BUSY_S:.0f} s"),
}


class SqliteDatabase(Database):
    """One connection for all threads."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file, readable by its owner only, and its folder.

        Raises:
            StoreFailed: as `MaskletStore`.
        """
        self._path, self._lock = path, threading.RLock()
        _make_file(path)
        super().__init__(str(path), create_engine("sqlite://", creator=self._connected, poolclass=StaticPool))
        self._open()

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """By a lock of the operating system, on one of 65,536 files in a folder beside the database."""
        folder = self._path.with_name(f"{self._path.name}-claims")
        lock = FileLock(folder / sha256(name.encode()).hexdigest()[:4], blocking=False, thread_local=False, is_singleton=False)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            raise _refused(folder, error) from error
        try:
            yield True
        finally:
            lock.release()

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock, super()._alone():
            yield

    def _end(self) -> None:
        with self._lock:
            super()._end()

    def _begin(self, connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _prepare(self) -> None:
        with self.reading() as connection:
            connection.exec_driver_sql("BEGIN")  # or another process might make the tables between two looks
            version = self._version(connection)
            connection.commit()
            _close_to_others(self._path)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
            if version and self._path.stat().st_size <= _CHECKED_BYTES:
                self._check(str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()))
        with self.writing() as connection:
            steps = self._steps(self._version(connection))  # again: another process may have made them meanwhile
            for statement in steps:
                connection.execute(statement)
            for name, number in (("application_id", _APPLICATION), ("user_version", VERSION)) if steps else ():
                connection.exec_driver_sql(f"PRAGMA {name} = {number}")

    def _version(self, connection: Connection) -> int:
        """Of the tables, 0 for a file that has none yet."""
        application, version = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in ("application_id", "user_version")
        )
        used = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
        if application != _APPLICATION and (application or version or used):
            raise StoreFailed(f"{self.said} is a database of something else", code="store.foreign")
        self._steps(version)
        return version

    def _check(self, found: str) -> None:
        if found != "ok":
            raise StoreFailed(f"{self.said} is damaged: {' '.join(found.split())[:300]}", code="store.damaged")

    def _failure(self, error: BaseException | None) -> Failure:
        return _CODES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, FAILED)


def _make_file(path: Path) -> None:
    """So that nobody else can read it for a moment; the files that SQLite puts beside it take its mode.

    A file that is there is not touched: closing it would end all locks of this process on it, those of an open store too.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise _refused(path, error) from error


def _close_to_others(path: Path) -> None:
    """A copy of a store may have come with another mode."""
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> StoreFailed:
    return StoreFailed(f"{path} cannot be opened: {error.strerror or error}", code="store.refused")
