"""Disks that fill up, caches that cannot be written, no network at all."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path

import pytest

from locara_label.weights import download
from locara_label.weights.catalogue import Row
from locara_label.weights.store import Store
from tests.weights.failing_pulls import MIB, part_of, pull_fails
from tests.weights.hub_server import HubServer
from tests.weights.sample_models import OpenStore, make_row


def test_too_little_space_is_told_before(store: Store, hub: HubServer, row: Row, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 5 * MIB))
    message = pull_fails(store, row, "download.disk_full")
    assert "LOCARA_CACHE_DIR" in message
    assert hub.sent == 0


def test_a_disk_that_fills_up_on_the_way(store: Store, row: Row, weights: bytes, monkeypatch):
    class Full:
        def __init__(self, stream):
            self.stream, self.room = stream, MIB

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.stream.close()

        def write(self, data):
            self.room -= len(data)
            if self.room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.stream.write(data)

    really = Path.open

    def opened(path: Path, *mode, **how):
        stream = really(path, *mode, **how)
        return Full(stream) if path.suffix == ".part" and mode != ("rb",) else stream

    monkeypatch.setattr(Path, "open", opened)
    assert "is kept" in pull_fails(store, row, "download.disk_full")
    assert store.state(row).retry
    part = part_of(store)
    assert MIB - (1 << 17) < part.stat().st_size <= MIB
    monkeypatch.undo()
    assert (store.pull(row) / "model.safetensors").read_bytes() == weights


def test_a_cache_that_cannot_be_written(open_store: OpenStore, row: Row, tmp_path: Path):
    (tmp_path / "cache").write_text("a file in the way")
    pull_fails(open_store(), row, "download.not_writable")


def test_a_read_only_cache_can_be_used(store: Store, row: Row, monkeypatch):
    folder = store.pull(row)
    os.utime(folder / "config.json")
    monkeypatch.setattr("locara_label.weights.records.write", denied)
    assert store.folder(row) == folder
    assert store.pull(row) == folder


def denied(*_: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_offline_makes_no_socket(open_store: OpenStore, row: Row, monkeypatch):
    folder = open_store().pull(row)

    def no_socket(*_: object, **__: object) -> None:
        pytest.fail("a socket was made")

    for name in ("socket", "create_connection", "getaddrinfo", "socketpair"):
        monkeypatch.setattr(socket, name, no_socket)
    store = open_store(offline=True)
    assert store.pull(row) == store.folder(row) == folder
    assert store.verify(row).is_sound
    other = make_row("other")
    assert "LOCARA_OFFLINE" in pull_fails(store, other, "download.offline")
    assert store.state(other).kind == "not_downloaded"
