import json

import numpy as np
import pytest
from coco_samples import DOT, PARTS, RING, dump, edit, load, sample, spoil, steady
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as api

from locara_label.datasets import coco
from locara_label.datasets.coco import Category, CocoImage
from locara_label.errors import BadDataset, BadMask, InputError
from locara_label.types import Box

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def path(tmp_path):
    return sample(tmp_path / "x.json")


def change_first(path, **values):
    """Sets fields of annotation 1; `...` takes one out."""

    def change(content):
        row = content["annotations"][0]
        row.update(values)
        for name in [name for name, value in values.items() if value is ...]:
            del row[name]

    content = load(path)
    change(content)
    return dump(path, content)


def first(path):
    return next(coco.read(path).annotations())


def test_what_was_written_is_read(path):
    data = coco.read(path)
    assert data.images == {1: CocoImage("1.jpg", 12, 9, 1), 2: CocoImage("2.jpg", 12, 9, 2)}
    assert data.categories[7] == Category(7, "sky", "outside")
    found = list(data.annotations())
    assert [each.id for each in found] == [1, 2, 3]
    assert [each.mask for each in found] == [RING.mask, PARTS.mask, DOT.mask]
    assert (found[0].box, found[0].area, found[0].score, found[0].iscrowd) == (Box(1, 1, 7, 7), 32, 0.123457, False)
    assert [data.instance(each).label for each in found] == ["cup", "sky", "fork"]
    assert [data.instance(each).score for each in found] == [0.123457, 1.0, 0.0]


def test_annotations_can_be_read_again(path):
    data = coco.read(path)
    assert list(data.annotations()) == list(data.annotations())


def test_uncompressed_rle_is_the_same_mask(path):
    flat = RING.mask.to_array().reshape(-1, order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    assert first(change_first(path, segmentation={"size": [9, 12], "counts": counts})).mask == RING.mask


def test_polygons_are_rasterised_as_the_coco_api_does(path):
    polygons = [[1.5, 1, 7, 2, 4, 8.25], [8, 0, 11, 0, 11, 3, 8, 3]]
    expected = api.decode(api.merge(api.frPyObjects(polygons, 9, 12)))
    np.testing.assert_array_equal(first(change_first(path, segmentation=polygons)).mask.to_array(), expected)


@pytest.mark.parametrize("segmentation", [..., None, []])
def test_a_bare_box_has_no_mask(path, segmentation):
    data = coco.read(change_first(path, segmentation=segmentation, area=..., score=...))
    found = next(data.annotations())
    assert (found.mask, found.box, found.area, found.score) == (None, Box(1, 1, 7, 7), 36, None)
    with pytest.raises(BadMask) as caught:
        data.instance(found)
    assert caught.value.code == "mask.missing"


def test_what_is_missing_comes_from_the_mask(path):
    data = coco.read(change_first(path, bbox=..., area=..., score=..., iscrowd=...))
    found = next(data.annotations())
    assert (found.box, found.area, found.score, found.iscrowd) == (Box(1, 1, 7, 7), 32, None, False)
    assert data.instance(found).score == 1.0


def test_a_crowd_is_a_crowd(path):
    assert first(change_first(path, iscrowd=1)).iscrowd is True


HUGE = 10**400
BAD_SHAPES = {
    "mask.kind": ["x", 5, True],
    "mask.size": [
        {"size": [9, 12], "counts": [1]},
        {"size": [12, 9], "counts": [108]},
        {"size": [9], "counts": [108]},
        {"counts": [108]},
        {"size": "9x12", "counts": [108]},
        {"size": [9, 12], "counts": ""},
        {"size": [9, 12], "counts": []},
    ],
    "mask.counts": [
        {"size": [9, 12]},
        {"size": [9, 12], "counts": "é"},
        {"size": [9, 12], "counts": "~"},
        {"size": [9, 12], "counts": "PPPPPPPPPPPPPP0"},
        {"size": [9, 12], "counts": {}},
        {"size": [9, 12], "counts": [-1, 109]},
        {"size": [9, 12], "counts": [108.0]},
        {"size": [9, 12], "counts": [True, 107]},
        {"size": [9, 12], "counts": ["108"]},
        {"size": [9, 12], "counts": [[108]]},
        {"size": [9, 12], "counts": [HUGE]},
        {"size": [9, 12], "counts": [1 << 62] * 4 + [108]},
    ],
    "mask.polygon": [
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [None],
        [5],
        ["123456"],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, None]],
        [[1, 2, 3, 4, 5, [6]]],
        [[1, 2, 3, 4, 5, True]],
        [[1, 2, 3, 4, 5, HUGE]],
        [[1, 2, 3, 4, 5, 1e300]],
        [[0, 0, 9e7, 9e7, 0, 9e7]],
        [[0, 0, 9e5, 0] * 4],
        [[1, 2, 3, 4, 5, 6], {}],
    ],
}


@pytest.mark.parametrize(("code", "shape"), [(code, shape) for code, shapes in BAD_SHAPES.items() for shape in shapes])
def test_a_broken_mask_is_named_when_it_is_asked_for(path, code, shape):
    found = first(change_first(path, segmentation=shape))
    with pytest.raises(BadMask, match=r"^annotation 1: ") as caught:
        _ = found.mask
    assert caught.value.code == code
    assert len(str(caught.value)) < 300


