"""The database behind the store: one connection at a time in a block that reads, or in one that writes all or nothing."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine, Executable, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from locara_label.errors import StoreFailed
from locara_label.hosts.label_studio.store_tables import STEPS, VERSION

Failure = tuple[str, str]
"""A code of `StoreFailed`, and what it means."""
FAILED = "store.failed", "the database fails"


class Database(ABC):
    """Threads may share it. Every block raises `StoreFailed` when the database does not do what it is told.

    Attributes:
        said: what it is called in messages; without a password.
    """

    def __init__(self, said: str, engine: Engine) -> None:
        self.said, self._engine = said, engine
        self._closing, self._closed = threading.Lock(), False

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to look things up with."""
        with self._told(), self._alone(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in one transaction, on the disk when the block ends, undone when it raises."""
        with self._told(), self._alone(), self._engine.begin() as connection:
            self._begin(connection)
            yield connection

    @abstractmethod
    def claim(self, name: str) -> AbstractContextManager[bool]:
        """Whether this process alone has `name` until the block ends.

        It is never waited for, and nobody has it any more once the process is gone, however it went.
        """

    def close(self) -> None:
        """Ends the use of the database; a second time does nothing."""
        with self._closing:
            self._closed = True
        with self._told():
            self._end()

    def upsert(self, table: Table, *keys: str) -> Insert:
        """Inserts a row, or replaces all of it but its id where one with the same keys is there."""
        insert = (sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert)(table)
        others = {column.name: insert.excluded[column.name] for column in table.c if column.name not in {"id", *keys}}
        return insert.on_conflict_do_update(index_elements=keys, set_=others)

    def _open(self) -> None:
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    @abstractmethod
    def _prepare(self) -> None:
        """Makes what is missing. Raises StoreFailed."""

    def _steps(self, version: int) -> list[Executable]:
        """What is missing in tables of a version. Raises StoreFailed: code store.newer."""
        if version > VERSION:
            said = f"{self.said} has tables of version {version}, this release knows {VERSION}; a later release wrote it"
            raise StoreFailed(said, code="store.newer")
        return [statement for step in STEPS[version:] for statement in step]

    def _end(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Entered around each use."""
        if self._closed:
            raise StoreFailed(f"{self.said} is not open", code="store.closed")
        yield

    @abstractmethod
    def _begin(self, connection: Connection) -> None:
        """Begins a transaction that writes."""

    @abstractmethod
    def _failure(self, error: BaseException | None) -> Failure:
        """What an error of the driver means."""

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except NoConnection as error:
            raise StoreFailed(f"{self.said} has no connection free: {error}", code="store.busy") from error
        except DBAPIError as error:  # its own text has the values of the statement, which are nobody's business
            code, reason = self._failure(error.orig)
            said = f"masklets cannot be read or written at {self.said}: {reason} ({' '.join(str(error.orig).split())[:300]})"
            raise StoreFailed(said, code=code) from error.orig
