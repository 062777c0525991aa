import dataclasses
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from coco_samples import CATEGORIES, DOT, IMAGE, PARTS, RING, arrays, instance, load, mask, names, sample, steady, write
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from locara_label.datasets import check as checking
from locara_label.datasets import coco, spooled
from locara_label.datasets.coco import Category, CocoImage, CocoWriter
from locara_label.errors import BadDataset, BadMask
from locara_label.types import Instance, Mask

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def reference(path, capsys):
    """The file as the COCO API reads it."""
    found = COCO(str(path))
    capsys.readouterr()
    return found


def test_the_file_is_what_the_issue_asks_for(tmp_path):
    content = load(sample(tmp_path / "x.json"))
    assert list(content) == ["info", "licenses", "categories", "images", "annotations"]
    assert content["categories"][0] == {"id": 1, "name": "cup", "supercategory": "kitchen"}
    assert content["images"] == [
        {"id": 1, "file_name": "1.jpg", "width": 12, "height": 9},
        {"id": 2, "file_name": "2.jpg", "width": 12, "height": 9},
    ]
    ring = content["annotations"][0]
    assert list(ring) == ["id", "image_id", "category_id", "iscrowd", "area", "bbox", "segmentation", "score"]
    assert (ring["iscrowd"], ring["area"], ring["bbox"], ring["score"]) == (0, 32, [1, 1, 6, 6], 0.123457)
    assert ring["segmentation"]["size"] == [9, 12]
    assert isinstance(ring["segmentation"]["counts"], str)
    assert [(row["id"], row["image_id"], row["category_id"]) for row in content["annotations"]] == [
        (1, 1, 1),
        (2, 1, 7),
        (3, 2, 3),
    ]


def test_the_coco_api_reads_the_same_pixels(tmp_path, capsys):
    api = reference(sample(tmp_path / "x.json"), capsys)
    for number, written in enumerate([RING, PARTS, DOT], 1):
        np.testing.assert_array_equal(api.annToMask(api.anns[number]), written.mask.to_array())
    assert api.getAnnIds(catIds=[7]) == [2]


@steady
@given(st.lists(arrays, min_size=1, max_size=4))
def test_any_masks_survive_the_coco_api_and_the_reader(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("masks") / "x.json"
    with CocoWriter(path, CATEGORIES) as writer:
        for number, pixels in enumerate(pictures):
            height, width = pixels.shape
            skipped = writer.add(CocoImage(f"{number}.png", width, height), [Instance("cup", 0, 0.5, Mask.from_array(pixels))])
            assert skipped == (not pixels.any())
    kept = [pixels for pixels in pictures if pixels.any()]
    assert (writer.images, writer.annotations, writer.skipped) == (len(pictures), len(kept), len(pictures) - len(kept))
    api = COCO()
    api.dataset = load(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *args: None)
        api.createIndex()
    for pixels, annotation in zip(kept, coco.read(path).annotations(), strict=True):
        np.testing.assert_array_equal(api.annToMask(api.anns[annotation.id]), pixels)
        np.testing.assert_array_equal(annotation.mask.to_array(), pixels)
        assert annotation.area == pixels.sum()
    assert checking.check(path) == []


def test_results_load_on_top_of_the_file(tmp_path, capsys):
    api = reference(sample(tmp_path / "x.json"), capsys)
    found = api.loadRes(load(tmp_path / "x.json")["annotations"])
    capsys.readouterr()
    np.testing.assert_array_equal(found.annToMask(found.anns[1]), RING.mask.to_array())


def test_the_same_calls_give_the_same_bytes(tmp_path):
    one, two = sample(tmp_path / "1.json"), sample(tmp_path / "2.json")
    assert one.read_bytes() == two.read_bytes()


def test_names_are_ascii_on_disk_and_themselves_when_read(tmp_path):
    with CocoWriter(tmp_path / "x.json", [Category(1, "Löffel")], {"description": "Küche", "year": 2026}) as writer:
        writer.add(dataclasses.replace(IMAGE, file_name="Bäder/\udc80.jpg"), [instance("Löffel", (0, 0, 1, 1))])
    assert (tmp_path / "x.json").read_bytes().isascii()
    data = coco.read(tmp_path / "x.json")
    assert data.images[1].file_name == "Bäder/\udc80.jpg"
    assert data.categories[1].name == "Löffel"
    assert data.info == {"description": "Küche", "year": 2026}


def test_a_file_without_pictures_is_a_file(tmp_path, capsys):
    path = write(tmp_path / "x.json")
    assert load(path)["images"] == load(path)["annotations"] == []
    assert reference(path, capsys).getImgIds() == []
    assert checking.check(path) == []


def test_given_image_ids_are_kept_and_rise(tmp_path):
    with CocoWriter(tmp_path / "x.json", CATEGORIES) as writer:
        writer.add(dataclasses.replace(IMAGE, id=40), [DOT])
        writer.add(IMAGE, [DOT])
        for late in (41, 7, 0, -1):
            with pytest.raises(BadDataset) as caught:
                writer.add(dataclasses.replace(IMAGE, id=late), [DOT])
            assert caught.value.code == "image.id_order"
    content = load(tmp_path / "x.json")
    assert [image["id"] for image in content["images"]] == [40, 41]
    assert [(row["id"], row["image_id"]) for row in content["annotations"]] == [(1, 40), (2, 41)]


@pytest.mark.parametrize(
    ("image", "bad", "error", "code"),
    [
        (IMAGE, instance("spoon", (0, 0, 1, 1)), BadDataset, "label.unknown"),
        (IMAGE, instance("cup", (0, 0, 1, 1), score=1.01), BadDataset, "score.range"),
        (IMAGE, instance("cup", (0, 0, 1, 1), score=float("nan")), BadDataset, "score.range"),
        (IMAGE, instance("cup", (0, 0, 1, 1), size=(12, 9)), BadMask, "mask.size"),
        (IMAGE, Instance("cup", 0, 0.5, Mask((9, 12), b"11")), BadMask, "mask.size"),
        (IMAGE, Instance("cup", 0, 0.5, Mask((9, 12), b"~~")), BadMask, "mask.counts"),
        (CocoImage("", 12, 9), DOT, BadDataset, "image.field"),
        (CocoImage("x", 0, 9), DOT, BadDataset, "image.size"),
        (CocoImage("x", 1 << 20, 1 << 20), DOT, BadDataset, "image.size"),
    ],
)
def test_a_refused_picture_leaves_no_trace(tmp_path, image, bad, error, code):
    with CocoWriter(tmp_path / "x.json", CATEGORIES) as writer:
        writer.add(IMAGE, [RING])
        with pytest.raises(error) as caught:
            writer.add(image, [DOT, bad] if image is IMAGE else [bad])
        assert caught.value.code == code
    content = load(tmp_path / "x.json")
    assert len(content["images"]) == len(content["annotations"]) == 1


def test_numpy_scores_are_written(tmp_path):
    path = write(tmp_path / "x.json", [instance("cup", (0, 0, 1, 1), score=np.float32(0.1))])
    assert load(path)["annotations"][0]["score"] == 0.1


@pytest.mark.parametrize(
    "categories",
    [
        [Category(1, "a"), Category(1, "b")],
        [Category(1, "a"), Category(2, "a")],
        [Category(0, "a")],
        [Category(1, "")],
    ],
)
def test_ambiguous_categories(tmp_path, categories):
    with pytest.raises(BadDataset, match="categor"):
        CocoWriter(tmp_path / "x.json", categories)
    assert names(tmp_path) == []


@pytest.mark.parametrize("info", [{"x": float("nan")}, {"x": {1, 2}}])
def test_info_is_json(tmp_path, info):
    with pytest.raises(BadDataset) as caught:
        CocoWriter(tmp_path / "x.json", CATEGORIES, info)
    assert caught.value.code == "dataset.info"


def test_an_exception_in_the_block_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), CocoWriter(tmp_path / "x.json", CATEGORIES) as writer:  # noqa: PT012
        writer.add(IMAGE, [RING])
        1 / 0  # noqa: B018
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError), CocoWriter(tmp_path / "no" / "x.json", CATEGORIES):
        pass


