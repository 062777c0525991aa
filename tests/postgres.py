"""A real PostgreSQL on this machine, for as long as a test needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

USER, PASSWORD = "locara", "canary-7f3a"
_START_S = 60


@dataclass
class Postgres:
    """A server that listens on this machine only.

    Attributes:
        port: where it listens; the same after a restart.
    """

    programs: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    names: Iterator[int] = field(default_factory=count)

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"labels_{next(self.names)}"
        self.run(f"CREATE DATABASE {name}")
        return self.address(name)

    def address(self, name: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def run(self, statement: str, name: str = "postgres") -> list[tuple[Any, ...]]:
        """A statement of an administrator, and its rows if it has some."""
        with psycopg.connect(self.address(name), autocommit=True) as connection:
            done = connection.execute(statement)  # type: ignore[call-overload]
            return done.fetchall() if done.description else []

    def start(self) -> None:
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", *words], stdout=log, stderr=log, **_account()
            )
        ends = time.monotonic() + _START_S
        while True:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < ends, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self, how: int = signal.SIGINT) -> None:
        """Ends it, with all its connections."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None


def programs() -> Path | None:
    """The folder of PostgreSQL's programs: the one that LOCARA_POSTGRES names, or the newest of Debian's packages."""
    if named := os.environ.get("LOCARA_POSTGRES"):
        return Path(named)
    packages = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    found = packages[-1] if packages else shutil.which("postgres")
    return None if found is None else Path(found).resolve().parent


@contextmanager
def running(found: Path) -> Iterator[Postgres]:
    """A server of one's own in a folder of its own; as root it runs as another user, or it would refuse."""
    folder = Path(tempfile.mkdtemp(prefix="locara-postgres-"))
    try:
        (folder / "password").write_text(PASSWORD)
        if account := _account():
            for path in (folder, folder / "password"):
                os.chown(path, account["user"], account["group"])
        words = ["-D", folder / "data", "-U", USER, "-A", "scram-sha-256", "--pwfile", folder / "password", "-E", "UTF8", "-N"]
        subprocess.run([found / "initdb", *words], check=True, capture_output=True, timeout=_START_S, **account)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        postgres = Postgres(found, folder, port)
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account() -> dict[str, Any]:
    if os.getuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": [], "cwd": "/"}
    raise AssertionError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
