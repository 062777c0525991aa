"""The private folder: what one start leaves to the next, who may read it, who may use it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from locara_label.errors import RunError, StoreFailed
from locara_label.quickstart.folder import VERSION, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "below" / "quickstart")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_kept_comes_back_and_nobody_else_reads_it(folder: Folder) -> None:
    with folder.claimed(0):
        first = folder.read()
        kept = first.with_port("assist", 9091).with_project("Generated scenes", 7)
        folder.write(kept)
    with folder.claimed(0):
        assert folder.read() == kept
    assert (mode(folder.path), mode(folder.file)) == (0o700, 0o600)
    assert len(kept.password) >= 16
    assert kept.password not in repr(kept)
    assert kept.token not in repr(kept)


def test_logins_differ(tmp_path: Path) -> None:
    one, other = Folder(tmp_path / "1").read(), Folder(tmp_path / "2").read()
    assert one.password != other.password
    assert one.token != other.token


def test_an_open_folder_is_closed(folder: Folder) -> None:
    folder.path.mkdir(parents=True)
    folder.path.chmod(0o755)
    with folder.claimed(0):
        assert mode(folder.path) == 0o700


WRONG: list[tuple[Any, str]] = [
    (b"", "quickstart.state"),
    (b"\xff{", "quickstart.state"),
    (b"[" * 100_000, "quickstart.state"),
    ([], "quickstart.state"),
    ({"version": 0}, "quickstart.state"),
    ({"version": "1"}, "quickstart.state"),
    ({"version": VERSION + 1}, "quickstart.newer"),
    ({"email": ""}, "quickstart.state"),
    ({"password": 5}, "quickstart.state"),
    ({"release": None}, "quickstart.state"),
    ({"ports": {"assist": "9090"}}, "quickstart.state"),
    ({"ports": []}, "quickstart.state"),
    ({"projects": {"Generated scenes": -1}}, "quickstart.state"),
    ({"projects": {"Generated scenes": True}}, "quickstart.state"),
]


@pytest.mark.parametrize(("wrong", "code"), WRONG, ids=str)
def test_a_damaged_or_newer_file_is_named(folder: Folder, wrong: Any, code: str) -> None:
    with folder.claimed(0):
        folder.write(folder.read())
    if isinstance(wrong, dict):
        wrong = json.loads(folder.file.read_text("utf-8")) | wrong
    folder.file.write_bytes(wrong if isinstance(wrong, bytes) else json.dumps(wrong).encode())
    with pytest.raises(StoreFailed, match=r"name another --folder") as caught:
        folder.read()
    assert caught.value.code == code
    assert str(folder.path) in caught.value.message


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed) as caught, Folder(tmp_path / "file" / "x").claimed(0):
        pass
    assert caught.value.code == "quickstart.folder"


def test_one_at_a_time(folder: Folder) -> None:
    with folder.claimed(0):
        with pytest.raises(RunError, match=r"runs already") as caught, Folder(folder.path).claimed(60):
            pass
        assert caught.value.code == "quickstart.running"
    with folder.claimed(0):
        pass


def test_what_a_dead_owner_started_is_waited_for(folder: Folder) -> None:
    """It holds the lock for a moment longer."""
    with folder.claimed(0) as handle:
        late = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"], pass_fds=(handle,))
    (folder.path / "lock").write_text(str(late.pid + 100_000_000), "ascii")
    with folder.claimed(60):
        assert late.wait(30) == 0
        assert (folder.path / "lock").read_text("ascii") == str(os.getpid())
