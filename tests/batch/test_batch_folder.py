import errno
import os

import pytest

from locara_label.atomic import part_path
from locara_label.batch.folder import Folder, semantic_names, writing
from locara_label.batch.inputs import Item
from locara_label.batch.plan import Plan, Shard
from locara_label.batch.rows import Failed, Failure, to_line
from locara_label.errors import BatchError

SHARD = Shard(0, "key", (Item("a.jpg", 1, 1), Item("b.jpg", 1, 1)))
LINES = [to_line(Failed(name, Failure("image.bad", "no"))) for name in ("a.jpg", "b.jpg")]


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path / "out")
    folder.shards.mkdir(parents=True)
    return folder


def test_a_shard_comes_back(folder):
    folder.write_shard(SHARD, LINES)
    assert [row.file_name for row in folder.read_shard(SHARD)] == ["a.jpg", "b.jpg"]
    assert [path.name for path in folder.shards.iterdir()] == ["00000.jsonl"]


def test_a_shard_of_another_plan_does_not_count(folder):
    folder.write_shard(SHARD, LINES)
    assert folder.read_shard(Shard(0, "other", SHARD.items)) is None
    assert folder.read_shard(Shard(1, "key", SHARD.items)) is None


def test_every_damage_to_a_shard_is_noticed(folder):
    folder.write_shard(SHARD, LINES)
    path = folder.shard_path(SHARD)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        assert folder.read_shard(SHARD) is None, length
    for place in range(len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert folder.read_shard(SHARD) is None, place


def test_one_job_at_a_time(folder):
    with folder.held(), pytest.raises(BatchError) as caught, Folder(folder.root).held():
        pass
    assert caught.value.code == "batch.busy"
    with folder.held():
        pass


def test_half_written_files_are_swept_and_others_stay(folder):
    (folder.semantic / "a").mkdir(parents=True)
    folder.panoptic_pngs.mkdir()
    junk = [
        part_path(folder.root / "coco.json"),
        part_path(folder.shards / "00001.jsonl"),
        part_path(folder.panoptic_pngs / "000000000001.png"),
        part_path(folder.semantic / "a" / "b.png"),
    ]
    kept = [folder.root / ".mine.tmp", folder.root / ".locara-mine.tmp", folder.shards / "notes.txt"]
    for path in (*junk, *kept):
        path.write_text("x")
    with folder.held():
        assert not any(path.exists() for path in junk)
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "batch.disk_full"),
        (errno.EROFS, "batch.not_writable"),
        (errno.EACCES, "batch.not_writable"),
        (errno.EIO, "batch.write"),
    ],
)
def test_disk_trouble_is_one_clear_error(number, code, tmp_path):
    with pytest.raises(BatchError, match="the same command goes on") as caught, writing(tmp_path / "x.json"):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == code
    assert "x.json" in caught.value.message


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(BatchError), Folder(tmp_path / "out").held():
        pass


@pytest.mark.parametrize("name", ["coco.json", "panoptic.json", "panoptic/000000000001.png", "shards/00000.jsonl", "plan.json"])
def test_files_of_a_stranger_are_refused(folder, name):
    path = folder.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(BatchError) as caught:
        folder.check_own()
    assert caught.value.code == "batch.foreign"
    assert path.read_text() == "mine"


def test_label_maps_have_names_of_their_own():
    names = ["a.jpg", "a.png", "a.jpg.png", "b/c.jpg", "B/C.png", "d.jpg", "/x/d.jpg", "x/d.jpg", "e"]
    found = semantic_names(Plan("m", "w", "semantic", None, tuple(Item(name, 1, 1) for name in names)))
    assert found[5] == "d.png"
    assert found[8] == "e.png"
    assert len({name.casefold() for name in found}) == len(names)
    assert not any(name.startswith("/") or ".." in name for name in found)
