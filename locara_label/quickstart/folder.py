"""The private folder of a quickstart: its login, its ports, which projects are its own; and who may use it now."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from locara_label.atomic import atomic_file
from locara_label.errors import RunError, StoreFailed

VERSION = 1
EMAIL = "quickstart@localhost"
_MOST_BYTES = 1 << 20
_LOOK_S = 0.25


@dataclass(frozen=True)
class Kept:
    """What one start leaves to the next.

    Attributes:
        token: of Label Studio's API; of the same user as the password.
        release: of the Label Studio that used the folder last, empty before the first start.
        ports: by program, "label-studio" and "assist".
        projects: ids by what they show, see `Material.key`.
    """

    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    release: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    projects: Mapping[str, int] = field(default_factory=dict)

    def with_port(self, name: str, port: int) -> Kept:
        return replace(self, ports={**self.ports, name: port})

    def with_project(self, key: str, number: int) -> Kept:
        return replace(self, projects={**self.projects, key: number})


class Folder:
    """A folder that nobody else may read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def file(self) -> Path:
        return self.path / "quickstart.json"

    @property
    def studio(self) -> Path:
        """What Label Studio keeps."""
        return self.path / "label-studio"

    @property
    def assist(self) -> Path:
        """What the assist server keeps: its masklets belong to tasks of this Label Studio and of no other."""
        return self.path / "assist"

    @property
    def environment(self) -> Path:
        """A Python environment for Label Studio alone."""
        return self.path / "environment"

    @contextmanager
    def claimed(self, patience_s: float) -> Iterator[int]:
        """Makes the folder, and holds it for as long as the block runs and the programs that got the descriptor do.

        Args:
            patience_s: for programs of an earlier run that are about to end.

        Raises:
            RunError: code quickstart.running; another quickstart uses it.
            StoreFailed: code quickstart.folder; it cannot be made or written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            for folder in (self.studio, self.assist):
                folder.mkdir(exist_ok=True)
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            text = f"{self.path} cannot be used: {error.strerror or error}; name another --folder"
            raise StoreFailed(text, code="quickstart.folder") from error
        try:
            self._lock(handle, patience_s)
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            yield handle
        finally:
            os.close(handle)

    def _lock(self, handle: int, patience_s: float) -> None:
        import fcntl

        give_up = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > give_up or self._has_owner():
                    text = f"a quickstart runs already with {self.path}; stop it with Ctrl-C, or name another --folder"
                    raise RunError(text, code="quickstart.running") from None
                time.sleep(_LOOK_S)
            else:
                return

    def _has_owner(self) -> bool:
        """Whether the process that claimed it lives; otherwise what it started is about to end."""
        try:
            os.kill(int((self.path / "lock").read_text("ascii")), 0)
        except (OSError, ValueError, OverflowError):
            return False
        return True

    def read(self) -> Kept:
        """What the last start left, else a new login.

        Raises:
            StoreFailed: code quickstart.state, the file is damaged; quickstart.newer, a newer version wrote it.
        """
        try:
            with self.file.open("rb") as file:
                content = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return Kept(EMAIL, secrets.token_urlsafe(12), secrets.token_hex(20))
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error
        try:
            return self._kept(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise self._damaged("it is not JSON") from error

    def write(self, kept: Kept) -> None:
        """Readable by nobody else. Raises StoreFailed: code quickstart.folder."""
        content = json.dumps({"version": VERSION, **asdict(kept)}, indent=1) + "\n"
        try:
            with atomic_file(self.file) as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(content.encode())
        except OSError as error:
            raise StoreFailed(f"{self.file} cannot be written: {error.strerror or error}", code="quickstart.folder") from error

    def _kept(self, found: Any) -> Kept:
        version = found.get("version") if isinstance(found, dict) else None
        if not isinstance(version, int) or version < 1:
            raise self._damaged("it tells no version")
        if version > VERSION:
            text = f"{self.path} was written by a newer locara-label (its version {version}, known up to {VERSION})"
            raise StoreFailed(f"{text}; upgrade locara-label, or name another --folder", code="quickstart.newer")
        email, password, token, release = (found.get(name) for name in ("email", "password", "token", "release"))
        ports, projects = found.get("ports"), found.get("projects")
        if not all(isinstance(one, str) and one for one in (email, password, token)) or not isinstance(release, str):
            raise self._damaged("it has no login")
        if not _is_numbers(ports) or not _is_numbers(projects):
            raise self._damaged("its ports or projects are no numbers")
        return Kept(email, password, token, release, ports, projects)

    def _damaged(self, reason: str) -> StoreFailed:
        text = f"{self.file} cannot be used: {reason}; name another --folder, or remove {self.path} to begin anew"
        return StoreFailed(text, code="quickstart.state")


def _is_numbers(found: Any) -> bool:
    return isinstance(found, dict) and all(type(one) is int and 0 < one < 1 << 31 for one in found.values())
