import os
import shutil

import pytest

from locara_label.batch.identity import weights_identity
from locara_label.errors import NotDownloaded
from locara_label.settings import load
from locara_label.weights import records
from locara_label.weights.catalogue import find
from locara_label.weights.digest import Digest
from locara_label.weights.records import Entry, Record
from locara_label.weights.store import MINI

ROW = find("segformer-mini")


@pytest.fixture
def store(tmp_path):
    return load(cache_dir=tmp_path / "cache").store()


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(MINI / "segformer", tmp_path / "copy")


def test_a_copy_is_the_same_weights_whenever_it_was_made(store, copied):
    os.utime(copied / "config.json", (1, 1))
    assert weights_identity(ROW, store, copied) == weights_identity(ROW, store)


def test_one_other_byte_is_other_weights(store, copied):
    before = weights_identity(ROW, store, copied)
    content = bytearray((copied / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "model.safetensors").write_bytes(content)
    assert weights_identity(ROW, store, copied) != before


def test_files_that_no_model_reads_do_not_count(store, copied):
    before = weights_identity(ROW, store, copied)
    (copied / "README.md").write_text("hello")
    assert weights_identity(ROW, store, copied) == before


def test_downloaded_weights_go_by_their_record(store):
    row = find("segformer-b0-finetuned-ade-512-512")
    with pytest.raises(NotDownloaded):
        weights_identity(row, store)
    folder = store.root / "models" / row.name
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"abc")
    digest = Digest(3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    record = Record(row.name, row.repo, "main", row.licence.id, None, (Entry("model.safetensors", digest),), complete=True)
    records.write(store.root / "records" / f"{row.name}.json", record)
    assert weights_identity(row, store) == weights_identity(row, store)
    assert len(weights_identity(row, store)) == 64
