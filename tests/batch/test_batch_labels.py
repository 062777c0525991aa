import numpy as np
import pytest

from locara_label.batch.labels import LabelMap, categories, read_map
from locara_label.errors import BadOption
from locara_label.types import Instance, Label, Mask

LABELS = (
    Label(0, "sky", is_stuff=True),
    Label(1, "cloud", is_stuff=True),
    Label(2, "car"),
    Label(3, "truck"),
    Label(4, "person"),
)


def instance(index, rows, score=0.5):
    mask = np.zeros((4, 4), bool)
    mask[rows] = True
    return Instance(LABELS[index].name, index, score, Mask.from_array(mask), LABELS[index].is_stuff)


def described(found):
    return [(category.id, category.name, category.supercategory, category.is_thing) for category in found.listed]


def test_without_a_map_ids_are_indices_plus_one():
    found = categories(LABELS)
    assert described(found)[:3] == [(1, "sky", "stuff", False), (2, "cloud", "stuff", False), (3, "car", "thing", True)]
    kept, dropped = found.applied([instance(2, 0), instance(0, 1)])
    assert [(one.label, one.label_index) for one in kept] == [("car", 2), ("sky", 0)]
    assert dropped == 0


def test_labels_of_one_name_stay_apart():
    found = categories((Label(0, "bar"), Label(1, "bar"), Label(2, "")))
    assert [category.name for category in found.listed] == ["bar", "bar (1)", "label 2"]


def test_a_map_names_drops_and_joins():
    found = categories(LABELS, LabelMap({"truck": "vehicle", "car": "vehicle", "sky": ""}, supercategories={"vehicle": "road"}))
    assert described(found) == [(1, "vehicle", "road", True)]
    kept, dropped = found.applied([instance(2, 0), instance(3, 1), instance(0, 2), instance(4, 3)])
    assert [(one.label, one.label_index) for one in kept] == [("vehicle", 0), ("vehicle", 0)]
    assert dropped == 2


def test_keeping_what_the_map_does_not_name():
    found = categories(LABELS, LabelMap({"truck": "car", "sky": ""}, keep_unmapped=True))
    assert [category.name for category in found.listed] == ["car", "cloud", "person"]
    assert found.by_index[2] is found.by_index[3]


def test_regions_of_one_category_become_one():
    found = categories(LABELS, LabelMap({"sky": "air", "cloud": "air"}))
    kept, _ = found.applied([instance(0, 0, 0.4), instance(1, 1, 0.7)])
    assert [(one.label, one.score, one.mask.area, one.is_stuff) for one in kept] == [("air", 0.7, 8, True)]


def test_a_category_with_a_thing_in_it_is_a_thing():
    assert described(categories(LABELS, LabelMap({"sky": "all", "car": "all"}))) == [(1, "all", "thing", True)]


def test_labels_for_label_maps():
    assert categories(LABELS).labels == list(LABELS)


@pytest.mark.parametrize(
    ("label_map", "text"),
    [
        (LabelMap({"trucks": "x"}), "'trucks' is no label of the model; did you mean 'truck'"),
        (LabelMap({"zzz": "x"}), "'zzz' is no label of the model$"),
        (LabelMap({"car": ""}), "leaves out every label"),
        (LabelMap({"car": "vehicle"}, supercategories={"vehicles": "road"}), "'vehicles' is no category .* 'vehicle'"),
    ],
)
def test_a_map_that_does_not_fit(label_map, text):
    with pytest.raises(BadOption, match=text) as caught:
        categories(LABELS, label_map)
    assert caught.value.code == "option.labels"


def test_reading_a_map(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text('keep_unmapped = true\n[labels]\ncar = "Pkw"\n"traffic light" = ""\n[supercategories]\nPkw = "Fahrzeug"\n')
    found = read_map(path)
    assert (dict(found.names), found.keep_unmapped) == ({"car": "Pkw", "traffic light": ""}, True)
    assert found.supercategories == {"Pkw": "Fahrzeug"}
    assert len(found.digest) == 64


@pytest.mark.parametrize(
    "text",
    ["labels", "x = 1\n[labels]", "[labels]\ncar = 1", "labels = 1", "keep_unmapped = 1\n[labels]", "keep_unmapped = true"],
)
def test_what_is_no_map(tmp_path, text):
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(BadOption):
        read_map(path)


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(BadOption):
        read_map(tmp_path / "none.toml")
