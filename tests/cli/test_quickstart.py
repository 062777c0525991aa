"""`locara-label quickstart` before anything is started: what is refused, with which words and codes."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from locara_label.cli.app import run
from locara_label.quickstart.folder import Folder


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With signal handlers that come back."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("LOCARA_LABEL_STUDIO", raising=False)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """One that ends at once."""
    path = tmp_path / "bin" / "label-studio"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho no such table: users\nexit 3\n", "ascii")
    path.chmod(0o755)
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = run(["quickstart", *words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out.splitlines()[-1])["error"]


def test_no_label_studio(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locara_label.quickstart.program._NAME", "not-installed")
    code, error = refused(capsys, "--no-browser")
    assert (code, error["code"]) == (1, "quickstart.not_installed")
    assert str(tmp_path / "data" / "quickstart" / "environment") in error["message"]


def test_a_program_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, error = refused(capsys, "--label-studio", str(tmp_path / "none"))
    assert (code, error["code"]) == (2, "option.label_studio")


def test_a_taken_port(capsys: pytest.CaptureFixture[str], program: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        for flag in ("--port", "--assist-port"):
            code, error = refused(capsys, "--label-studio", str(program), flag, port)
            assert (code, error["code"]) == (1, "quickstart.port")
            assert error["message"].endswith(f"name another one for {flag}")


def test_a_newer_folder(capsys: pytest.CaptureFixture[str], program: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "quickstart.json").write_text('{"version": 99}', "ascii")
    code, error = refused(capsys, "--label-studio", str(program), "--folder", str(tmp_path / "new"))
    assert (code, error["code"]) == (1, "quickstart.newer")


def test_a_folder_in_use(capsys: pytest.CaptureFixture[str], program: Path, tmp_path: Path) -> None:
    with Folder(tmp_path / "used").claimed(0):
        code, error = refused(capsys, "--label-studio", str(program), "--folder", str(tmp_path / "used"))
    assert (code, error["code"]) == (1, "quickstart.running")


def test_screenshots_are_of_a_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, error = refused(capsys, "--screenshots", str(tmp_path))
    assert (code, error["code"]) == (2, "option.screenshots")


def test_labels_that_are_none(capsys: pytest.CaptureFixture[str], program: Path) -> None:
    code, error = refused(capsys, "--label-studio", str(program), "--label", "")
    assert (code, error["code"]) == (2, "option.label")


def test_a_label_studio_that_ends_at_once(capsys: pytest.CaptureFixture[str], program: Path, tmp_path: Path) -> None:
    """Its last words are told; and what was to be kept is kept for the next start."""
    folder = tmp_path / "broken"
    words = ["--label-studio", str(program), "--folder", str(folder), "--no-browser"]
    code, error = refused(capsys, *words)
    assert (code, error["code"]) == (1, "quickstart.ended")
    assert "exit code 3" in error["message"]
    assert error["message"].endswith("no such table: users")
    kept = Folder(folder).read()
    assert refused(capsys, *words)[1]["code"] == "quickstart.ended"
    assert Folder(folder).read() == kept
