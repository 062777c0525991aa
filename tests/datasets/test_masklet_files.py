import json
from pathlib import Path

import pytest
from masklet_samples import CATEGORIES, CUP, FILES, NAMES, load, sample, square, write

from locara_label.datasets import sa_v, shelf, youtube_vis
from locara_label.datasets.convert import FORMATS, verify
from locara_label.datasets.masklets import Masklet
from locara_label.errors import BadDataset, BadMask
from locara_label.types import Mask

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def code_of(action, *words):
    with pytest.raises(BadDataset) as caught:
        action(*words)
    return caught.value.code


@pytest.mark.parametrize("name", NAMES)
def test_a_writer_that_is_not_open(tmp_path, name):
    writer = FORMATS[name].writer(tmp_path / FILES[name], CATEGORIES)
    assert code_of(writer.add, sample()) == "dataset.closed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_video_leaves_no_trace(tmp_path, name):
    bad = sample(name="bad", masklets=(Masklet(1, CUP, (Mask((6, 8), b"1"), None, None)),))
    path = tmp_path / FILES[name]
    with FORMATS[name].writer(path, CATEGORIES) as writer:
        writer.add(sample())
        with pytest.raises(BadMask):
            writer.add(bad)
        writer.add(sample(name="two"))
    assert [video.name for video in load(path, name)] == ["one", "two"]


@pytest.mark.parametrize(("module", "name"), [(youtube_vis, "youtube-vis"), (sa_v, "sa-v")])
def test_what_no_reader_of_ours_would_take_is_not_written(tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(module, "MAX_ITEM_CHARS", 60)
    assert code_of(write, tmp_path, name, [sample()]) == "dataset.item_size"
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_broke_breaks_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sa_v, "MAX_ITEM_CHARS", 60)

    def write_on():
        with sa_v.SaVWriter(tmp_path / "out", CATEGORIES) as writer:
            assert code_of(writer.add, sample()) == "dataset.item_size"

    assert code_of(write_on) == "dataset.incomplete"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "file"), [("sa-v", "x.json"), ("mots", "x.txt")])
def test_a_file_of_one_video_has_one(tmp_path, name, file):
    def write_none():
        with FORMATS[name].writer(tmp_path / file, CATEGORIES):
            pass

    assert code_of(write_none) == "dataset.one_video"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sa-v", "mots"])
def test_a_name_too_long_for_a_disk(tmp_path, name):
    assert code_of(write, tmp_path, name, [sample(name="é" * 50)]) == "video.field"


def test_names_that_would_lead_out_of_the_folder(tmp_path):
    names = ["../../up", "..", "/etc/x", "C:\\x", "a\nb"]
    for name in ("sa-v", "mots"):
        path = write(tmp_path, name, [sample(name=each) for each in names])
        assert sorted(video.name for video in load(path, name)) == sorted(names)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mots", "sav"]


def test_labels_that_have_no_line(tmp_path):
    odd = [type(CUP)(number, name) for number, name in enumerate(["two\nlines", " x", "\udc80"], 1)]
    for category in odd:
        video = sample(name=f"v{category.id}", masklets=(Masklet(0, category, (square(0, 0), None, None)),))
        (tmp_path / str(category.id)).mkdir()
        with FORMATS["mots"].writer(tmp_path / str(category.id) / "m", [category]) as writer:
            writer.add(video)
        assert writer.notes.counts["category.name"] == 1
        found = load(tmp_path / str(category.id) / "m", "mots")
        assert found[0].masklets[0].category.name in ("car", "pedestrian", "class 3")


def test_sa_v_without_what_can_be_done_without(tmp_path):
    path = write(tmp_path, "sa-v", [sample()])
    (file,) = path.iterdir()
    content = json.loads(file.read_text())
    for key in [key for key in content if key.startswith("masklet_") and key != "masklet_frame_index"]:
        del content[key]
    content["masklet_note"] = ["one value", "for each", "and one more"]
    file.write_text(json.dumps(content))
    (video,) = load(path, "sa-v")
    assert [masklet.track_id for masklet in video.masklets] == [0, 1]
    assert video.meta["masklet_note"] == content["masklet_note"]
    content["masklet_size_abs"] = [1.0, 2.0]
    file.write_text(json.dumps(content))
    assert verify(path, "sa-v").notes.counts == {"masklet.stats": 1}


def test_metadata_that_sa_v_cannot_hold_is_said(tmp_path):
    clash = {"video_id": "other", "masklet_type": 5, "masklet_pair": [1, 2]}
    video = sample(meta=clash, masklets=(*sample().masklets[:1], Masklet(3, CUP, (None,) * 3, meta={"masklet_type": "auto"})))
    with sa_v.SaVWriter(tmp_path / "x.json", CATEGORIES, {"year": 2026}) as writer:
        writer.add(video)
    assert {"video.meta", "masklet.meta", "dataset.info"} <= set(writer.notes.counts)
    (found,) = load(tmp_path / "x.json", "sa-v")
    assert (found.name, dict(found.meta)) == ("one", {})
    assert [masklet.meta for masklet in found.masklets] == [{"masklet_type": None}, {"masklet_type": "auto"}]


def test_no_room_to_put_a_file_in_order(tmp_path, monkeypatch):
    path = write(tmp_path, "youtube-vis", [sample(name=str(number)) for number in range(40)])
    monkeypatch.setattr(shelf, "_SCHEMA", "PRAGMA max_page_count = 6;" + shelf._SCHEMA)
    assert [problem.code for problem in verify(path, "youtube-vis").problems] == ["dataset.no_room"]


def test_a_shelf_gives_rows_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"categories": [], "b": [{"id": 9, "of": 2}, {"id": 3, "of": 2}], "a": [{"id": 2}, {"id": 1}]}')
    tables = (shelf.Table("a", "video"), shelf.Table("b", "annotation", "of", "video"))
    with shelf.Shelf(path, tables) as rows:
        assert list(rows.ids("video")) == [2, 1]
        assert [row.id for row in rows.of("annotation", 2)] == [9, 3]
        assert (list(rows.of("annotation", 1)), rows.chars("annotation", 1)) == ([], 0)
        assert rows.row("annotation", 3).value == {"id": 3, "of": 2}


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="no"):
        write(Path(tmp_path / "no"), "sa-v", [sample()])
