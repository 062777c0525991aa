"""Bodies of /setup and /predict: all recorded ones, every kind of prompt, and what is refused."""

import base64
import copy
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from locara_label.errors import BadMask, BadPrompt, BadRequest, InputError
from locara_label.hosts.label_studio import bitmask, brush_rle, shapes
from locara_label.hosts.label_studio.fields import parse_json
from locara_label.hosts.label_studio.prompts import PromptRequest, parse_context
from locara_label.hosts.label_studio.requests import PredictRequest, parse_predict, parse_setup
from locara_label.types import Box, Mask, Point

WIRE = Path(__file__).parent / "wire"
SIZE = (100, 200)


def body(name: str) -> dict[str, Any]:
    (path,) = WIRE.glob(f"{name}_*.json")
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))["body"]
    # The record of 300 tasks is shortened, and says so in a text among the tasks.
    loaded["tasks"] = [task for task in loaded.get("tasks", []) if isinstance(task, dict)]
    return loaded


def predict(name: str) -> PredictRequest:
    return parse_predict(parse_json(json.dumps(body(name)).encode()))


def asked(name: str) -> PromptRequest:
    context = predict(name).context
    assert context is not None
    return context


def region(kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"id": "a", "type": kind, "from_name": "f", "to_name": "image", "original_width": SIZE[1], "original_height": SIZE[0]}
    return base | {"value": value} | more


def click(x: float, y: float, **more: Any) -> dict[str, Any]:
    return region("keypointlabels", {"x": x, "y": y, "width": 0.2, "keypointlabels": ["Object"]}, **more)


