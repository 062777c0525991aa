import os
import threading

import pytest

from locara_label.atomic import atomic_file, is_part, part_path, spool_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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


def test_names_of_parts(tmp_path):
    longest = tmp_path / ("x" * 251 + ".png")
    with atomic_file(longest) as file:
        file.write(b"1")
        (part,) = tmp_path.iterdir()
        assert is_part(part)
    assert not is_part(longest)
    assert len({part_path(longest) for _ in range(50)}) == 50
    assert not is_part(tmp_path / ".mine.tmp")
