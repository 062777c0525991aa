"""Everything that can break on the way: connections, servers, bytes, disks, permissions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections import deque
from pathlib import Path

import pytest

from locara_label.errors import BadWeights, DownloadFailed, NotDownloaded
from locara_label.weights import download
from locara_label.weights.catalogue import File, Row
from locara_label.weights.digest import Digest
from locara_label.weights.hub import Hub, Location
from locara_label.weights.store import Store
from tests.weights.failing_pulls import MIB, keep_part, part_of, pull_fails
from tests.weights.hub_server import HubServer
from tests.weights.sample_models import REPO, OpenStore, content, make_row


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# -- broken connections ------------------------------------------------------------------------------------------------


def test_a_broken_connection_is_continued(store: Store, hub: HubServer, row: Row, weights: bytes):
    hub.faults.drop_after = deque([100, 100, 700_000, 1_200_000])  # the first two hit the small files
    folder = store.pull(row)
    assert (folder / "model.safetensors").read_bytes() == weights
    starts = [request.start for request in hub.bodies("model.safetensors")]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert hub.sent <= len(weights) + 4 * MIB


def test_a_connection_that_always_breaks_is_given_up(store: Store, hub: HubServer, row: Row):
    hub.faults.drop_after = deque([1000] * 40)
    message = pull_fails(store, row, "download.unreachable")
    assert hub.url in message
    assert store.state(row).kind == "error"
    assert store.state(row).retry


def test_slow_is_not_broken(open_store: OpenStore, hub: HubServer, row: Row, weights: bytes):
    hub.files[f"{REPO}/model.safetensors"] = weights[:200_000]
    hub.faults.chunk_pause_s = 0.02
    assert open_store(read_s=1.0).pull(row)


def test_silence_is_broken(open_store: OpenStore, hub: HubServer, row: Row, weights: bytes):
    hub.files[f"{REPO}/model.safetensors"] = weights[:100_000]
    hub.faults.chunk_pause_s = 0.5
    with pytest.raises(DownloadFailed) as failure:
        open_store(read_s=0.05, attempts=2).pull(row)
    assert failure.value.code == "download.unreachable"


def test_a_server_without_ranges_starts_again(store: Store, hub: HubServer, row: Row, weights: bytes):
    hub.faults.ignore_range = True
    keep_part(store, weights[:MIB])
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights


def test_a_kept_part_is_not_asked_for_again(store: Store, hub: HubServer, row: Row, weights: bytes):
    keep_part(store, weights[: 2 * MIB])
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights
    assert [request.start for request in hub.bodies("model.safetensors")] == [2 * MIB]
    assert not part_of(store).exists()


def test_a_whole_part_is_only_checked(store: Store, hub: HubServer, row: Row, weights: bytes):
    keep_part(store, weights)
    store.pull(row)
    assert hub.bodies("model.safetensors") == []


@pytest.mark.parametrize("kept", [b"x" * MIB, b"x" * 4 * MIB, b"x" * 3 * MIB])
def test_a_part_of_something_else_is_dropped(store: Store, row: Row, weights: bytes, kept: bytes):
    keep_part(store, kept)
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights


def test_without_any_digest_nothing_is_continued(store: Store, hub: HubServer, row: Row, weights: bytes):
    hub.faults.plain = True
    keep_part(store, b"x" * MIB)
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights
    assert {request.start for request in hub.log} == {0}


def test_a_part_beyond_the_end_is_dropped(store: Store, hub: HubServer, weights: bytes, tmp_path: Path):
    """Only the server knows here that the part is too long: it refuses the range."""
    digest = Digest(sha256=hashlib.sha256(weights).hexdigest())
    target = download.Target(Location(REPO, "main", "model.safetensors"), tmp_path / "m", digest)
    target.part.write_bytes(weights + b"more")
    with store.hub.connect() as link:
        assert download.fetch(link, target, lambda _: None).size == len(weights)
    assert target.place.read_bytes() == weights


def test_a_store_that_ends_too_early_is_continued(store: Store, hub: HubServer, row: Row, weights: bytes):
    """Without a Content-Length a broken connection looks like the end."""
    hub.large.update(hub.files)
    hub.faults.endless = True
    hub.faults.drop_after = deque([1 << 20, 1 << 20, 1 << 20, 1 << 20])
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("endless", [True, False])
@pytest.mark.parametrize("length", [2 * MIB, 4 * MIB])
def test_a_cdn_with_another_file(store: Store, hub: HubServer, mirror: HubServer, length: int, endless: bool):
    hub.faults.redirect_to, mirror.faults.endless = mirror.url, endless
    mirror.files[f"{REPO}/model.safetensors"] = content(length, seed=5)
    pull_fails(store, make_row(), "download.wrong_hash")
    assert not part_of(store).exists()


def test_a_damaged_part_and_a_lying_cdn(store: Store, hub: HubServer, mirror: HubServer, row: Row):
    hub.faults.redirect_to, mirror.faults.flip_bit = mirror.url, True
    keep_part(store, b"x" * MIB)
    pull_fails(store, row, "download.wrong_hash")
    assert [request.start for request in mirror.bodies("model.safetensors")] == [MIB, 0]
    assert not part_of(store).exists()


def test_nothing_to_check_a_file_by(store: Store, hub: HubServer, row: Row):
    hub.faults.plain = hub.faults.endless = True
    assert "neither size nor digest" in pull_fails(store, row, "download.failed")


# -- answers that are no files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_server_is_asked_again(store: Store, hub: HubServer, row: Row, status: int):
    hub.faults.statuses = deque([status, status])
    assert store.pull(row)


def test_a_server_may_ask_for_patience(store: Store, hub: HubServer, row: Row):
    hub.faults.statuses, hub.faults.retry_after = deque([429]), "1"
    started = time.monotonic()
    store.pull(row)
    assert time.monotonic() - started >= 1


def test_a_server_that_stays_broken(store: Store, hub: HubServer, row: Row):
    hub.faults.statuses = deque([500] * 10)
    assert "answered 500" in pull_fails(store, row, "download.unreachable")
    assert len(hub.log) == store.hub.attempts


def test_nothing_listens(open_store: OpenStore, row: Row):
    store = open_store(f"http://127.0.0.1:{free_port()}", attempts=2)
    assert "cannot be reached" in pull_fails(store, row, "download.unreachable")


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_names_its_page(store: Store, hub: HubServer, row: Row, status: int):
    hub.faults.statuses = deque([status])
    message = pull_fails(store, row, "download.gated")
    assert f"{hub.url}/{REPO}" in message
    assert "LOCARA_TOKEN" in message
    assert not store.state(row).retry


def test_a_repository_that_cannot_be_seen(store: Store, hub: HubServer, row: Row):
    hub.faults.statuses, hub.faults.error_code = deque([401]), "RepoNotFound"
    pull_fails(store, row, "download.not_found")


def test_an_expired_address_of_the_cdn_is_renewed(store: Store, hub: HubServer, mirror: HubServer, row: Row):
    hub.faults.redirect_to = mirror.url
    mirror.faults.expired_cdn = 2
    assert store.pull(row)
    assert len(mirror.log) == 3


# -- wrong bytes -------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_small_file_is_refused(store: Store, hub: HubServer, row: Row):
    hub.faults.flip_bit = True
    assert "config.json" in pull_fails(store, row, "download.wrong_hash")
    assert list(store.root.glob("models/tiny/*")) == []


def test_a_flipped_bit_in_the_weights_is_refused(store: Store, hub: HubServer, mirror: HubServer, row: Row):
    hub.faults.redirect_to, mirror.faults.flip_bit = mirror.url, True
    assert "model.safetensors" in pull_fails(store, row, "download.wrong_hash")
    assert list(store.root.glob("models/tiny/model*")) == []
    with pytest.raises(NotDownloaded):
        store.folder(row)


def test_a_flipped_bit_in_a_kept_part_costs_one_retry(store: Store, hub: HubServer, row: Row, weights: bytes):
    keep_part(store, bytes([weights[0] ^ 1]) + weights[1 : 2 * MIB])
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights
    assert [request.start for request in hub.bodies("model.safetensors")] == [2 * MIB, 0]


def test_the_digest_of_the_row_outranks_the_hub(store: Store, hub: HubServer):
    row = make_row(weights=(File("model.safetensors", sha256="0" * 64),))
    assert "0" * 64 in pull_fails(store, row, "download.wrong_hash")
    assert hub.bodies("model.safetensors") == []


def test_a_flipped_bit_on_the_disk_is_refused_and_repaired(store: Store, hub: HubServer, row: Row, weights: bytes):
    place = store.pull(row) / "model.safetensors"
    before = place.stat()
    damaged = bytearray(weights)
    damaged[len(weights) // 2] ^= 1
    place.write_bytes(damaged)
    with pytest.raises(BadWeights, match=r"model\.safetensors of tiny .* models pull tiny") as failure:
        store.folder(row)
    assert failure.value.code == "weights.wrong_hash"
    # even where the disk hides the change, a full check finds it, and the model is refused from then on
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.verify(row).problems == ("model.safetensors: not the bytes that were downloaded",)
    with pytest.raises(BadWeights):
        store.folder(row)
    hub.log.clear()
    store.pull(row)
    assert place.read_bytes() == weights
    assert hub.bodies("config.json") == []
    assert store.verify(row).is_sound


def test_every_flipped_bit_is_found(store: Store, hub: HubServer, row: Row):
    hub.files[f"{REPO}/model.safetensors"] = small = content(64)
    place = store.pull(row) / "model.safetensors"
    for bit in range(0, 64 * 8, 37):
        damaged = bytearray(small)
        damaged[bit // 8] ^= 1 << bit % 8
        place.write_bytes(damaged)
        assert not store.verify(row).is_sound
    place.write_bytes(small)
    assert store.verify(row).is_sound
    assert store.folder(row)


def test_verify_tells_missing_and_strange_files(store: Store, row: Row):
    with pytest.raises(NotDownloaded):
        store.verify(row)
    folder = store.pull(row)
    (folder / "config.json").unlink()
    (folder / "model.onnx_data").write_bytes(b"?")
    assert store.verify(row).problems == ("config.json: missing", "model.onnx_data: not a file of this model")
    with pytest.raises(NotDownloaded):
        store.folder(row)


def test_an_unchanged_file_is_not_hashed_again(store: Store, row: Row, monkeypatch):
    store.pull(row)
    monkeypatch.setattr("locara_label.weights.records.of_file", lambda *_, **__: pytest.fail("hashed"))
    assert store.folder(row)


def test_a_copied_cache_is_hashed_once(store: Store, row: Row, tmp_path: Path):
    store.pull(row)
    shutil.copytree(store.root, tmp_path / "copy")
    copy = Store(tmp_path / "copy", Hub("http://nowhere.invalid", offline=True))
    assert copy.pull(row) == copy.folder(row)
    stamps = [entry["stamp"]["inode"] for entry in json.loads((tmp_path / "copy/records/tiny.json").read_text())["files"]]
    assert stamps == [path.stat().st_ino for path in (copy.folder(row) / name for name in recorded(copy))]


def recorded(store: Store) -> list[str]:
    return [entry["path"] for entry in json.loads((store.root / "records/tiny.json").read_text())["files"]]


def test_a_damaged_record_means_not_downloaded(store: Store, row: Row):
    store.pull(row)
    for text in ("", "{", "[]", "null", '{"format": 99}', '{"format": 1, "files": [{}]}'):
        (store.root / "records" / "tiny.json").write_text(text)
        with pytest.raises(NotDownloaded):
            store.folder(row)
        assert store.state(row).kind == "not_downloaded"
    assert store.pull(row)


# -- mirrors -----------------------------------------------------------------------------------------------------------


def test_a_mirror_helps_out(open_store: OpenStore, mirror: HubServer, row: Row, weights: bytes):
    store = open_store(f"http://127.0.0.1:{free_port()}", mirrors=(mirror.url,), attempts=2)
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights


def test_a_mirror_continues_what_the_hub_began(
    open_store: OpenStore, hub: HubServer, mirror: HubServer, row: Row, weights: bytes
):
    hub.faults.drop_after = deque([len(hub.files[f"{REPO}/config.json"]), 100, 2 * MIB, 0, 0, 0, 0])
    store = open_store(mirrors=(mirror.url,), attempts=2)
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights
    assert mirror.bodies("model.safetensors")[0].start >= MIB


def test_a_lying_source_is_passed_over(open_store: OpenStore, hub: HubServer, mirror: HubServer, row: Row, weights: bytes):
    hub.faults.flip_bit = True
    store = open_store(mirrors=(mirror.url,))
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights


def test_all_sources_are_named(open_store: OpenStore, hub: HubServer, mirror: HubServer, row: Row):
    hub.faults.statuses, mirror.faults.statuses = deque([500] * 9), deque([403])
    store = open_store(mirrors=(mirror.url,), attempts=2)
    message = pull_fails(store, row, "download.gated")
    assert mirror.url in message
    assert "answered 500" in message


def test_a_silent_source_is_asked_once_per_pull(open_store: OpenStore, hub: HubServer, mirror: HubServer, row: Row):
    hub.faults.statuses = deque([500] * 90)
    store = open_store(mirrors=(mirror.url,), attempts=3)
    assert store.pull(row)
    assert len(hub.log) == 3


# -- offline -----------------------------------------------------------------------------------------------------------
