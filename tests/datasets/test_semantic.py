import numpy as np
import pytest
from coco_samples import dump, mask, steady
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image

from locara_label import images
from locara_label.datasets import semantic
from locara_label.errors import BadDataset, BadImage, BadMask
from locara_label.types import Instance, Label

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)


@steady
@given(hnp.arrays(np.uint8, shapes) | hnp.arrays(np.uint16, shapes))
def test_any_label_map_survives(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("semantic") / "x.png"
    semantic.write_semantic_png(path, labels)
    found = semantic.read_semantic_png(str(path), labels.shape)
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found, labels)
    with Image.open(path) as picture:
        assert picture.mode == ("L" if labels.dtype == np.uint8 else "I;16")
        np.testing.assert_array_equal(np.asarray(picture), labels)


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 2), np.int32), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8), np.zeros((2, 2), bool)]
)
def test_other_arrays_are_no_label_maps(tmp_path, labels):
    with pytest.raises(BadDataset, match="label map is"):
        semantic.write_semantic_png(tmp_path / "x.png", labels)
    assert list(tmp_path.iterdir()) == []


def test_a_color_png_is_no_label_map(tmp_path):
    images.write_png(tmp_path / "x.png", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(BadImage) as caught:
        semantic.read_semantic_png(tmp_path / "x.png")
    assert caught.value.code == "image.kind"


def test_a_huge_png_is_refused_by_its_header(tmp_path):
    Image.new("1", (100, 100)).save(tmp_path / "x.png")
    raw = bytearray(semantic_bytes(tmp_path))
    raw[16:24] = (20_000).to_bytes(4, "big") * 2
    (tmp_path / "y.png").write_bytes(raw)
    with pytest.raises(BadImage, match="at most") as caught:
        semantic.read_semantic_png(tmp_path / "y.png")
    assert caught.value.code == "image.size"


def semantic_bytes(folder):
    semantic.write_semantic_png(folder / "z.png", np.zeros((3, 4), np.uint8))
    return (folder / "z.png").read_bytes()


def test_another_size_is_refused(tmp_path):
    semantic_bytes(tmp_path)
    with pytest.raises(BadImage, match="is 4 x 3, wanted 3 x 4"):
        semantic.read_semantic_png(tmp_path / "z.png", (4, 3))


def test_a_missing_file(tmp_path):
    with pytest.raises(BadImage, match="FileNotFoundError"):
        semantic.read_semantic_png(tmp_path / "no.png")


def found(index, *rectangles):
    return Instance("x", index, 0.5, mask(*rectangles))


def test_painting_lets_the_first_keep_its_pixels():
    labels = semantic.paint([found(2, (0, 0, 4, 4)), found(0, (2, 2, 6, 6))], (9, 12), 3)
    assert labels.dtype == np.uint8
    assert (labels[3, 3], labels[5, 5], labels[8, 8]) == (2, 0, 255)


@pytest.mark.parametrize(("count", "none", "dtype"), [(255, 255, np.uint8), (256, 65535, np.uint16), (65535, 65535, np.uint16)])
def test_the_number_of_classes_decides_the_depth(count, none, dtype):
    labels = semantic.paint([found(count - 1, (0, 0, 1, 1))], (9, 12), count)
    assert (labels.dtype, labels[0, 0], labels[5, 5]) == (dtype, count - 1, none)


def test_too_many_classes():
    with pytest.raises(BadDataset) as caught:
        semantic.unlabeled(65536)
    assert caught.value.code == "labels.count"


def test_what_cannot_be_painted():
    with pytest.raises(BadDataset, match=r"label index 3 is not in 0\.\.2"):
        semantic.paint([found(3, (0, 0, 1, 1))], (9, 12), 3)
    with pytest.raises(BadMask):
        semantic.paint([found(0, (0, 0, 1, 1))], (3, 3), 3)


LABELS = [Label(0, "wall", is_stuff=True), Label(300, "Löffel")]


def test_labels_survive(tmp_path):
    semantic.write_labels(tmp_path / "labels.json", LABELS)
    assert semantic.read_labels(tmp_path / "labels.json") == LABELS
    assert '"unlabeled": 65535' in (tmp_path / "labels.json").read_text()
    semantic.write_labels(tmp_path / "labels.json", [])
    assert semantic.read_labels(tmp_path / "labels.json") == []


@pytest.mark.parametrize("labels", [[Label(0, "a"), Label(0, "b")], [Label(-1, "a")], [Label(65535, "a")], [Label(1, "")]])
def test_labels_that_cannot_be(tmp_path, labels):
    with pytest.raises(BadDataset):
        semantic.write_labels(tmp_path / "x.json", labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        "{",
        {"labels": 5},
        {"labels": [5]},
        {"labels": [{"index": 0}]},
        {"labels": [{"index": 70_000, "name": "a"}]},
        {"labels": [{"index": 0, "name": "a"}, {"index": 0, "name": "b"}]},
    ],
)
def test_broken_label_files(tmp_path, content):
    with pytest.raises(BadDataset):
        semantic.read_labels(dump(tmp_path / "x.json", content))
