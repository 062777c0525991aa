import numpy as np
import pytest
from coco_samples import CATEGORIES, DOT, IMAGE, PARTS, RING, edit, instance, load, names, panoptic_sample, steady
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from locara_label import images
from locara_label.datasets import panoptic
from locara_label.datasets.check import check
from locara_label.datasets.coco import Category, CocoImage
from locara_label.datasets.panoptic import Painted, PanopticWriter
from locara_label.errors import BadDataset, BadImage, BadMask, InputError
from locara_label.types import Instance, Mask

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_the_files_are_panoptic_coco(tmp_path):
    content = load(panoptic_sample(tmp_path))
    assert list(content) == ["info", "licenses", "categories", "images", "annotations"]
    assert [(row["id"], row["isthing"]) for row in content["categories"]] == [(1, 1), (7, 0), (3, 1)]
    assert len({tuple(row["color"]) for row in content["categories"]}) == 3
    first = content["annotations"][0]
    assert (first["image_id"], first["file_name"]) == (1, "000000000001.png")
    assert first["segments_info"][0] == {
        "id": 1,
        "category_id": 1,
        "area": 32,
        "bbox": [1, 1, 6, 6],
        "iscrowd": 0,
        "score": 0.123457,
    }
    assert names(tmp_path / "p") == ["000000000001.png", "000000000002.png"]


def test_pixels_are_ids(tmp_path):
    panoptic_sample(tmp_path)
    rgb = np.asarray(Image.open(tmp_path / "p" / "000000000001.png")).astype(int)
    ids = rgb @ [1, 256, 65536]
    np.testing.assert_array_equal(ids == 1, RING.mask.to_array())
    np.testing.assert_array_equal(ids == 2, PARTS.mask.to_array() & ~RING.mask.to_array())


def test_large_ids_take_three_channels(tmp_path):
    canvas = np.array([[0, 255, 256], [65535, 65536, (1 << 24) - 1]], np.uint32)
    images.write_png(tmp_path / "x.png", panoptic._to_rgb(canvas))
    masks = panoptic.segment_masks(tmp_path / "x.png", (2, 3))
    assert sorted(masks) == [255, 256, 65535, 65536, (1 << 24) - 1]
    np.testing.assert_array_equal(masks[65536].to_array(), canvas == 65536)


def test_what_was_written_is_read(tmp_path):
    data = panoptic.read(panoptic_sample(tmp_path))
    (one, first), (two, second) = data.pictures()
    assert (one.file_name, one.id, two.id) == ("1.jpg", 1, 2)
    assert [(each.label, each.is_stuff, each.score) for each in first] == [("cup", False, 0.123457), ("sky", True, 1.0)]
    assert first[0].mask == RING.mask
    assert second[0].mask == DOT.mask
    assert data.categories[7].color == tuple(load(data.path)["categories"][1]["color"])


@steady
@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4)))
def test_any_segments_without_overlap_survive(tmp_path_factory, labels):
    height, width = labels.shape
    segments = [Instance("cup", 1, 0.5, Mask.from_array(labels == number)) for number in range(1, 5)]
    folder = tmp_path_factory.mktemp("panoptic")
    with PanopticWriter(folder / "p.json", folder / "p", CATEGORIES) as writer:
        painted = writer.add(CocoImage("x.jpg", width, height), segments)
    kept = [segment for segment in segments if segment.mask.area]
    assert painted == Painted(len(kept), 4 - len(kept), 0)
    ((_, found),) = panoptic.read(folder / "p.json").pictures()
    assert found == kept
    assert check(folder / "p.json") == []


