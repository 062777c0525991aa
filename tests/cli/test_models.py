"""`locara-label models` against a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from locara_label.cli.app import run
from locara_label.weights import catalogue
from tests.weights.hub_server import HubServer
from tests.weights.sample_models import content, repository

STRICT = "segformer-b1-finetuned-ade-512-512"
OTHER = "segformer-b2-finetuned-ade-512-512"
SELFIE = "mediapipe_selfie_segmentation"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch) -> Iterator[HubServer]:
    weights = content(300_000)
    files = repository({"model.safetensors": weights}, f"nvidia/{STRICT}")
    files |= repository({"onnx/model.onnx": weights}, f"onnx-community/{SELFIE}")
    row = catalogue.find(SELFIE)
    file = replace(row.weights[0], size=len(weights), sha256=hashlib.sha256(weights).hexdigest())
    known = {**catalogue._by_name(), SELFIE: replace(row, weights=(file,), revision=None)}
    monkeypatch.setattr(catalogue, "_by_name", lambda: known)
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCARA_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with HubServer(files) as server:
        monkeypatch.setenv("LOCARA_ENDPOINT", server.url)
        yield server


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def models(hub: HubServer, capsys, monkeypatch) -> Command:
    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["locara-label", "models", *args])
        code = run(["models", *args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_list_shows_name_licence_size_and_state(models: Command):
    code, out, _ = models("list")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith(STRICT))
    assert line.split() == [STRICT, "semantic", "nvidia-source-code", "55", "MB", "not_downloaded"]


def test_list_for_machines(models: Command):
    _, out, _ = models("list", "--json")
    entries = {entry["name"]: entry for entry in json.loads(out)["models"]}
    assert entries[STRICT]["must_accept"]
    assert entries[STRICT]["licence"]["url"].startswith("https://")
    assert entries[STRICT]["state"] == "not_downloaded"
    assert entries["segformer-mini"]["bundled"]


def test_a_licence_is_shown_and_must_be_accepted(models: Command, hub: HubServer):
    code, out, err = models("pull", STRICT)
    assert code == 1
    assert out == ""
    assert "[model.licence_not_accepted]" in err
    assert "NVIDIA Source Code License" in err
    assert "https://" in err
    assert "--accept-licence" in err
    assert hub.log == []


def test_pull_path_verify_remove(models: Command, tmp_path: Path):
    folder = tmp_path / "cache" / "models" / STRICT
    code, out, err = models("pull", STRICT, "--accept-licence")
    assert (code, out) == (0, f"{STRICT}: {folder}\n")
    assert "accepted NVIDIA Source Code License" in err
    assert models("path", STRICT)[:2] == (0, f"{folder}\n")
    assert models("verify")[:2] == (0, f"{STRICT}: 3 files, all as downloaded\n")
    assert "ready" in next(line for line in models("list")[1].splitlines() if line.startswith(STRICT))
    code, out, _ = models("remove", STRICT, "--json")
    assert code == 0
    assert json.loads(out)["models"][0]["freed_bytes"] > 300_000
    assert models("path", STRICT)[0] == 1


def test_nothing_to_verify(models: Command):
    assert models("verify") == (0, "", "no model is downloaded\n")


def test_verify_tells_what_is_wrong(models: Command, tmp_path: Path):
    models("pull", SELFIE)
    (tmp_path / "cache" / "models" / SELFIE / "onnx" / "model.onnx").write_bytes(b"?")
    code, out, _ = models("verify", SELFIE)
    assert code == 1
    assert out == f"{SELFIE}: onnx/model.onnx: not the bytes that were downloaded\n"
    code, out, _ = models("verify", SELFIE, "--json")
    assert not json.loads(out)["models"][0]["ok"]
    code, _, err = models("path", SELFIE)
    assert code == 1
    assert "[weights.wrong_hash]" in err
    assert models("pull", SELFIE)[0] == 0
    assert models("verify", SELFIE)[0] == 0


def test_some_of_several_names_fail(models: Command):
    code, out, err = models("pull", SELFIE, OTHER, "nonsense", "--accept-licence", "--json")
    assert code == 3
    done = json.loads(out)["models"]
    assert [entry["ok"] for entry in done] == [True, False, False]
    assert [entry["error"]["code"] for entry in done[1:]] == ["download.not_found", "model.unknown"]
    assert OTHER in err


def test_all_of_several_names_fail(models: Command):
    assert models("pull", OTHER, "nonsense", "--accept-licence")[0] == 1


def test_an_unknown_name(models: Command):
    code, out, err = models("path", "segformer-b9", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "model.unknown"
    assert "did you mean" in err


def test_progress_on_request_only(models: Command):
    assert "%" not in models("pull", SELFIE)[2]
    models("remove", SELFIE)
    _, out, err = models("pull", SELFIE, "--progress", "--json")
    assert "100%" in err
    assert json.loads(out)["models"][0]["ok"]


def test_offline(models: Command, hub: HubServer, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = models("pull", SELFIE)
    assert code == 1
    assert "[download.offline]" in err
    assert hub.log == []


def test_what_ships_cannot_be_removed(models: Command):
    code, _, err = models("remove", "segformer-mini")
    assert code == 2
    assert "ships with the package" in err


def test_a_wrong_setting_is_wrong_usage(models: Command, monkeypatch):
    monkeypatch.setenv("LOCARA_ENDPOINT", "nowhere")
    code, _, err = models("list")
    assert code == 2
    assert "endpoint" in err
