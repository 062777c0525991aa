import json

import pytest
from coco_samples import CATEGORIES, DOT, PARTS, RING, dump, edit, load, panoptic_sample, sample, spoil, steady, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from locara_label.datasets.check import Problem, check
from locara_label.datasets.coco import CocoImage
from locara_label.datasets.panoptic import PanopticWriter

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def path(tmp_path):
    return sample(tmp_path / "x.json")


def found(path, *args, **options):
    return [(problem.where, problem.code) for problem in check(path, *args, **options)]


def update(row, values):
    """Sets fields; `...` takes one out."""
    for name, value in values.items():
        if value is ...:
            del row[name]
        else:
            row[name] = value


def set_in(section, index, **values):
    """A change to one entry."""

    def change(content):
        update(content[section][index], values)

    return change


def test_our_own_files_are_clean(path, tmp_path):
    assert check(path) == []
    assert check(str(path)) == []
    assert check(write(tmp_path / "empty.json")) == []
    assert check(panoptic_sample(tmp_path)) == []


SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
POLYGON = {"segmentation": [SQUARE], "area": 16.0, "bbox": [2, 2, 4, 4]}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"id": "x"}, "annotation.field"),
        ({"id": ...}, "annotation.field"),
        ({"id": 0}, "annotation.id_zero"),
        ({"image_id": 9}, "annotation.image_unknown"),
        ({"category_id": 9}, "annotation.category_unknown"),
        ({"iscrowd": ...}, "annotation.iscrowd"),
        ({"iscrowd": 3}, "annotation.iscrowd"),
        ({"iscrowd": 1, **POLYGON}, "annotation.iscrowd"),
        ({"score": 1.5}, "score.range"),
        ({"segmentation": []}, "mask.missing"),
        ({"segmentation": {"size": [9, 12], "counts": [108]}}, "mask.empty"),
        ({"segmentation": {"size": [12, 9], "counts": "l3"}}, "mask.size"),
        ({"segmentation": {"size": [9, 12], "counts": "m3"}}, "mask.counts"),
        ({"segmentation": {"size": [9, 12], "counts": [50, 50]}}, "mask.size"),
        ({"segmentation": "x"}, "mask.kind"),
        ({"segmentation": [[1, 2, 3]]}, "mask.polygon"),
        ({"area": ...}, "annotation.area"),
        ({"area": 33}, "annotation.area"),
        ({"area": -1}, "annotation.area"),
        ({"area": 32.5}, "annotation.area"),
        ({"bbox": ...}, "annotation.bbox"),
        ({"bbox": [1, 1, 6]}, "annotation.bbox"),
        ({"bbox": [1, 1, 6, 7]}, "annotation.bbox"),
        ({"bbox": [1, 1, 6.5, 6]}, "annotation.bbox"),
        ({**POLYGON, "area": 36}, "annotation.area"),
        ({**POLYGON, "bbox": [2, 2, 6, 4]}, "annotation.bbox"),
        ({"segmentation": ..., "bbox": [1, 1, 0, 5]}, "annotation.bbox"),
        ({"segmentation": ..., "bbox": [8, 1, 6, 5]}, "annotation.bbox"),
    ],
)
def test_each_damage_is_found_and_named(path, values, code):
    edit(path, set_in("annotations", 0, **values))
    number = values.get("id", 1)
    place = f"annotation {number}" if type(number) is int else "annotations[0]"
    assert found(path) == [(place, code)]


@pytest.mark.parametrize(
    "values",
    [
        POLYGON,
        {**POLYGON, "area": 20, "bbox": [1.5, 2.4, 5, 3.5]},
        {"segmentation": ..., "bbox": [8.5, 1, 4, 5]},
        {"segmentation": None, "score": ...},
        {"iscrowd": 1},
        {"area": 32.0, "bbox": [1.0, 1, 6, 6]},
    ],
)
def test_what_other_tools_write_may_differ(path, values):
    edit(path, set_in("annotations", 0, **values))
    assert check(path) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (set_in("annotations", 1, id=1), [("annotation 1", "annotation.id_twice")]),
        (lambda c: c["annotations"].append(5), [("annotations[3]", "annotation.field")]),
        (set_in("images", 1, width=0), [("image 2", "image.size"), ("annotation 3", "annotation.image_unknown")]),
        (set_in("images", 1, id=1), [("image 1", "image.id_twice"), ("annotation 3", "annotation.image_unknown")]),
        (set_in("images", 1, file_name="1.jpg"), [("image 2", "image.file_name_twice")]),
        (set_in("images", 1, file_name=...), [("image 2", "image.field"), ("annotation 3", "annotation.image_unknown")]),
        (lambda c: c["images"].insert(0, None), [("images[0]", "image.field")]),
        (set_in("images", 1, height=10), [("annotation 3", "mask.size")]),
        (set_in("categories", 2, id=7), [("category 7", "category.id_twice"), ("annotation 3", "annotation.category_unknown")]),
        (set_in("categories", 2, name="cup"), [("category 3", "category.name_twice")]),
        (lambda c: c.pop("annotations"), [("file", "section.missing")]),
        (lambda c: c.update(annotations={}), [("file", "section.kind")]),
    ],
)
def test_damage_across_entries(path, change, expected):
    assert found(edit(path, change)) == expected


