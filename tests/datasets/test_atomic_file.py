import os
import threading

import pytest
from coco_samples import names

from locara_label.datasets.atomic import atomic_file, spool_file


def test_the_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_file(path) as file, spool_file(path) as spool:  # noqa: PT012
        file.write(b"new")
        spool.write(b"rows")
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x.json"]


def test_a_failing_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), atomic_file(tmp_path / "x") as file:
        file.write(b"new")
    assert names(tmp_path) == []


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path, barrier = tmp_path / "x", threading.Barrier(2)

    def work(text):
        with atomic_file(path) as file:
            barrier.wait(10)
            file.write(text)

    threads = [threading.Thread(target=work, args=(text,)) for text in (b"aaaa", b"bb")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in (b"aaaa", b"bb")
    assert names(tmp_path) == ["x"]


def test_a_system_without_handles_for_folders(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with atomic_file(tmp_path / "x") as file:
        file.write(b"1")
    assert (tmp_path / "x").read_bytes() == b"1"
