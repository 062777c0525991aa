"""Masks to regions and back: exact where the tag allows it, exact through `meta` elsewhere, and never trusted after an edit."""

import base64
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from PIL import Image

from locara_label.errors import BadOption, InputError
from locara_label.hosts.label_studio.config import Output, parse
from locara_label.hosts.label_studio.regions import merge_groups, read_regions
from locara_label.hosts.label_studio.results import (
    Picture,
    answer,
    candidate_regions,
    mask_regions,
    message_region,
    new_region_id,
    prediction,
)
from locara_label.types import Candidate, Mask

WIRE = Path(__file__).parent / "wire"
KINDS = ["Brush", "Bitmask", "Polygon", "Rectangle", "Ellipse", "KeyPoint"]
MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))).filter(np.any)


def output(kind: str, *, apart: bool = False, label: str = "Object") -> Output:
    labels = f'<Label value="{label}"/>'
    named = f'<{kind}Labels name="m" toName="image">{labels}</{kind}Labels>'
    split = f'<{kind} name="m" toName="image"/><Labels name="l" toName="image">{labels}</Labels>'
    found = parse(f'<View><Image name="image" value="$image"/>{split if apart else named}</View>').output("image", label)
    assert found is not None
    return found


def written(mask: Mask, kind: str, *, apart: bool = False, label: str = "Object", **more: Any) -> list[dict[str, Any]]:
    picture = Picture("image", mask.size)
    regions = mask_regions(mask, label, output(kind, apart=apart, label=label), picture, model_version="v1", **more)
    through_json: list[dict[str, Any]] = json.loads(json.dumps(regions, allow_nan=False))
    return through_json


def ring_and_dots() -> Mask:
    """A ring with an island in its hole, another part, and a part that touches it at a corner only."""
    array = np.zeros((60, 90), bool)
    array[5:40, 5:50] = True
    array[10:30, 10:40] = False
    array[15:20, 20:25] = True
    array[45:55, 60:80] = True
    array[55, 80] = True
    return Mask.from_array(array)


def united(result: Any) -> Mask:
    masks = read_regions(result).masks
    return masks[0].mask.union(*(one.mask for one in masks[1:]))


@settings(max_examples=100, deadline=None)
@given(MASKS, st.sampled_from(["Brush", "Bitmask"]), st.booleans())
def test_brush_and_bitmask_hold_the_mask(array: NDArray[np.bool_], kind: str, apart: bool) -> None:
    mask = Mask.from_array(array)
    regions = written(mask, kind, apart=apart)
    for region in regions:
        del region["meta"]
    (back,) = read_regions(regions).masks
    assert (back.mask, back.is_exact, back.labels) == (mask, True, ("Object",))


@settings(max_examples=100, deadline=None)
@given(MASKS, st.sampled_from(KINDS), st.booleans())
def test_every_shape_gives_the_exact_mask_back_while_nobody_edits_it(array: NDArray[np.bool_], kind: str, apart: bool) -> None:
    mask = Mask.from_array(array)
    found = read_regions(written(mask, kind, apart=apart))
    assert found.skipped == ()
    assert all(one.is_exact for one in found.masks)
    (whole,) = merge_groups(found.masks)
    assert (whole.mask, whole.labels, whole.is_exact) == (mask, ("Object",), True)


def test_the_sdk_reads_the_same_brush() -> None:
    mask = ring_and_dots()
    (region,) = written(mask, "Brush")
    alpha = brush.decode_rle(region["value"]["rle"]).reshape(*mask.size, 4)[:, :, 3]
    assert np.array_equal(alpha == 255, mask.to_array())
    assert region["value"]["format"] == "rle"


def test_a_browser_reads_the_same_bitmask() -> None:
    mask = ring_and_dots()
    (region,) = written(mask, "Bitmask")
    url = region["value"]["imageDataURL"]
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as image:
        alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
    assert np.array_equal(alpha, mask.to_array() * 255)
    assert written(mask, "Bitmask")[0]["value"]["imageDataURL"] == url


def test_the_fields_of_a_region() -> None:
    mask = ring_and_dots()
    (region,) = written(mask, "Brush", score=0.5, region_id="abc")
    assert {key: region[key] for key in region if key not in ("value", "meta")} == {
        "id": "abc",
        "from_name": "m",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": 90,
        "original_height": 60,
        "image_rotation": 0,
        "score": 0.5,
    }
    assert region["meta"]["coco_rle"] == mask.to_coco()
    assert region["meta"]["model_version"] == "v1"
    assert len(region["meta"]["value_sha256"]) == 64


