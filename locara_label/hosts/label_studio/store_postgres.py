"""The store in a PostgreSQL database, for servers that share their work, in a schema of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

from sqlalchemy import URL, Connection, create_engine, delete, insert, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.schema import CreateSchema, CreateTable

from locara_label.errors import BadOption, MissingRuntime
from locara_label.hosts.label_studio.store_database import FAILED, Database, Failure
from locara_label.hosts.label_studio.store_tables import STORE, VERSION

SCHEMA = "locara_label"
_TRY, _FREE = text("SELECT pg_try_advisory_lock(:key)"), text("SELECT pg_advisory_unlock(:key)")
_LOCK = 0x4C4F4341
"""Held by who makes the tables."""
_CONNECT_S, _LOCK_S, _WAIT_S = 10, 30, 30
_POOL, _MORE = 4, 16
"""Connections that are kept, and that come on top of them while there is much to do."""
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""A server on a machine that is gone from the network has no claims any more after 25 s."""

_AWAY = "store.unreachable", "the database server cannot be reached"
_REFUSED = "store.refused", "the database refuses"
_CODES = {
    "53100": ("store.disk_full", "the disk is full"),
    "58": ("store.disk", "the disk fails"),
    "XX00": ("store.damaged", "the database is damaged"),
    "25006": ("store.refused", "the database may not be written"),
    "42501": ("store.refused", "the user may not do that"),
    "28": _REFUSED,
    "3D": _REFUSED,
    "55P03": ("store.busy", f"another process has held a row for {_LOCK_S} s"),
    "40": ("store.busy", "others change the same rows"),
    "53": ("store.busy", "the database server has no room"),
    "08": _AWAY,
    "57": _AWAY,
}
"""By the beginning of the SQLSTATE; the longest that fits counts."""


class PostgresDatabase(Database):
    """Connections of a pool, one for each block."""

    def __init__(self, address: str) -> None:
        """Opens the database at `postgresql://user:password@host/name`, and makes what is missing in it.

        Raises:
            BadOption: code option.store; the address is none of a PostgreSQL database.
            MissingRuntime: the driver is not installed.
            StoreFailed: as `MaskletStore`.
        """
        url = _url(address)
        arguments = {"connect_timeout": _CONNECT_S, "application_name": "locara-label", **_KEEPALIVE}
        arguments["options"] = f"-c lock_timeout={_LOCK_S}s"
        try:
            engine = create_engine(
                url, connect_args=arguments, hide_parameters=True, pool_pre_ping=True,
                pool_size=_POOL, max_overflow=_MORE, pool_timeout=_WAIT_S,
            )  # fmt: skip
        except ModuleNotFoundError as error:
            raise MissingRuntime('PostgreSQL needs its driver: pip install "locara-label[postgres]"') from error
        self._claiming, self._claims = threading.Lock(), set[int]()
        self._claimer: Connection | None = None
        said = url.set(drivername="postgresql").render_as_string(hide_password=True)
        super().__init__(said, engine.execution_options(schema_translate_map={None: SCHEMA}))
        self._open()

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """By an advisory lock, which the database server ends with the connection; all claims have one connection."""
        key = int.from_bytes(sha256(name.encode()).digest()[:8], "big", signed=True)
        with self._claiming, self._told(), self._alone():
            mine = key not in self._claims and self._asked(key)
        try:
            yield mine
        finally:
            if mine:
                self._freed(key)

    def _asked(self, key: int) -> bool:
        """Whether nobody else has a claim; from now on it is ours."""
        try:
            mine = self._locked(key)
        except DBAPIError:  # the server was started anew, which has ended all claims: they are made again
            self._hang_up()
            for one in tuple(self._claims):
                self._locked(one)
            mine = self._locked(key)
        if mine:
            self._claims.add(key)
        return mine

    def _locked(self, key: int) -> bool:
        if self._claimer is None:
            self._claimer = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return bool(self._claimer.execute(_TRY, {"key": key}).scalar_one())

    def _freed(self, key: int) -> None:
        with self._claiming:
            self._claims.discard(key)
            if self._claimer is not None:
                try:
                    self._claimer.execute(_FREE, {"key": key})
                except DBAPIError:  # a connection that is gone has no locks
                    self._hang_up()

    def _hang_up(self) -> None:
        claimer, self._claimer = self._claimer, None
        if claimer is not None:
            with suppress(DBAPIError):
                claimer.invalidate()
                claimer.close()

    def _end(self) -> None:
        with self._claiming:
            self._claims.clear()
            self._hang_up()
        super()._end()

    def _begin(self, connection: Connection) -> None:
        """The driver has begun it."""

    def _prepare(self) -> None:
        with self.reading() as connection:
            if not self._steps(self._version(connection)):
                return
        with self.writing() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
            connection.execute(CreateTable(STORE, if_not_exists=True))
            for statement in self._steps(self._version(connection)):  # again: another process may have made them meanwhile
                connection.execute(statement)
            connection.execute(delete(STORE))
            connection.execute(insert(STORE), {"version": VERSION})

    def _version(self, connection: Connection) -> int:
        """Of the tables, 0 for a database that has none yet."""
        if not inspect(connection).has_table(STORE.name, SCHEMA):
            return 0
        return int(connection.execute(select(STORE.c.version)).scalar_one_or_none() or 0)

    def _failure(self, error: BaseException | None) -> Failure:
        state = getattr(error, "sqlstate", None)
        if state is None:  # nothing was answered
            return _AWAY if type(error).__name__ in {"OperationalError", "InterfaceError"} else FAILED
        return next((_CODES[state[:size]] for size in (5, 4, 2) if state[:size] in _CODES), FAILED)


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = URL.create("")
    if url.drivername not in {"postgresql", "postgres", "postgresql+psycopg"} or not url.database:
        raise BadOption("a shared store is named as postgresql://user:password@host/database", code="option.store")
    return url.set(drivername="postgresql+psycopg")
