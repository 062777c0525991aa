from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from locara_label.cli.app import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands are called in; the cache is below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command: its exit code, standard output and standard error."""

    def called(*words: object) -> tuple[int, str, str]:
        code = run([*map(str, words)])
        return code, *capsys.readouterr()

    return called