def test_all_that_is_wrong_with_one_annotation_is_said(path):
    edit(path, set_in("annotations", 1, category_id=99, score=2, area=1, bbox=[0, 0, 1, 1]))
    problems = check(path)
    assert [problem.code for problem in problems] == [
        "annotation.category_unknown",
        "score.range",
        "annotation.area",
        "annotation.bbox",
    ]
    assert str(problems[2]) == "annotation 2: area is 1, the mask has 20 pixels [annotation.area]"
    assert problems[3].message == "bbox is [0, 0, 1, 1], the mask's box [0, 0, 12, 9]"


def test_a_spike_that_rasterises_to_nothing_may_reach_out_of_the_mask(path):
    polygon = [2, 2, 6, 2, 6, 6, 2, 6, 2, 2, 2.1, 2, 2.1, 0, 2, 0]
    edit(path, set_in("annotations", 0, segmentation=[polygon], area=16, bbox=[2, 0, 4, 6]))
    assert check(path) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "dataset.not_object"),
        ("[1]", "dataset.not_object"),
        ('{"images": [', "dataset.json"),
        ('{"images": [NaN]}', "dataset.not_finite"),
        ('{"annotations": [' + "[" * 100_000, "dataset.deep"),
    ],
)
def test_a_file_that_is_not_json_is_one_problem(tmp_path, text, code):
    assert found(dump(tmp_path / "y.json", text)) == [("file", code)]


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    assert found(tmp_path / "no.json") == [("file", "dataset.unreadable")]


def test_a_file_that_breaks_between_the_passes(path, monkeypatch):
    from locara_label.datasets import check as module

    rows = module.rows

    def cut(path):
        path.write_text("{")
        return rows(path)

    monkeypatch.setattr(module, "rows", cut)
    assert found(path) == [("file", "dataset.json")]


def test_the_limit_ends_the_search(path):
    edit(path, lambda content: content["annotations"].extend([None] * 50))
    assert len(check(path, limit=7)) == 7
    assert len(check(path, limit=None)) == 50


def test_pictures_are_looked_for(path, tmp_path):
    Image.new("RGB", (12, 9)).save(tmp_path / "1.jpg")
    assert found(path, tmp_path) == [("image 2", "path.missing")]
    Image.new("RGB", (9, 12)).save(tmp_path / "2.jpg")
    assert check(path, tmp_path) == [
        Problem("image 2", "image.file_size", "the file is 9 x 12, the data set says 12 x 9"),
    ]
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (9, 12)).save(tmp_path / "2.jpg", exif=turned)
    assert check(path, str(tmp_path)) == []
    (tmp_path / "2.jpg").write_text("no picture")
    assert found(path, tmp_path) == [("image 2", "image.unknown_format")]


@pytest.mark.parametrize("name", ["../x.json", "/etc/passwd", "a/../../x.json"])
def test_names_stay_in_their_folder(tmp_path, name):
    (tmp_path / "pictures").mkdir()
    path = edit(write(tmp_path / "x.json", []), set_in("images", 0, file_name=name))
    assert found(path, tmp_path / "pictures") == [("image 1", "path.outside")]


@pytest.mark.parametrize("name", ["\0", "a" * 5000, "\udc80", "."])
def test_names_that_no_file_can_have(tmp_path, name):
    path = edit(write(tmp_path / "x.json", []), set_in("images", 0, file_name=name))
    problems = check(path, tmp_path)
    assert [problem.code for problem in problems] == ["path.missing"]
    str(problems[0]).encode()