def rectangle(x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": more.pop("turned", 0), "rectanglelabels": ["Object"]}
    return region("rectanglelabels", value, **more)


def parsed(*regions: dict[str, Any], **more: Any) -> PromptRequest:
    return parse_context({"result": list(regions), **more})


def test_setup_as_recorded() -> None:
    request = parse_setup(body("02"))
    assert (request.project, request.hostname, request.extra_params) == (1, "http://localhost:8080", {"k": "v"})
    assert request.config().images[0].name == "image"
    assert request.access_token not in repr(request)


@pytest.mark.parametrize("name", ["06", "11", "12", "13", "14", "15", "16"])
def test_batches_as_recorded(name: str) -> None:
    request = predict(name)
    assert request.context is None
    assert not request.is_interactive
    shown = request.config().images[0]
    for task, sent in zip(request.tasks, body(name)["tasks"], strict=True):
        assert task.id == sent["id"]
        assert task.urls(shown) == (sent["data"]["image"],)


def test_a_click_as_recorded() -> None:
    request = asked("20")
    (shown,) = request.objects
    assert (request.to_name, request.size, request.text, request.from_names) == ("image", (480, 640), None, ("kp",))
    assert (shown.label, shown.region_ids, shown.refines) == ("Object", ("A4UwCgMlAt",), None)
    assert shown.prompt.points == (Point(40.56720098643651 * 6.4, 45.31442663378546 * 4.8),)
    assert shown.prompt.box is None


@pytest.mark.parametrize("name", ["21", "22"])
def test_clicks_add_up(name: str) -> None:
    (shown,) = asked(name).objects
    assert [point.positive for point in shown.prompt.points] == [True, False]
    assert len(shown.region_ids) == 2


@pytest.mark.parametrize(("name", "label"), [("23", "Other"), ("24", "Object")])
def test_a_rectangle_as_recorded(name: str, label: str) -> None:
    value = body(name)["params"]["context"]["result"][0]["value"]
    (shown,) = asked(name).objects
    box = shown.prompt.box
    assert shown.label == label
    assert [box.x0, box.y0] == pytest.approx([value["x"] * 6.4, value["y"] * 4.8])
    assert [box.x1 - box.x0, box.y1 - box.y0] == pytest.approx([value["width"] * 6.4, value["height"] * 4.8])


@pytest.mark.parametrize(
    ("name", "text", "to_name"),
    [("25", "red rectangle", "image"), ("26", "red rectangle", "image"), ("31", "the square", "video")],
)
def test_texts_as_recorded(name: str, text: str, to_name: str) -> None:
    request = asked(name)
    assert (request.text, request.to_name, request.size, request.objects) == (text, to_name, None, ())


def test_the_newest_text_is_the_last() -> None:
    request = parsed(region("textarea", {"text": ["first", "größer 猫"]}))
    assert (request.text, request.texts) == ("größer 猫", ("first", "größer 猫"))


def test_a_video_box_as_recorded() -> None:
    (shown,) = asked("30").videos
    (frame,) = shown.keyframes
    assert (shown.region_id, shown.label, frame.frame, frame.enabled) == ("bGrvVkxO7c", "Man", 1, True)
    assert frame.box((240, 320)) == Box(pytest.approx(96.5), 72, pytest.approx(144.5), 120)
    assert shown.fields["value"]["framesCount"] == 48


@pytest.mark.parametrize("name", ["27", "28"])
def test_other_clicks_as_recorded(name: str) -> None:
    assert len(asked(name).objects) == 1


def test_leaving_a_task_asks_nothing() -> None:
    assert predict("32").is_interactive
    assert asked("32").is_empty
    assert parse_context({}).is_empty


def test_keys_of_our_own_clients() -> None:
    request = parse_context({"result": [], "event": "prewarm", "frame": 42, "time": 1.5, "candidates": 3, "anything": {"a": 1}})
    assert (request.event, request.frame, request.time_s, request.candidates) == ("prewarm", 42, 1.5, 3)
    assert parsed(click(1, 1), candidates=3).objects[0].prompt.candidates == 3


def test_a_point_without_a_sign_is_positive() -> None:
    assert parsed(click(50, 50)).objects[0].prompt.points == (Point(100, 50, positive=True),)


def test_a_turned_view_changes_no_coordinate() -> None:
    for rotation in (0, 90, 180, 270):
        request = parsed(click(25, 75, image_rotation=rotation))
        assert request.objects[0].prompt.points == (Point(50, 75),)
        assert request.image_rotation == rotation


def test_clicks_on_the_border_stay_inside() -> None:
    assert parsed(click(100.4, -0.3)).objects[0].prompt.points == (Point(200, 0),)


def test_a_turned_rectangle_gives_the_box_around_it() -> None:
    # 40 x 20 pixels, turned by 90 degrees clockwise about its top left corner (100, 50).
    (shown,) = parsed(rectangle(50, 50, 20, 20, turned=90)).objects
    box = shown.prompt.box
    assert [box.x0, box.y0, box.x1, box.y1] == pytest.approx([80, 50, 100, 90])


def test_an_ellipse_gives_the_box_around_it() -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 90, "ellipselabels": ["Object"]}
    (shown,) = parsed(region("ellipselabels", value)).objects
    box = shown.prompt.box
    assert [box.x0, box.y0, box.x1, box.y1] == pytest.approx([95, 30, 105, 70])


def test_boxes_are_clipped_to_the_picture() -> None:
    assert parsed(rectangle(-10, 90, 20, 20)).objects[0].prompt.box == Box(0, 90, 20, 100)


def test_a_polygon_is_a_box_and_a_mask() -> None:
    value = {"points": [[10, 10], [20, 10], [20, 30], [10, 30]], "closed": True, "polygonlabels": ["Object"]}
    (shown,) = parsed(region("polygonlabels", value)).objects
    assert shown.prompt.box == Box(20, 10, 40, 30)
    assert shown.prompt.mask.box == Box(20, 10, 40, 30)
    assert shown.prompt.mask.area == 400
    assert shown.refines == "a"


def stroke() -> Mask:
    array = np.zeros(SIZE, bool)
    array[20:30, 40:90] = True
    return Mask.from_array(array)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("brushlabels", {"format": "rle", "rle": list(brush_rle.encode(stroke())), "brushlabels": ["Object"]}),
        ("bitmasklabels", {"imageDataURL": bitmask.encode(stroke()), "bitmasklabels": ["Object"]}),
    ],
)
def test_a_stroke_is_a_mask_to_refine(kind: str, value: dict[str, Any]) -> None:
    request = parsed(region(kind, value), click(50, 50, id="b"))
    (shown,) = request.objects
    assert shown.prompt.mask == stroke()
    assert (shown.label, shown.refines, shown.region_ids) == ("Object", "a", ("a", "b"))
    assert shown.prompt.points == (Point(100, 50),)