def test_brush_with_labels_is_two_results_of_one_id() -> None:
    drawn, named = written(ring_and_dots(), "Brush", apart=True, label="Größe & 猫".replace("&", "&amp;"))
    assert drawn["id"] == named["id"]
    assert (drawn["type"], drawn["from_name"], named["type"], named["from_name"]) == ("brush", "m", "labels", "l")
    assert "labels" not in drawn["value"]
    assert named["value"]["rle"] == drawn["value"]["rle"]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_any_script(kind: str) -> None:
    (back, *_) = read_regions(written(ring_and_dots(), kind, label="Größe 猫 🐈")).masks
    assert back.labels == ("Größe 猫 🐈",)


def test_page_and_turned_view_are_repeated() -> None:
    mask = ring_and_dots()
    (region,) = mask_regions(mask, None, output("Bitmask"), Picture("image", mask.size, 90, 2), model_version="v")
    assert (region["image_rotation"], region["item_index"]) == (90, 2)
    assert list(region["value"]) == ["imageDataURL"]
    (back,) = read_regions([region]).masks
    assert (back.mask, back.item_index, back.labels) == (mask, 2, ())


def test_polygons_are_one_region_a_part_and_say_what_they_cover() -> None:
    regions = written(ring_and_dots(), "Polygon", tolerance_px=0)
    assert len(regions) == 3
    assert len({region["id"] for region in regions}) == 3
    assert {region["meta"]["group"] for region in regions} == {regions[0]["id"]}
    assert [region["meta"].get("holes_covered", False) for region in regions] == [True, False, False]
    for region in regions:
        region["meta"] = {}
    filled = ring_and_dots().to_array().copy()
    filled[10:30, 10:40] = True
    assert united(regions) == Mask.from_array(filled)


@pytest.mark.parametrize(("kind", "least"), [("Polygon", 0.95), ("Rectangle", 0.7), ("Ellipse", 0.98)])
def test_shapes_lie_where_the_mask_is(kind: str, least: float) -> None:
    rows, columns = np.ogrid[:200, :300]
    mask = Mask.from_array(((rows - 90) / 60) ** 2 + ((columns - 150) / 110) ** 2 < 1)
    regions = written(mask, kind)
    for region in regions:
        region["meta"] = {}
    (back,) = read_regions(regions).masks
    assert not back.is_exact
    assert back.mask.iou(mask) > least


def test_a_turned_ellipse_lies_where_the_mask_is() -> None:
    rows, columns = np.ogrid[:200, :300]
    right, down = columns - 150, rows - 100
    mask = Mask.from_array(((right + down) / 90) ** 2 + ((right - down) / 30) ** 2 < 1)
    (region,) = written(mask, "Ellipse")
    assert region["value"]["rotation"] == pytest.approx(45, abs=0.5)
    region["meta"] = {}
    assert read_regions([region]).masks[0].mask.iou(mask) > 0.97


def test_a_key_point_lies_on_the_mask() -> None:
    mask = ring_and_dots()
    (region,) = written(mask, "KeyPoint")
    x, y = region["value"]["x"] * 0.9, region["value"]["y"] * 0.6
    assert mask.to_array()[int(y), int(x)]
    del region["meta"]
    found = read_regions([region])
    assert found.masks == ()
    assert [region_id for region_id, _ in found.skipped] == [region["id"]]


EDITS = {
    "Brush": ("rle", lambda _value: written(small(), "Brush")[0]["value"]["rle"]),
    "Bitmask": ("imageDataURL", lambda _value: written(small(), "Bitmask")[0]["value"]["imageDataURL"]),
    "Polygon": ("points", lambda points: [[x + 1, y] for x, y in points]),
    "Rectangle": ("width", lambda width: width + 0.001),
    "Ellipse": ("rotation", lambda rotation: rotation + 1),
}


def small() -> Mask:
    array = np.zeros((60, 90), bool)
    array[3:5, 3:7] = True
    return Mask.from_array(array)


@pytest.mark.parametrize("kind", EDITS)
def test_an_edited_shape_is_drawn_anew(kind: str) -> None:
    key, edit = EDITS[kind]
    (region, *_) = written(ring_and_dots(), kind)
    before = read_regions([region]).masks[0]
    region["value"][key] = edit(region["value"][key])
    after = read_regions([region]).masks[0]
    assert after.mask != before.mask
    assert after.is_exact == (kind in ("Brush", "Bitmask"))


def test_half_transparent_pixels_of_a_brush_count() -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0, 1] = 1
    pixels[1, 2] = 200
    value = {"format": "rle", "rle": brush.encode_rle(pixels.reshape(-1)), "brushlabels": ["A"]}
    region = {"id": "a", "type": "brushlabels", "original_width": 3, "original_height": 2, "value": value}
    assert read_regions([region]).masks[0].mask.to_array().tolist() == [[False, True, False], [False, False, True]]