def test_the_first_of_overlapping_segments_keeps_the_pixels_and_it_is_reported(tmp_path):
    under, empty = instance("fork", (0, 0, 2, 2)), instance("fork")
    over, hidden = instance("cup", (1, 0, 4, 2)), instance("fork", (3, 0, 4, 1))
    with PanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:
        assert writer.add(IMAGE, [over, under, hidden, empty]) == Painted(segments=2, skipped=2, overlap_px=3)
        writer.add(IMAGE, [over, hidden])
    assert (writer.skipped, writer.overlap_px) == (3, 4)
    (_, found), _ = panoptic.read(tmp_path / "p.json").pictures()
    assert found[0].mask == over.mask
    np.testing.assert_array_equal(found[1].mask.to_array(), under.mask.to_array() & ~over.mask.to_array())


def test_the_same_calls_give_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = panoptic_sample(tmp_path / "a"), panoptic_sample(tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()
    assert (tmp_path / "a/p/000000000001.png").read_bytes() == (tmp_path / "b/p/000000000001.png").read_bytes()


@pytest.mark.parametrize(
    ("image", "segments", "error", "code"),
    [
        (IMAGE, [instance("sky", (0, 0, 1, 1)), instance("sky", (2, 0, 3, 1))], BadDataset, "segment.stuff_twice"),
        (IMAGE, [instance("spoon", (0, 0, 1, 1))], BadDataset, "label.unknown"),
        (IMAGE, [instance("cup", (0, 0, 1, 1), score=-1)], BadDataset, "score.range"),
        (IMAGE, [instance("cup", (0, 0, 1, 1), size=(3, 3))], BadMask, "mask.size"),
        (CocoImage("x", 0, 0), [], BadDataset, "image.size"),
        (CocoImage("x", 1, 1, 0), [], BadDataset, "image.id_order"),
    ],
)
def test_a_refused_picture_leaves_no_trace(tmp_path, image, segments, error, code):
    with PanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:
        with pytest.raises(error) as caught:
            writer.add(image, segments)
        assert caught.value.code == code
    assert load(tmp_path / "p.json")["images"] == []
    assert names(tmp_path / "p") == []


def test_an_exception_leaves_no_json_file(tmp_path):
    with pytest.raises(ZeroDivisionError), PanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:  # noqa: PT012
        writer.add(IMAGE, [RING])
        1 / 0  # noqa: B018
    assert names(tmp_path) == ["p"]


def test_a_chosen_color_is_written(tmp_path):
    with PanopticWriter(tmp_path / "p.json", tmp_path / "p", [Category(1, "a", color=(1, 2, 3))], {"year": 1}):
        pass
    assert load(tmp_path / "p.json")["categories"][0]["color"] == [1, 2, 3]
    assert panoptic.read(tmp_path / "p.json", tmp_path).info == {"year": 1}


def _drop_segment(content):
    content["annotations"][0]["segments_info"].pop()


def _renumber(content):
    content["annotations"][0]["segments_info"][1]["id"] = 77


def _escape(content):
    content["annotations"][0]["file_name"] = "../../secret.png"


def _no_object(content):
    content["annotations"][0] = []


def _no_segment(content):
    content["annotations"][0]["segments_info"][0] = 5


def _other_size(content):
    content["images"][0]["width"] = 11


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        (_drop_segment, BadDataset, "segment.unlisted"),
        (_renumber, BadDataset, "segment.missing"),
        (_escape, BadDataset, "path.outside"),
        (_no_object, BadDataset, "annotation.field"),
        (_no_segment, BadDataset, "segment.field"),
        (_other_size, BadImage, "image.size"),
    ],
)
def test_damage_is_refused(tmp_path, change, error, code):
    data = panoptic.read(edit(panoptic_sample(tmp_path), change))
    with pytest.raises(InputError, match=r"^(image 1|annotations\[0\]): ") as caught:
        list(data.pictures())
    assert (type(caught.value), caught.value.code) == (error, code)


def test_a_segment_without_a_score_is_certain(tmp_path):
    path = edit(panoptic_sample(tmp_path), lambda content: content["annotations"][1]["segments_info"][0].pop("score"))
    _, (_, found) = panoptic.read(path).pictures()
    assert found[0].score == 1.0
