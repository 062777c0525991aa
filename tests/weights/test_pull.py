"""What a pull promises when all goes well, and which of the forms of the weights it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locara_label.errors import BadOption, BadWeights, DownloadFailed, LicenceNotAccepted, NotDownloaded
from locara_label.weights import store as store_module
from locara_label.weights.catalogue import File, Row
from locara_label.weights.digest import sha256_of
from locara_label.weights.store import Progress, Store
from tests.weights.hub_server import COMMIT, HubServer
from tests.weights.sample_models import REPO, STRICT, content, make_row, repository


def record(store: Store, name: str = "tiny") -> dict:
    return json.loads((store.root / "records" / f"{name}.json").read_text())


def test_a_pull_places_every_file(store: Store, row: Row, weights: bytes):
    folder = store.pull(row)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert (folder / "model.safetensors").read_bytes() == weights
    assert store.folder(row) == folder
    assert store.weights(row) == folder / "model.safetensors"
    assert store.state(row).kind == "ready"


def test_the_commit_and_the_digests_are_recorded(store: Store, row: Row):
    folder = store.pull(row)
    kept = record(store)
    assert kept["commit"] == COMMIT
    assert kept["complete"]
    for entry in kept["files"]:
        place = folder / entry["path"]
        assert entry["digest"]["sha256"] == sha256_of(place)
        assert entry["digest"]["size"] == place.stat().st_size
        assert entry["stamp"]["inode"] == place.stat().st_ino


def test_after_the_first_answer_only_the_commit_is_asked_for(store: Store, hub: HubServer, row: Row):
    store.pull(row)
    revisions = [request.path.split("/")[4] for request in hub.log if "/resolve/" in request.path]
    assert revisions[0] == "main"
    assert set(revisions[1:]) == {COMMIT}


def test_a_later_pull_uses_the_recorded_commit(store: Store, hub: HubServer, row: Row):
    folder = store.pull(row)
    (folder / "config.json").unlink()
    hub.log.clear()
    store.pull(row)
    assert "main" not in {request.path.split("/")[4] for request in hub.log if "/resolve/" in request.path}
    assert (folder / "config.json").is_file()


def test_a_pinned_revision_is_the_only_one_asked_for(store: Store, hub: HubServer):
    store.pull(make_row(revision=COMMIT))
    assert {request.path.split("/")[4] for request in hub.log if "/resolve/" in request.path} == {COMMIT}


def test_a_second_pull_asks_nothing(store: Store, hub: HubServer, row: Row):
    store.pull(row)
    hub.log.clear()
    store.pull(row)
    assert hub.log == []


def test_a_new_record_of_main_is_not_taken_for_the_old_one(store: Store, hub: HubServer, row: Row):
    """A static server names no commit, so only the recorded digest tells that the file moved on."""
    hub.faults.plain = True
    folder = store.pull(row)
    hub.files[f"{REPO}/model.safetensors"] = content(3 << 20, seed=9)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DownloadFailed) as failure:
        store.pull(row)
    assert failure.value.code == "download.wrong_hash"


def test_progress_grows_to_the_total(store: Store, row: Row, weights: bytes):
    seen: list[Progress] = []
    store.pull(row, progress=seen.append)
    done = [step.done for step in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].total
    assert seen[-1].total > len(weights)


def test_sharded_weights(store: Store, hub: HubServer, row: Row):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    shards = {name: content(9000, seed=i) for i, name in enumerate(sorted(index["weight_map"].values()))}
    hub.files.clear()
    hub.files.update(repository({"model.safetensors.index.json": json.dumps(index).encode(), **shards}))
    hub.large = {f"{REPO}/{name}" for name in shards}
    folder = store.pull(row)
    assert {name: (folder / name).read_bytes() for name in shards} == shards
    assert store.weights(row).name == "model.safetensors.index.json"
    assert store.verify(row).is_sound
    (folder / min(shards)).unlink()
    assert store.pull(row) == folder
    assert store.verify(row).is_sound


def test_older_repositories_have_a_torch_file(store: Store, hub: HubServer, row: Row):
    hub.files.clear()
    hub.files.update(repository({"pytorch_model.bin": b"torch"}))
    folder = store.pull(row)
    assert store.weights(row) == folder / "pytorch_model.bin"
    assert store.weights(row).read_bytes() == b"torch"


def test_no_weights_at_all(store: Store, hub: HubServer, row: Row):
    del hub.files[f"{REPO}/model.safetensors"]
    with pytest.raises(DownloadFailed, match="no weights in owner/model") as failure:
        store.pull(row)
    assert failure.value.code == "download.not_found"


@pytest.mark.parametrize(
    "index",
    [
        b'{"weight_map": {"a": "../../evil.safetensors"}}',
        b'{"weight_map": {"a": "/etc/evil.safetensors"}}',
        b'{"weight_map": {"a": "x\\\\evil.safetensors"}}',
        b'{"weight_map": {"a": ".hidden.safetensors"}}',
        b'{"weight_map": {"a": "evil.py"}}',
        b'{"weight_map": {}}',
        b'{"weight_map": {"a": 1}}',
        b"[]",
        b"no json",
    ],
)
def test_an_index_cannot_name_other_files(store: Store, hub: HubServer, row: Row, tmp_path: Path, index: bytes):
    hub.files.clear()
    hub.files.update(repository({"model.safetensors.index.json": index}))
    with pytest.raises(BadWeights) as failure:
        store.pull(row)
    assert failure.value.code == "weights.bad_index"
    assert not list(tmp_path.rglob("evil*"))
    assert store.state(row).kind == "error"


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "a//x", ".x", "a/.x", "C:x", "a\\x", "", "a\nb"])
def test_a_row_cannot_leave_its_folder(store: Store, path: str):
    with pytest.raises(BadWeights) as failure:
        store.pull(make_row(weights=(File(path),)))
    assert failure.value.code == "weights.bad_path"


def test_files_in_subfolders_and_optional_files(store: Store, hub: HubServer):
    hub.files = {f"{REPO}/onnx/model.onnx": b"onnx"}
    hub.large = set(hub.files)
    row = make_row(
        files=(File("config.json", required=False),), weights=(File("onnx/model.onnx", size=4),), onnx="onnx/model.onnx"
    )
    assert (store.pull(row) / "onnx" / "model.onnx").read_bytes() == b"onnx"


def test_a_required_file_that_is_missing(store: Store, hub: HubServer, row: Row):
    del hub.files[f"{REPO}/config.json"]
    with pytest.raises(DownloadFailed, match=r"config\.json") as failure:
        store.pull(row)
    assert failure.value.code == "download.not_found"
    assert not store.state(row).retry


def test_the_licence_must_be_accepted_once(store: Store, hub: HubServer):
    row = make_row(licence=STRICT)
    with pytest.raises(LicenceNotAccepted, match=r"Strict Licence, see https://licence\.example/strict") as failure:
        store.pull(row)
    assert "--accept-licence" in failure.value.message
    assert hub.log == []
    folder = store.pull(row, accept_licence=True)
    assert record(store)["licence"] == "strict"
    assert record(store)["accepted"].startswith("20")
    (folder / "config.json").unlink()
    assert store.pull(row) == folder


def test_removing_forgets_the_acceptance(store: Store, weights: bytes):
    row = make_row(licence=STRICT)
    folder = store.pull(row, accept_licence=True)
    assert store.remove(row) > len(weights)
    assert not folder.exists()
    assert store.remove(row) == 0
    assert store.state(row).kind == "not_downloaded"
    with pytest.raises(NotDownloaded, match="models pull tiny"):
        store.folder(row)
    with pytest.raises(LicenceNotAccepted):
        store.pull(row)


def test_what_ships_with_the_package_is_always_ready(store: Store, hub: HubServer, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(store_module, "MINI", tmp_path)
    (tmp_path / "segformer").mkdir()
    row = make_row(bundled="segformer", licence=STRICT, repo=None, weights=())
    assert store.state(row).kind == "ready"
    assert store.pull(row) == store.folder(row) == tmp_path / "segformer"
    assert store.weights(row) == tmp_path / "segformer" / "model.safetensors"
    assert store.verify(row).is_sound
    with pytest.raises(BadOption):
        store.remove(row)
    assert hub.log == []
    (tmp_path / "segformer").rmdir()
    assert store.state(row).kind == "error"