def test_the_sum_of_hostile_runs_may_wrap_around(path):
    """Runs of 2^45 from a compressed string, whose 64-bit sum is right again, would write far outside the mask."""
    from locara_label.datasets import segmentation

    def number(value):
        text = ""
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
            if not more:
                return text

    counts = number(1 << 49) + number(1 << 49) + number(108)
    with pytest.raises(BadMask) as caught:
        segmentation.decode({"size": [9, 12], "counts": counts}, (9, 12))
    assert caught.value.code == "mask.counts"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"id": ...}, "annotation.field"),
        ({"id": "1"}, "annotation.field"),
        ({"id": True}, "annotation.field"),
        ({"id": 1.0}, "annotation.field"),
        ({"id": -1}, "annotation.field"),
        ({"id": HUGE}, "annotation.field"),
        ({"id": 3}, "annotation.id_twice"),
        ({"image_id": 99}, "annotation.image_unknown"),
        ({"image_id": [1]}, "annotation.field"),
        ({"image_id": ...}, "annotation.field"),
        ({"category_id": 99}, "annotation.category_unknown"),
        ({"category_id": None}, "annotation.field"),
        ({"iscrowd": 2}, "annotation.iscrowd"),
        ({"iscrowd": "0"}, "annotation.iscrowd"),
        ({"score": 1.5}, "score.range"),
        ({"score": -0.1}, "score.range"),
        ({"score": "high"}, "score.range"),
        ({"score": HUGE}, "score.range"),
        ({"area": "big"}, "annotation.field"),
        ({"area": HUGE}, "annotation.field"),
        ({"bbox": [1, 2, 3]}, "annotation.bbox"),
        ({"bbox": [1, 2, -3, 4]}, "annotation.bbox"),
        ({"bbox": [1, 2, 3, "4"]}, "annotation.bbox"),
        ({"bbox": [1, 2, 3, HUGE]}, "annotation.bbox"),
        ({"bbox": {"x": 1}}, "annotation.bbox"),
        ({"bbox": ..., "segmentation": ...}, "annotation.bbox"),
        ({"bbox": ..., "segmentation": 5}, "mask.kind"),
        ({"area": ..., "segmentation": 5}, "mask.kind"),
    ],
)
def test_a_broken_annotation_is_named(path, values, code):
    change_first(path, **values)
    with pytest.raises(InputError, match=r"^annotation(s\[0\]| -?\d+): ") as caught:
        list(coco.read(path).annotations())
    assert caught.value.code == code


def test_infinity_by_overflow_is_no_number(path):
    path.write_text(path.read_text().replace('"area": 32', '"area": 1e999'))
    with pytest.raises(BadDataset, match=r"annotation 1: area is not a finite number: inf"):
        first(path)


@pytest.mark.parametrize("value", [None, 5, "x", []])
def test_an_annotation_that_is_no_object(path, value):
    edit(path, lambda content: content["annotations"].insert(1, value))
    with pytest.raises(BadDataset, match=r"^annotations\[1\]: is not an object"):
        list(coco.read(path).annotations())


@pytest.mark.parametrize(
    ("section", "value", "code"),
    [
        ("images", ..., "section.missing"),
        ("annotations", ..., "section.missing"),
        ("categories", ..., "section.missing"),
        ("images", {}, "section.kind"),
        ("annotations", None, "section.kind"),
        ("categories", 5, "section.kind"),
        ("images", [5], "image.field"),
        ("images", [{"id": 1, "width": 3, "height": 3}], "image.field"),
        ("images", [{"id": 1, "file_name": 5, "width": 3, "height": 3}], "image.field"),
        ("images", [{"id": 1, "file_name": "x", "width": 3.5, "height": 3}], "image.field"),
        ("images", [{"id": 1, "file_name": "x", "width": 0, "height": 3}], "image.size"),
        ("images", [{"id": 1, "file_name": "x", "width": 1 << 40, "height": 1 << 40}], "image.size"),
        ("images", [{"id": 1, "file_name": "x", "width": 3, "height": 3}] * 2, "image.id_twice"),
        ("categories", ["cup"], "category.field"),
        ("categories", [{"id": 1}], "category.field"),
        ("categories", [{"id": 1, "name": "a", "supercategory": 5}], "category.field"),
        ("categories", [{"id": 1, "name": "a", "isthing": 2}], "category.field"),
        ("categories", [{"id": 1, "name": "a", "color": [1, 2]}], "category.field"),
        ("categories", [{"id": 1, "name": "a", "color": [1, 2, 256]}], "category.field"),
        ("categories", [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "category.id_twice"),
    ],
)
def test_a_broken_header(path, section, value, code):
    def change(content):
        content[section] = value
        if value is ...:
            del content[section]

    edit(path, change)
    with pytest.raises(BadDataset, match=r"x\.json: ") as caught:
        coco.read(path)
    assert caught.value.code == code


def test_harmless_things_are_read(path):
    def change(content):
        content["images"][1]["file_name"] = content["images"][0]["file_name"]
        content["categories"][1] = {"id": 7, "name": "cup", "color": [1, 2, 3], "isthing": 0}
        content["info"] = "not an object"

    data = coco.read(edit(path, change))
    assert data.info == {}
    assert data.categories[7] == Category(7, "cup", "", is_thing=False, color=(1, 2, 3))
    assert len(list(data.annotations())) == 3


def test_sections_in_any_order(path):
    content = load(path)
    dump(path, dict(reversed(content.items())))
    assert [each.mask for each in coco.read(path).annotations()] == [RING.mask, PARTS.mask, DOT.mask]


@steady
@given(st.data())
def test_junk_anywhere_gives_a_coded_error_or_a_value(tmp_path_factory, data):
    path = sample(tmp_path_factory.mktemp("junk") / "x.json")
    content = load(path)
    spoil(content, data, data.draw(st.integers(1, 4)))
    path.write_text(json.dumps(content))
    try:
        for annotation in coco.read(path).annotations():
            _ = annotation.mask
    except InputError as error:
        str(error).encode()