def test_a_link_out_of_the_folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    path = edit(write(tmp_path / "x.json", []), set_in("images", 0, file_name="link"))
    (tmp_path / "pictures" / "link").symlink_to(path)
    assert found(path, tmp_path / "pictures") == [("image 1", "path.outside")]


# --- panoptic ---


def segment(picture, number, **values):
    def change(content):
        update(content["annotations"][picture]["segments_info"][number], values)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (segment(0, 1, area=5), [("image 1 segment 2", "segment.area")]),
        (segment(0, 1, area=...), [("image 1 segment 2", "segment.area")]),
        (segment(0, 1, bbox=[0, 0, 1, 1]), [("image 1 segment 2", "segment.bbox")]),
        (segment(0, 1, category_id=99), [("image 1 segment 2", "annotation.category_unknown")]),
        (segment(0, 0, category_id=7), [("image 1 segment 2", "segment.stuff_twice")]),
        (segment(0, 0, category_id=7, iscrowd=1), []),
        (segment(0, 1, iscrowd=5), [("image 1 segment 2", "segment.field"), ("image 1 segment 2", "segment.iscrowd")]),
        (segment(0, 1, iscrowd=...), [("image 1 segment 2", "segment.iscrowd")]),
        (segment(0, 1, score=-1), [("image 1 segment 2", "score.range")]),
        (segment(0, 1, id=1), [("image 1 segment 1", "segment.id_twice"), ("image 1", "segment.unlisted")]),
        (segment(0, 1, id=9), [("image 1 segment 9", "segment.missing"), ("image 1", "segment.unlisted")]),
        (segment(0, 1, id="9"), [("image 1 segments_info[1]", "segment.field"), ("image 1", "segment.unlisted")]),
        (lambda c: c["annotations"][1]["segments_info"].append(None), [("image 2 segments_info[1]", "segment.field")]),
        (set_in("annotations", 1, segments_info=5), [("image 2", "annotation.field")]),
        (set_in("annotations", 1, image_id=1), [("image 1", "annotation.image_twice")]),
        (set_in("annotations", 1, image_id=9), [("image 9", "annotation.image_unknown")]),
        (set_in("annotations", 1, image_id=None), [("annotations[1]", "annotation.field")]),
        (set_in("annotations", 1, file_name="no.png"), [("image 2", "path.missing")]),
        (set_in("annotations", 1, file_name="../p.json"), [("image 2", "path.outside")]),
        (set_in("annotations", 1, file_name=5), [("image 2", "annotation.field")]),
        (set_in("images", 1, width=13), [("image 2", "image.size")]),
    ],
)
def test_damaged_panoptic_files(tmp_path, change, expected):
    assert found(edit(panoptic_sample(tmp_path), change)) == expected


def test_the_png_folder_can_be_named(tmp_path):
    path = panoptic_sample(tmp_path)
    (tmp_path / "p").rename(tmp_path / "elsewhere")
    assert found(path) == [("image 1", "path.missing"), ("image 2", "path.missing")]
    assert check(path, png_folder=str(tmp_path / "elsewhere")) == []


def test_a_png_that_is_none(tmp_path):
    path = panoptic_sample(tmp_path)
    png = tmp_path / "p" / "000000000001.png"
    whole = png.read_bytes()
    for broken in (b"", whole[:10], whole[:60], b"\x89PNG\r\n\x1a\n", whole[:50] + b"\xff" * 20 + whole[70:]):
        png.write_bytes(broken)
        assert found(path) == [("image 1", "image.bad")], broken
    for mode in ("P", "RGBA"):
        Image.new(mode, (12, 9)).save(png)
        assert found(path) == [("image 1", "image.kind")]
    Image.new("L", (12, 9)).save(png)
    assert found(path) == [("image 1", "image.kind")]


def test_a_picture_without_segments(tmp_path):
    with PanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:
        writer.add(CocoImage("1.jpg", 12, 9), [])
    assert check(tmp_path / "p.json") == []


@steady
@given(st.data())
def test_junk_anywhere_is_survived(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("junk")
    path = data.draw(st.sampled_from([lambda: sample(folder / "x.json"), lambda: panoptic_sample(folder)]))()
    content = load(path)
    spoil(content, data, 6)
    path.write_text(json.dumps(content))
    for problem in check(path, folder):
        assert problem.code
        assert len(str(problem).encode()) < 1000


@steady
@given(st.data())
def test_any_byte_may_be_wrong(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("bytes") / "x.json", [RING, PARTS, DOT])
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    check(path)