def test_numbers_that_javascript_writes_differently_are_no_edit() -> None:
    array = np.zeros((10, 10), bool)
    array[2:5, 3:9] = True
    (region,) = written(Mask.from_array(array), "Rectangle")
    region["value"] = {
        key: int(part) if part == int(part) else part for key, part in region["value"].items() if key != "rectanglelabels"
    }
    assert [type(part) for part in region["value"].values()] == [int] * 5
    assert read_regions([region]).masks[0].is_exact


def test_the_last_digits_of_a_float_are_no_edit() -> None:
    (region,) = written(small(), "Rectangle")
    region["value"]["x"] += 1e-12
    assert read_regions([region]).masks[0].is_exact


@pytest.mark.parametrize(
    "meta",
    [
        None,
        [],
        {"coco_rle": 5},
        {"coco_rle": {"size": [1, 1], "counts": "1"}},
        {"coco_rle": {"size": [60, 90], "counts": "FAKE"}},
    ],
)
def test_a_broken_note_is_ignored(meta: Any) -> None:
    (region,) = written(small(), "Rectangle")
    region["meta"] = meta if not isinstance(meta, dict) else region["meta"] | meta
    assert read_regions([region]).masks[0].mask == small()
    assert not read_regions([region]).masks[0].is_exact


def test_recorded_answers_are_read() -> None:
    count = 0
    for path in sorted(WIRE.glob("*.json")):
        answered = json.loads(path.read_text("utf-8"))["response"]["body"]
        entries = answered.get("results", []) if isinstance(answered, dict) else []
        for entry in entries:
            for one in read_regions(entry["result"] if isinstance(entry, dict) else []).masks:
                count += 1
                assert one.mask.size == (480, 640)
                assert one.mask.area > 0
                assert one.labels in (("Object",), ("Other",))
    assert count > 10


def test_what_is_no_mask_is_skipped_with_its_reason() -> None:
    result = json.loads(next(WIRE.glob("27_*")).read_text("utf-8"))["response"]["body"]["results"][0]["result"]
    found = read_regions(result)
    assert [one.id for one in found.masks] == ["bmA", "bmB", "pA"]
    assert [region_id for region_id, _ in found.skipped] == ["msg1"]
    assert "textarea" in found.skipped[0][1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
REGIONS = [written(small(), kind)[0] for kind in KINDS]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(REGIONS), st.data(), JSON)
def test_any_json_in_any_place_is_read_or_skipped(region: dict[str, Any], data: st.DataObject, value: Any) -> None:
    hostile = json.loads(json.dumps(region))
    place = data.draw(st.sampled_from([hostile, hostile["value"], hostile["meta"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = value
    with suppress(InputError):
        found = read_regions([hostile])
        assert len(found.masks) + len(found.skipped) == 1


def test_an_empty_mask_has_no_region() -> None:
    assert written(Mask.from_array(np.zeros((4, 4), bool)), "Brush") == []


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_that_json_lacks_are_refused(score: float) -> None:
    with pytest.raises(BadOption):
        written(small(), "Brush", score=score)
    with pytest.raises(BadOption):
        prediction([], "v", score)


def test_a_mask_of_another_picture_is_refused() -> None:
    with pytest.raises(BadOption):
        mask_regions(small(), "A", output("Brush"), Picture("image", (5, 5)), model_version="v")


def test_alternatives_come_best_first_and_say_so() -> None:
    candidates = [Candidate(small(), 0.2), Candidate(ring_and_dots(), 0.9), Candidate(small(), 0.5)]
    regions = candidate_regions(
        candidates, "Object", output("Brush"), Picture("image", (60, 90)), model_version="v", region_id="old"
    )
    assert [(region["score"], region["meta"].get("candidate")) for region in regions] == [(0.9, None), (0.5, 2), (0.2, 3)]
    assert regions[0]["id"] == "old"
    assert len({region["id"] for region in regions}) == 3


def test_a_prediction_and_an_answer() -> None:
    regions = written(small(), "Brush", score=0.25) + written(small(), "Brush", score=0.75)
    found = prediction(regions, "v1")
    assert (found["score"], found["model_version"], len(found["result"])) == (0.5, "v1", 2)
    assert answer([found], "v1") == {"results": [found], "model_version": "v1"}
    assert prediction([], "v1")["score"] == 0.0


def test_a_message() -> None:
    area = parse('<View><Image name="i" value="$i"/><TextArea name="msg" toName="i"/></View>').message_area("i")
    region = message_region("Nichts gefunden 🐈", area, "i")
    assert {key: region[key] for key in region if key != "id"} == {
        "from_name": "msg",
        "to_name": "i",
        "type": "textarea",
        "value": {"text": ["locara-label: Nichts gefunden 🐈"]},
    }


def test_ids_are_ten_characters_and_new() -> None:
    ids = {new_region_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(one) for one in ids} == {10}
