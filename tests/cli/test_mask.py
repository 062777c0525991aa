import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from locara_label import images
from locara_label.models.classic import Classic
from locara_label.types import Box, Mask, Prompt


@pytest.fixture(autouse=True)
def here(here):
    image = np.full((90, 120, 3), 200, np.uint8)
    image[10:40, 10:40], image[50:80, 60:110] = (200, 20, 20), (20, 20, 200)
    images.write_png(here / "in.png", image)
    return here


@pytest.fixture
def mask(call):
    return partial(call, "mask")


def iou(found, x0, y0, x1, y1):
    truth = np.zeros((90, 120), bool)
    truth[y0:y1, x0:x1] = True
    return Mask.from_coco(found["segmentation"]).iou(Mask.from_array(truth))


def test_a_click_in_json(mask, here):
    code, out, err = mask("in.png", "--point", "25,25", "--json")
    result = json.loads(out)
    assert (code, result["model"], result["width"], result["height"], result["out"]) == (0, "classic", 120, 90, [])
    assert iou(result["masks"][0], 10, 10, 40, 40) > 0.9
    assert "classic answers" in err
    assert {path.name for path in here.iterdir()} <= {"in.png", "cache"}


def test_boxes_are_objects(mask, here):
    code, out, _ = mask("in.png", "--box", "10,10,40,40", "--box", "60,50,110,80", "--json")
    first, second = json.loads(out)["masks"]
    assert (code, first["object"], second["object"]) == (0, 1, 2)
    assert iou(first, 10, 10, 40, 40) > 0.9
    assert iou(second, 60, 50, 110, 80) > 0.9
    model = Classic()
    expected = model.decode(model.encode(images.read(here / "in.png")), Prompt(box=Box(60, 50, 110, 80)))[0]
    assert second["segmentation"] == expected.mask.to_coco()
    assert second["area"] == expected.mask.area


def test_the_overlay_is_written_by_default(mask, here):
    code, out, err = mask("in.png", "--point", "25,25", "--not", "80,60")
    assert code == 0
    assert out.startswith("in.png: object 1, score ")
    assert "written to in.mask.png" in err
    drawn, plain = (np.array(Image.open(here / name)) for name in ("in.mask.png", "in.png"))
    assert drawn.shape == plain.shape
    assert (drawn[20:30, 20:30] != plain[20:30, 20:30]).any()


def test_a_json_file(mask, here):
    code, _, _ = mask("in.png", "--point", "25,25", "--candidates", 3, "--out", "found.json")
    result = json.loads((here / "found.json").read_text())
    assert code == 0
    assert [found["object"] for found in result["masks"]] == [1, 1, 1]
    assert Mask.from_coco(result["masks"][0]["segmentation"]).area == result["masks"][0]["area"]


def test_a_folder(mask, here):
    code, out, _ = mask("in.png", "--box", "10,10,40,40", "--out", "new/folder", "--json")
    result = json.loads(out)
    assert code == 0
    assert sorted(path.name for path in (here / "new/folder").iterdir()) == ["in.json", "in.mask-1.png", "in.overlay.png"]
    found = np.array(Image.open(here / "new/folder/in.mask-1.png"))
    np.testing.assert_array_equal(found == 255, Mask.from_coco(result["masks"][0]["segmentation"]).to_array())
    assert set(np.unique(found)) == {0, 255}


def test_everything(mask):
    code, out, _ = mask("in.png", "--everything", "--grid", 3, "--json")
    found = json.loads(out)["masks"]
    assert code == 0
    assert [one["object"] for one in found] == list(range(1, len(found) + 1))
    assert max(iou(one, 10, 10, 40, 40) for one in found) > 0.9


def test_despeckle(mask):
    _, out, _ = mask("in.png", "--box", "10,10,40,40", "--despeckle", 50, "--json")
    assert iou(json.loads(out)["masks"][0], 10, 10, 40, 40) > 0.9


@pytest.mark.parametrize("words", [
    ["--point", "-1,5"], ["--point", "5"], ["--point", "a,b"], ["--point", "nan,1"], ["--point", "1,2,3"], ["--box", "1,2,3"],
    ["--box", "9,9,3,3"], ["--not", "inf,1"], [], ["--everything", "--point", "1,1"], ["--candidates", "2", "--point", "1,1"],
    ["--box", "1,1,9,9", "--box", "1,1,8,8", "--point", "2,2"], ["--point", "1,1", "--out", "in.png"],
    ["--point", "1,1", "--out", "file.txt"], ["--point", "1,1", "--out", "nowhere/x.png"],
    ["--despeckle", "-1", "--point", "1,1"],
])  # fmt: skip
def test_wrong_usage(mask, here, words):
    (here / "file.txt").write_text("mine")
    before = (here / "in.png").read_bytes()
    code, _, err = mask("in.png", *words)
    assert code == 2
    assert "rror" in err
    assert (here / "in.png").read_bytes() == before
    assert (here / "file.txt").read_text() == "mine"


@pytest.mark.parametrize(("words", "expected"), [
    (["--point", "500,5"], "prompt.outside"),
    (["--not", "5,5"], "prompt.no_positive"),
    (["--point", "5,5", "--model", "nothing-of-that-name"], "model.unknown"),
])  # fmt: skip
def test_what_fails(mask, words, expected):
    code, out, _ = mask("in.png", *words, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, expected)


def test_a_missing_picture(mask):
    code, out, _ = mask("missing.png", "--point", "1,1", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "image.missing")