def test_brush_and_labels_of_one_id_are_one_region() -> None:
    value = {"format": "rle", "rle": list(brush_rle.encode(stroke()))}
    for second in (value | {"labels": ["Uni"]}, {"labels": ["Uni"]}):
        request = parsed(region("brush", value), region("labels", second))
        (shown,) = request.objects
        assert (shown.label, shown.prompt.mask, shown.refines) == ("Uni", stroke(), "a")


@pytest.mark.parametrize(
    "value", [{"x": 10, "y": 10, "width": 10, "height": 20, "rotation": 0}, {"points": [[10, 10], [20, 10], [20, 30], [10, 30]]}]
)
def test_a_lone_labels_result_shows_what_its_value_draws(value: dict[str, Any]) -> None:
    (shown,) = parsed(region("labels", value | {"labels": ["Uni"]})).objects
    assert (shown.label, shown.prompt.box) == ("Uni", Box(20, 10, 40, 30))
    (point,) = parsed(region("labels", {"x": 50, "y": 50, "width": 1, "labels": ["Uni"]})).objects
    assert (point.label, point.prompt.points) == ("Uni", (Point(100, 50),))


def test_each_box_shows_an_object_and_takes_the_points_inside_it() -> None:
    boxes = rectangle(0, 0, 20, 20, id="l"), rectangle(50, 50, 20, 20, id="r")
    found = parsed(*boxes, click(10, 10, id="p"), click(60, 60, id="n", is_positive=False)).objects
    assert [shown.region_ids for shown in found] == [("l", "p"), ("r", "n")]


def test_points_of_two_labels_are_two_objects() -> None:
    other = click(10, 10, id="b")
    other["value"] |= {"keypointlabels": ["Andere", "Object"]}
    assert [shown.label for shown in parsed(click(1, 1), other).objects] == ["Object", "Andere"]


def test_a_page_of_several() -> None:
    assert parsed(click(1, 1, item_index=3), click(2, 2, id="b", item_index=3)).item_index == 3


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("regions", "error", "code"),
    [
        ([click(NAN, 1)], BadRequest, "request.percent"),
        ([click(1, INF)], BadRequest, "request.percent"),
        ([click(102, 1)], BadRequest, "request.percent"),
        ([click(10**400, 1)], BadRequest, "request.percent"),
        ([click("1", 1)], BadRequest, "request.percent"),
        ([click(True, 1)], BadRequest, "request.percent"),
        ([click(1, 1, is_positive="yes")], BadRequest, "request.region"),
        ([click(1, 1, is_positive=False)], BadPrompt, "prompt.negative"),
        ([click(1, 1, original_width=None)], BadRequest, "request.size"),
        ([click(1, 1, original_width=0)], BadRequest, "request.size"),
        ([click(1, 1, original_width=1.5)], BadRequest, "request.size"),
        ([click(1, 1, original_width=NAN)], BadRequest, "request.size"),
        ([click(1, 1, original_width=INF)], BadRequest, "request.size"),
        ([click(1, 1, original_width=10**6, original_height=10**6)], BadRequest, "request.size"),
        ([click(1, 1, original_width=None, original_height=None)], BadRequest, "request.size"),
        ([click(1, 1, image_rotation=45)], BadRequest, "request.region"),
        ([click(1, 1, id=None)], BadRequest, "request.region"),
        ([click(1, 1, type=None)], BadRequest, "request.region"),
        ([click(1, 1) | {"value": []}], BadRequest, "request.region"),
        ([click(1, 1), click(1, 1, id="b", to_name="other")], BadRequest, "request.mixed"),
        ([click(1, 1), click(1, 1, id="b", item_index=1)], BadRequest, "request.mixed"),
        ([click(1, 1), click(1, 1, id="b", original_width=7)], BadRequest, "request.mixed"),
        ([rectangle(10, 10, 0, 10)], BadPrompt, "prompt.box"),
        ([rectangle(200, 10, 10, 10)], BadPrompt, "prompt.box"),
        ([rectangle(10, 10, -5, 10)], BadRequest, "request.percent"),
        ([rectangle(10, 10, 5, 1e9)], BadRequest, "request.percent"),
        ([region("polygonlabels", {"points": [[1, 1], [2, 2]]})], BadRequest, "request.polygon"),
        ([region("polygonlabels", {"points": [[1, 1], [2, 2], [3]]})], BadRequest, "request.polygon"),
        ([region("polygonlabels", {"points": "no"})], BadRequest, "request.polygon"),
        ([region("brushlabels", {"rle": [1, 2, 3]})], BadMask, "mask.rle"),
        ([region("brushlabels", {})], BadMask, "mask.rle"),
        (
            [region("brushlabels", {"rle": list(brush_rle.encode(Mask.from_array(np.zeros(SIZE, bool))))})],
            BadPrompt,
            "prompt.empty",
        ),
        ([region("bitmasklabels", {"imageDataURL": "data:image/png;base64,AAAA"})], BadMask, "mask.png"),
        ([region("textarea", {"text": [1]})], BadRequest, "request.region"),
        ([region("choices", {"choices": ["x"]})], BadRequest, "request.kind"),
        ([region("videorectangle", {"sequence": [{"frame": 1}]})], BadRequest, "request.percent"),
        (["region"], BadRequest, "request.region"),
        ([click(1, 1, id=str(number)) for number in range(1001)], BadRequest, "request.too_many"),
        ("regions", BadRequest, "request.context"),
    ],
)
def test_what_is_refused(regions: Any, error: type[InputError], code: str) -> None:
    with pytest.raises(error) as caught:
        parse_context({"result": regions})
    assert caught.value.code == code


