"""What holds for the store in a file: modes, damage, a full disk, files of other releases, locks."""

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from locara_label.errors import StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.store_tables import VERSION
from tests.hosts.label_studio.storing import COUNT, PLACE, driven, frame, record, refused, wish

LOOK = """
import sys
from pathlib import Path
from locara_label.hosts.label_studio.masklets import MaskletStore, Place
with MaskletStore(Path(sys.argv[1])) as store:
    print(len(store.frames(Place(3, 14, "bGrvVkxO7c"))))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "masklets.sqlite3"


@pytest.fixture
def store(path):
    with MaskletStore(path) as opened:
        yield opened


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_only_the_owner_may_read(path, store):
    store.put(record())
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert path.name in modes
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_of_a_later_release_is_refused_and_left_alone(path):
    MaskletStore(path).close()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    before = path.read_bytes()
    assert f"version {VERSION + 1}" in refused("store.newer", StoreFailed, MaskletStore, path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_alone(path):
    path.parent.mkdir(parents=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE mine (a)")
    database.close()
    before = path.read_bytes()
    path.chmod(0o640)
    refused("store.foreign", StoreFailed, MaskletStore, path)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_a_copy_that_others_may_read_is_closed_to_them(path):
    MaskletStore(path).close()
    path.chmod(0o644)
    with MaskletStore(path) as store:
        store.put(record())
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database" * 1000)
    refused("store.damaged", StoreFailed, MaskletStore, path)
    assert path.read_bytes() == b"not a database" * 1000


def filled(path, count=COUNT):
    with MaskletStore(path) as store:
        store.replace(record(), [frame(number) for number in range(count)])


def test_a_damaged_page_is_told_on_opening(path):
    filled(path)
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"\xa5" * 64
    path.write_bytes(content)
    refused("store.damaged", StoreFailed, MaskletStore, path)


def test_a_mask_changed_behind_our_back_is_told(path, store):
    store.replace(record(), [frame(1), frame(2)])
    database = sqlite3.connect(path)
    database.execute("UPDATE frames SET counts = 'zz' WHERE frame = 2")
    database.commit()
    database.close()
    assert "bGrvVkxO7c" in refused("store.damaged", StoreFailed, store.frames, PLACE)
    assert store.read(PLACE) == record()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    refused("store.refused", StoreFailed, MaskletStore, tmp_path / "file" / "masklets.sqlite3")
    refused("store.refused", StoreFailed, MaskletStore, tmp_path)


def test_a_full_file_takes_nothing_half(path, store):
    store.replace(record(), [frame(1)])
    driven(store, text("PRAGMA max_page_count = 20"))
    big = replace(record(), size=(512, 512), prompts={})
    noise = [frame(number, size=(512, 512)) for number in range(3)]
    refused("store.disk_full", StoreFailed, store.replace, big, noise)
    assert (store.read(PLACE), store.frames(PLACE)) == (record(), (frame(1),))
    store.add(PLACE, [frame(2)])
    assert store.frames(PLACE) == (frame(1), frame(2))


LIMITED = """
import resource, sys
from pathlib import Path
from locara_label.errors import StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record
from tests.hosts.label_studio.storing import PLACE, frame
store = MaskletStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
big = Record(Place(9, 9, "big"), "v", "video", "box", (512, 512), 9, "Car", "m", "v", {})
try:
    store.replace(big, [frame(number, size=(512, 512)) for number in range(9)])
except StoreFailed as error:
    print(error.code)
print(store.read(big.place), len(store.frames(PLACE)))
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_disk_that_takes_no_more_loses_nothing(path):
    filled(path)
    words = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    code, rest = done.stdout.splitlines()
    assert code in {"store.disk", "store.disk_full"}
    assert rest == f"None {COUNT}"
    with MaskletStore(path) as store:
        assert len(store.frames(PLACE)) == COUNT
        assert len(store.of_project(9)) == 0


def test_another_process_that_holds_the_file_is_waited_for_and_told(path, monkeypatch):
    monkeypatch.setattr("locara_label.hosts.label_studio.store_sqlite._BUSY_S", 0.2)
    with MaskletStore(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused("store.busy", StoreFailed, store.put, record())
        assert store.read(PLACE) is None
        other.execute("ROLLBACK")
        other.close()
        store.put(record())
        assert store.read(PLACE) == record()


def test_a_second_store_in_a_process_does_not_end_the_locks_of_the_first(store, path):
    """Else another process takes itself for the last one, deletes the log, and what is written after that is in no file."""
    store.put(record())
    MaskletStore(path).close()
    seen = []
    for number in range(2):
        store.add(PLACE, [frame(number)])
        looked = subprocess.run([sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, check=True)
        seen.append(int(looked.stdout))
    assert seen == [1, 2]


def test_a_store_of_the_first_version_gets_its_new_tables_and_keeps_all(path):
    """As the release before wrote it: no wishes, and answers in a table that was no part of the version."""
    filled(path)
    database = sqlite3.connect(path)
    for name in ("wishes", "sessions"):
        database.execute(f"DROP TABLE {name}")
    database.execute("PRAGMA user_version = 1")
    database.close()
    for _ in range(2):
        with MaskletStore(path) as store:
            assert (store.read(PLACE), len(store.frames(PLACE))) == (record(), COUNT)
            store.put_wish(3, 14, wish("car"))
            assert len(store.wishes()) == 1


def test_the_guide_names_every_code_of_the_store():
    guide = (Path(__file__).parents[3] / "docs/label-studio.md").read_text("utf-8")
    for code in ("disk_full", "disk", "refused", "busy", "damaged", "newer", "foreign", "unreachable"):
        assert f"`store.{code}`" in guide
