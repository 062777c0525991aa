"""MOTS as published, as others write it, and what it cannot hold."""

import numpy as np
import pytest
from masklet_samples import CUP, codes, load, sample, square, write
from pycocotools import mask as api

from locara_label.datasets.convert import convert, verify
from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.errors import BadDataset

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_mots_is_as_published(tmp_path):
    path = write(tmp_path, "mots", [sample()])
    lines = [line.split(" ") for line in (path / "instances_txt" / "one.txt").read_text().splitlines()]
    assert [line[:5] for line in lines] == [
        ["0", "1000", "1", "6", "8"],
        ["4", "1000", "1", "6", "8"],
        ["4", "3000", "3", "6", "8"],
        ["8", "3000", "3", "6", "8"],
    ]
    np.testing.assert_array_equal(api.decode({"size": [6, 8], "counts": lines[3][5]}), square(2, 2, 3).to_array())
    assert (path / "seqmap.txt").read_text() == "one empty 000000 000008\n"
    assert (path / "labels.txt").read_text("utf-8") == "background\ncup\n\nfork of é\n"


def test_mots_of_others_is_read(tmp_path):
    square_ = square(2, 2).counts.decode()
    (tmp_path / "0002.txt").write_text(f"3 2005 2 6 8 {square_}\n\n1 10000 10 6 8 {square_}\n0 7 1 6 8 {square_}\r\n")
    (video,) = load(tmp_path, "mots")
    assert (video.name, video.frame_count, video.frames) == ("0002", 4, (0, 1, 2, 3))
    assert [(each.track_id, each.category.name) for each in video.masklets] == [
        (7, "car"),
        (2005, "pedestrian"),
        (10000, "ignore"),
    ]
    assert video.masklets[1].masks == (None, None, None, square(2, 2))
    assert load(tmp_path / "0002.txt", "mots") == [video]


def test_a_mots_file_of_nothing_is_said(tmp_path):
    (tmp_path / "0002.txt").write_text("\n")
    report = verify(tmp_path, "mots")
    assert (report.counts.videos, codes(report), report.problems) == (0, ["video.empty"], [])


def test_more_objects_than_mots_numbers(tmp_path):
    tracks = tuple(Masklet(number, CUP, (square(0, 0),)) for number in range(1001))
    video = MaskletVideo("many", 8, 6, 1, (0,), tracks)
    with pytest.raises(BadDataset) as caught:
        write(tmp_path, "mots", [video])
    assert caught.value.code == "mots.instances"
    assert list(tmp_path.iterdir()) == []


def test_a_single_mots_file_cannot_tell_names_and_length(tmp_path):
    path = write(tmp_path, "youtube-vis", [sample(frame_count=20)])
    report = convert(path, tmp_path / "x.txt", "youtube-vis", "mots")
    assert {"category.name", "video.frame_count", "masklet.iscrowd", "masklet.score", "masklet.scores"} <= set(codes(report))
    assert load(tmp_path / "x.txt", "mots")[0].frame_count == 9