def test_masks_of_more_pixels_than_anyone_draws_are_refused() -> None:
    large = Mask.from_array(np.zeros((8000, 10_000), bool))
    value = {"format": "rle", "rle": list(brush_rle.encode(large))}
    regions = [region("brush", value, id=str(number), original_width=10_000, original_height=8000) for number in range(100)]
    with pytest.raises(BadRequest) as caught:
        parsed(*regions)
    assert caught.value.code == "request.too_many"


def test_a_thousand_points_are_allowed() -> None:
    request = parsed(*(click(1, 1, id=str(number)) for number in range(1000)))
    assert len(request.objects[0].prompt.points) == 1000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tasks": []}, "request.predict"),
        ({"tasks": None}, "request.predict"),
        ({"tasks": [1]}, "request.predict"),
        ({"tasks": [{"id": 1}]}, "request.predict"),
        ({"tasks": [{"id": -1, "data": {}}]}, "request.predict"),
        ({"tasks": [{"data": {}}] * 10_001}, "request.too_many"),
        ({"label_config": None}, "request.predict"),
        ({"label_config": "x" * (2 << 20)}, "request.predict"),
        ({"project": [1]}, "request.project"),
        ({"project": "one"}, "request.project"),
        ({"params": []}, "request.predict"),
        ({"params": {"context": []}}, "request.context"),
    ],
)
def test_bodies_that_are_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_predict(body("20") | changes)
    assert caught.value.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PATHS = [("result",), ("result", 0), *(("result", 0, key) for key in click(1, 1)), *(("result", 0, "value", key) for key in "xy")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS), JSON)
def test_any_json_in_any_place_is_read_or_refused(path: tuple[Any, ...], value: Any) -> None:
    context = {"result": [click(1, 1)]}
    place: Any = copy.deepcopy(context)
    context = place
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with suppress(InputError):
        assert isinstance(parse_context(context), PromptRequest)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 20_000), st.floats(0, 1))
def test_percents_and_pixels(extent: int, part: float) -> None:
    assert shapes.pixels(shapes.percent(part * extent, extent), extent) == pytest.approx(part * extent, abs=1e-3)
    corner = round(part * extent)
    assert round(shapes.pixels(shapes.percent(corner, extent), extent)) == corner


def test_only_the_alpha_of_a_bitmask_counts() -> None:
    pixels = np.full((*SIZE, 4), 255, np.uint8)
    pixels[:, :, 3] = stroke().to_array() * 128
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert bitmask.decode(url, SIZE) == stroke()
    recorded = json.loads(next(WIRE.glob("27_*")).read_text("utf-8"))["response"]["body"]["results"][0]["result"][0]
    assert 0 < bitmask.decode(recorded["value"]["imageDataURL"], (480, 640)).area < 480 * 640 / 2
