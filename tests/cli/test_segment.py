import json
from functools import partial

import numpy as np
import pytest

from fixtures.scenes import make_scene
from locara_label import images
from locara_label.types import Mask


@pytest.fixture
def segment(here, call):
    return partial(call, "segment")


def write_scene(path, seed=1, size=(96, 128)):
    path.parent.mkdir(exist_ok=True, parents=True)
    image = make_scene(seed, size).image
    images.write_png(path, image)
    return image


def test_for_people(segment, here):
    image = write_scene(here / "a.png")
    code, out, err = segment("a.png")
    assert code == 0
    assert out
    assert all(line.startswith("a.png: ") and ", score " in line and " px, box x " in line for line in out.splitlines())
    assert "trained on generated scenes" in err
    assert "a.png: drawn in a.overlay.png" in err
    drawn = images.read(here / "a.overlay.png")
    assert drawn.shape == image.shape
    assert (drawn != image).any()


def test_for_machines(segment, here):
    write_scene(here / "a.png")
    code, out, _ = segment("a.png", "--json")
    result = json.loads(out)
    picture = result["pictures"][0]
    assert (code, result["model"], result["failures"]) == (0, "mask2former-mini", [])
    assert (picture["file"], picture["width"], picture["height"], picture["overlay"]) == ("a.png", 128, 96, None)
    assert picture["instances"]
    for found in picture["instances"]:
        mask = Mask.from_coco(found["segmentation"])
        assert mask.size == (96, 128)
        assert mask.area == found["area"] > 0
        assert list(mask.box.xywh) == found["bbox"]
        assert 0 <= found["score"] <= 1
        assert isinstance(found["is_stuff"], bool)
        assert isinstance(found["label_index"], int)
    assert not (here / "a.overlay.png").exists()


def test_machines_get_overlays_beside_out(segment, here):
    write_scene(here / "a.png")
    result = json.loads(segment("a.png", "--json", "--out", "new/deep")[1])
    assert result["pictures"][0]["overlay"] == "new/deep/a.overlay.png"
    assert (here / "new/deep/a.overlay.png").is_file()
    result = json.loads(segment("a.png", "--json", "--overlay")[1])
    assert result["pictures"][0]["overlay"] == "a.overlay.png"


def test_no_overlay(segment, here):
    write_scene(here / "a.png")
    assert segment("a.png", "--no-overlay", "--out", "out")[0] == 0
    assert not (here / "out").exists()


def test_the_same_stem_in_different_folders(segment, here):
    names = ["one/a.png", "two/a.png", "two/A.PNG", "a-2.png"]
    for seed, name in enumerate(names):
        write_scene(here / name, seed)
    result = json.loads(segment(*names, "--json", "--out", "out")[1])
    assert [picture["overlay"] for picture in result["pictures"]] == [
        "out/a.overlay.png", "out/a-2.overlay.png", "out/A-3.overlay.png", "out/a-2-2.overlay.png",
    ]  # fmt: skip
    assert len(list((here / "out").iterdir())) == 4


def test_an_overlay_never_replaces_a_picture(segment, here):
    write_scene(here / "a.png", 1)
    other = write_scene(here / "a.overlay.png", 2)
    assert segment("a.png", "a.overlay.png")[0] == 0
    np.testing.assert_array_equal(images.read(here / "a.overlay.png"), other)
    assert (here / "a-2.overlay.png").is_file()
    assert (here / "a.overlay.overlay.png").is_file()


def test_a_bad_picture_does_not_stop_the_others(segment, here):
    write_scene(here / "a.png")
    (here / "bad.png").write_bytes(b"not a picture")
    code, out, err = segment("missing.png", "bad.png", "a.png", "--json", "--out", "out")
    result = json.loads(out)
    assert code == 3
    assert [picture["file"] for picture in result["pictures"]] == ["a.png"]
    assert [(failed["file"], failed["code"]) for failed in result["failures"]] == [
        ("missing.png", "image.missing"),
        ("bad.png", "image.unknown_format"),
    ]
    assert "bad.png: error [image.unknown_format]: " in err
    assert [path.name for path in (here / "out").iterdir()] == ["a.overlay.png"]


def test_all_pictures_bad(segment):
    code, out, err = segment("missing.png")
    assert (code, out) == (1, "")
    assert "missing.png: error [image.missing]" in err


def test_semantic(segment, here):
    write_scene(here / "a.png")
    result = json.loads(segment("a.png", "--json", "--task", "semantic")[1])
    assert result["model"] == "segformer-mini"
    assert sum(found["area"] for found in result["pictures"][0]["instances"]) == 96 * 128


def test_threshold_and_nothing_found(segment, here):
    images.write_png(here / "a.png", np.full((40, 60, 3), 128, np.uint8))
    code, out, _ = segment("a.png", "--threshold", "1")
    assert (code, out) == (0, "a.png: nothing found\n")
    assert (here / "a.overlay.png").is_file()


def test_the_looks_of_overlays(segment, here):
    image = write_scene(here / "a.png")
    drawn = []
    for number, options in enumerate([[], ["--opacity", "0.9"], ["--feather", "6"], ["--invert"]]):
        assert segment("a.png", "--out", str(number), *options)[0] == 0
        drawn.append(images.read(here / str(number) / "a.overlay.png"))
    assert len({picture.tobytes() for picture in [*drawn, image]}) == 5


@pytest.mark.parametrize("options", [["--opacity", "2"], ["--feather", "-1"], ["--threshold", "nan"], ["--task", "matting"]])
def test_wrong_options(segment, here, options):
    write_scene(here / "a.png")
    assert segment("a.png", *options)[0] == 2


def test_out_cannot_be_made(segment, here):
    write_scene(here / "a.png")
    code, out, _ = segment("a.png", "--json", "--out", "a.png/deep")
    assert (code, json.loads(out)["error"]["code"]) == (2, "option.out")


def test_overlay_cannot_be_written(segment, here):
    write_scene(here / "a.png")
    (here / "a.overlay.png").mkdir()
    code, out, _ = segment("a.png", "--json", "--overlay")
    assert (code, json.loads(out)["error"]["code"]) == (2, "option.out")


def test_unknown_model(segment, here):
    write_scene(here / "a.png")
    code, out, err = segment("a.png", "--json", "--model", "nobody")
    assert (code, json.loads(out)["error"]["code"]) == (1, "model.unknown")
    assert "generated scenes" not in err
