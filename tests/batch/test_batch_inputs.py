import io
import os
from pathlib import Path

import pytest

from locara_label.batch.inputs import MISSING, find
from locara_label.errors import BadOption


@pytest.fixture
def pictures(tmp_path):
    for name in ("b.PNG", "a.jpg", "sub/c.tiff", "sub/.hidden.jpg", ".cache/d.jpg", "notes.txt", "e.gif"):
        path = tmp_path / "pics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 3)
    return tmp_path / "pics"


def names(found):
    return [item.file_name for item in found.items]


def test_a_folder_is_searched_in_order_without_hidden_files(pictures):
    found = find(str(pictures))
    assert names(found) == ["a.jpg", "b.PNG", "sub/c.tiff"]
    assert found.root == pictures
    assert found.items[0].size == 3
    assert found.items[0].mtime_ns == (pictures / "a.jpg").stat().st_mtime_ns
    assert (found.root / found.items[2].file_name).is_file()


def test_a_pattern(pictures):
    assert names(find(str(pictures / "*.jpg"))) == ["a.jpg"]
    assert names(find(str(pictures / "**" / "*"))) == ["a.jpg", "b.PNG", "sub/c.tiff"]
    assert find(str(pictures / "s*" / "*.tiff")).root == pictures


def test_a_relative_pattern(pictures, monkeypatch):
    monkeypatch.chdir(pictures.parent)
    found = find("pics/*.jpg")
    assert names(found) == ["a.jpg"]
    assert found.root == pictures


def test_one_picture(pictures):
    assert names(find(str(pictures / "sub" / "c.tiff"))) == ["c.tiff"]


def test_a_list_is_relative_to_itself_and_keeps_what_is_missing(pictures):
    outside = pictures.parent / "outside.jpg"
    outside.write_bytes(b"y")
    text = f"\ufeffsub/c.tiff\r\n\n  a.jpg \nsub/../a.jpg\nnowhere.jpg\n../outside.jpg\n{pictures / 'b.PNG'}\n"
    (pictures / "list.txt").write_text(text, encoding="utf-8")
    found = find(str(pictures / "list.txt"))
    assert names(found) == sorted(["a.jpg", "b.PNG", "nowhere.jpg", str(outside), "sub/c.tiff"])
    assert {item.file_name: item.size for item in found.items}["nowhere.jpg"] == MISSING


def test_a_list_on_standard_input_is_relative_to_the_working_folder(pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    assert names(find("-", stdin=io.StringIO("a.jpg\nsub/c.tiff\n"))) == ["a.jpg", "sub/c.tiff"]


def test_the_output_inside_the_source_is_no_input(pictures):
    assert names(find(str(pictures), excluded=[pictures / "sub"])) == ["a.jpg", "b.PNG"]
    assert names(find(str(pictures / "**" / "*.*"), excluded=[pictures / "a.jpg"])) == ["b.PNG", "sub/c.tiff"]


def test_a_broken_link_is_kept_and_told_later(pictures):
    (pictures / "z.jpg").symlink_to(pictures / "gone.jpg")
    assert find(str(pictures)).items[-1].size == MISSING


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_not_unicode(pictures):
    raw = os.fsencode(pictures) + b"/\xff.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    assert names(find(str(pictures)))[-1] == "\udcff.jpg"


@pytest.mark.parametrize(
    ("source", "code"), [("nothing-here", "batch.no_source"), ("*.jpg", "batch.no_inputs"), (".", "batch.no_inputs")]
)
def test_nothing_to_do(source, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadOption) as caught:
        find(source)
    assert caught.value.code == code


def test_a_list_that_is_none(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a.jpg\nb\0.jpg\n")
    with pytest.raises(BadOption, match="line 2"):
        find(str(tmp_path / "list.txt"))
