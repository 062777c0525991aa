"""Label Studio's program: where it is looked for, which releases fit, what it sees."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from locara_label.errors import BadOption, LocaraError
from locara_label.quickstart import program
from locara_label.quickstart.folder import Folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """In an environment without a Label Studio."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python" / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return Folder(tmp_path / "quickstart")


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o755)
    return path


def test_order(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(LocaraError, match=r"--install") as caught:
        program.find_program(folder)
    assert caught.value.code == "quickstart.not_installed"
    places = [tmp_path / "path", folder.environment / "bin", tmp_path / "python" / "bin"]
    for place in places:
        made = make(place / "label-studio")
        assert program.find_program(folder) == made
    named = make(tmp_path / "named")
    assert program.find_program(folder, named) == named


@pytest.mark.parametrize("name", ["none", "", "text"])
def test_what_is_named_is_a_program(folder: Folder, tmp_path: Path, name: str) -> None:
    (tmp_path / "text").touch(0o644)
    with pytest.raises(BadOption) as caught:
        program.find_program(folder, tmp_path / name)
    assert caught.value.code == "option.label_studio"


def test_release_beside_the_program(tmp_path: Path) -> None:
    made = make(tmp_path / "bin" / "label-studio")
    assert program.release_of(made) == ""
    (tmp_path / "lib" / "python3.11" / "site-packages" / "label_studio-1.23.2.dist-info").mkdir(parents=True)
    (tmp_path / "lib" / "python3.11" / "site-packages" / "label_studio_sdk-2.1.2.dist-info").mkdir()
    assert program.release_of(made) == "1.23.2"


@pytest.mark.parametrize(
    ("release", "last", "code"),
    [
        ("1.23.2", "", None), ("1.23.2", "1.23.2", None), ("1.24.0", "1.23.2", None), ("", "1.23.2", None), ("1.24", "", None),
        ("1.23.2", "odd", None), ("1.23.2", "1.23.3", "quickstart.newer"), ("1.23.2", "2.0", "quickstart.newer"),
        ("1.19.9", "", "quickstart.release"), ("0.9", "", "quickstart.release"),
    ],
)  # fmt: skip
def test_releases(folder: Folder, release: str, last: str, code: str | None) -> None:
    if code is None:
        program.check_release(release, last, folder)
        return
    with pytest.raises(LocaraError) as caught:
        program.check_release(release, last, folder)
    assert caught.value.code == code


def test_it_sees_its_own_settings_only(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LABEL_STUDIO_HOST", "DATABASE_NAME", "POSTGRE_HOST", "DJANGO_DB", "HTTPS_PROXY", "PYTHONPATH", "USERNAME"):
        monkeypatch.setenv(name, "of-another-one")
    kept = folder.read()
    seen = program.environment(folder, kept, "http://127.0.0.1:8080")
    assert "of-another-one" not in seen.values()
    assert seen["DJANGO_DB"] == "sqlite"
    assert seen["LABEL_STUDIO_BASE_DATA_DIR"] == str(folder.studio)
    assert {seen[name] for name in ("SENTRY_DSN", "FRONTEND_SENTRY_DSN")} == {""}
    assert {seen[f"LABEL_STUDIO_{name}"] for name in ("COLLECT_ANALYTICS", "LATEST_VERSION_CHECK")} == {"false"}


def test_no_secret_is_on_the_command_line(folder: Folder, tmp_path: Path) -> None:
    kept = folder.read()
    line = " ".join(program.command(tmp_path / "label-studio", 8080))
    assert kept.password not in line
    assert kept.token not in line
    assert "--internal-host 127.0.0.1" in line


def test_a_failed_installation_says_what_pip_said(folder: Folder, tmp_path: Path) -> None:
    make(tmp_path / "python" / "bin" / "python").write_text("#!/bin/sh\necho no room left >&2; exit 1\n", "ascii")
    with pytest.raises(LocaraError, match=r"no room left") as caught:
        program.install(folder, lambda _: None)
    assert caught.value.code == "quickstart.install"