def test_a_swallowed_write_error_does_not_give_a_short_file(tmp_path, monkeypatch):
    writer = CocoWriter(tmp_path / "x.json", CATEGORIES)
    with pytest.raises(BadDataset, match="earlier write") as caught, writer:  # noqa: PT012
        monkeypatch.setattr(json, "dumps", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.add(IMAGE, [RING])
        monkeypatch.undo()
    assert caught.value.code == "dataset.incomplete"
    assert names(tmp_path) == []


def test_a_closed_writer_says_so(tmp_path):
    writer = CocoWriter(tmp_path / "x.json", CATEGORIES)
    with pytest.raises(BadDataset, match="with block"):
        writer.add(IMAGE, [RING])
    with writer:
        writer.add(IMAGE, [RING])
    with pytest.raises(BadDataset, match="with block"):
        writer.add(IMAGE, [RING])


def _peak_bytes(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _write_many(path, pictures):
    instances = [Instance("cup", 0, 0.5, mask((x, 0, x + 2, 3))) for x in range(10)]
    with CocoWriter(path, CATEGORIES) as writer:
        for number in range(pictures):
            writer.add(CocoImage(f"{number}.jpg", 12, 9), instances)
    assert writer.annotations == 10 * pictures


def test_writing_takes_the_memory_of_one_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(spooled, "_COPY_BYTES", 4096)
    _write_many(tmp_path / "x.json", 10)
    few = _peak_bytes(lambda: _write_many(tmp_path / "x.json", 20))
    many = _peak_bytes(lambda: _write_many(tmp_path / "x.json", 200))
    assert (tmp_path / "x.json").stat().st_size > 300_000
    assert many - few < 50_000


MEASURE = """
import sys
from coco_samples import CATEGORIES, instance
from locara_label.datasets import check, coco
from tests.peak_memory import peak_rss_bytes

def write(pictures):
    with coco.CocoWriter(sys.argv[1], CATEGORIES) as writer:
        for number in range(pictures):
            writer.add(coco.CocoImage(f"{number}.jpg", 12, 9), instances)

def read():
    return sum(1 for _ in coco.read(sys.argv[1]).annotations())

def peak():
    return peak_rss_bytes() >> 20

instances = [instance("cup", (x, 0, x + 2, 3)) for x in range(10)]
write(100), read(), check.check(sys.argv[1])
before = peak()
write(20_000)
written = peak()
assert read() == 200_000 and check.check(sys.argv[1]) == []
print(written - before, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_200_000_annotations_in_20_mb(tmp_path):
    """Peak resident memory of a process of its own: writing, then reading and checking (which hold 20,000 pictures' names)."""
    path, here = tmp_path / "x.json", Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    command = [sys.executable, "-c", MEASURE, str(path)]
    written_mb, total_mb = map(int, subprocess.run(command, check=True, capture_output=True, env=environment).stdout.split())
    assert path.stat().st_size > 30_000_000
    assert written_mb < 20
    assert total_mb < 40
